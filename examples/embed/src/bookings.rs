//! The domain of bookings: what can happen to a booking, which rules apply, and what its view shows.

use foldlog::domain::prelude::*;
use uuid::Uuid;

events! {
    /// What can happen to a booking. The block 7000–7999 is reserved for this domain.
    pub enum BookingEvent in 7000..8000 {
        /// A visitor booked seats; the first event of a booking.
        7000 => Booked { event: Uuid, seats: i32, visitor: Visitor },
        /// The visitor gave back some of the seats.
        7001 => Reduced { seats: i32 },
        /// The visitor cancelled; the last event of a booking.
        7002 => Cancelled {},
    }
}

/// The person who booked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(crate = "foldlog::serde")]
pub struct Visitor {
    /// Shown on the ticket.
    pub name: String,
    /// Stored, and never shown.
    pub phone: Option<Secret<String>>,
}

/// A booking of seats at an event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(crate = "foldlog::serde")]
pub struct Booking {
    /// The event in the theatre.
    pub event: Uuid,
    /// How many seats are booked.
    pub seats: i32,
    /// The name on the ticket.
    pub name: String,
}

rules! {
    /// Why an event is rejected; the client sees the text.
    #[derive(Debug, PartialEq, thiserror::Error)]
    pub enum BookingError {
        /// Zero, or more than a group.
        #[error("seats must be from 1 to 20")]
        Seats,
        /// Booked twice.
        #[error("the booking already exists")]
        AlreadyBooked,
        /// Changed before it was booked.
        #[error("the booking does not exist")]
        NotBooked,
        /// As many seats as before, or more.
        #[error("seats must be fewer than the {0} seats of the booking")]
        NotFewer(i32),
    }
}

/// The domain of bookings.
#[derive(Debug)]
pub struct Bookings;

impl Domain for Bookings {
    const NAME: &'static str = "bookings";
    const VIEW: &'static str =
        "create table bookings (id uuid primary key, version integer not null,
        event uuid not null, seats integer not null, name text not null)";
    const SET_RULES: &'static [SetRule] = &[SetRule {
        name: "bookings_event_name_key",
        unique_on: "(event, lower(name))",
        message: "this visitor has already booked seats for this event",
    }];
    type Event = BookingEvent;
    type State = Booking;
    type Error = BookingError;

    fn validate(_: AggregateId, event: &BookingEvent) -> Result<(), BookingError> {
        match event {
            BookingEvent::Booked { seats, .. } | BookingEvent::Reduced { seats }
                if !(1..=20).contains(seats) =>
            {
                Err(BookingError::Seats)
            }
            _ => Ok(()),
        }
    }

    fn check(booking: Option<&Booking>, event: &BookingEvent) -> Result<(), BookingError> {
        match (booking, event) {
            (None, BookingEvent::Booked { .. }) => Ok(()),
            (Some(_), BookingEvent::Booked { .. }) => Err(BookingError::AlreadyBooked),
            (None, _) => Err(BookingError::NotBooked),
            (Some(booking), BookingEvent::Reduced { seats }) if *seats >= booking.seats => {
                Err(BookingError::NotFewer(booking.seats))
            }
            (Some(_), _) => Ok(()),
        }
    }

    fn apply(booking: Option<Booking>, event: &BookingEvent) -> Option<Booking> {
        match event {
            BookingEvent::Booked {
                event,
                seats,
                visitor,
            } => Some(Booking {
                event: *event,
                seats: *seats,
                name: visitor.name.clone(),
            }),
            BookingEvent::Reduced { seats } => booking.map(|booking| Booking {
                seats: *seats,
                ..booking
            }),
            BookingEvent::Cancelled {} => None,
        }
    }
}

/// How often a booking was changed or cancelled. The row stays when the booking ends.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(crate = "foldlog::serde")]
pub struct BookingChanges {
    /// The number of changes.
    pub changes: i32,
}

/// A second view of the same events.
#[derive(Debug)]
pub struct ChangeCounter;

impl Projection for ChangeCounter {
    const NAME: &'static str = "booking_changes";
    const VIEW: &'static str =
        "create table booking_changes (id uuid primary key, version integer not null,
        changes integer not null)";
    type Event = BookingEvent;
    type Row = BookingChanges;

    fn apply(
        row: Option<BookingChanges>,
        event: &Event<BookingEvent>,
    ) -> Result<Option<BookingChanges>, FoldError> {
        let mut row = row.unwrap_or_default();
        if !matches!(event.payload, BookingEvent::Booked { .. }) {
            row.changes += 1;
        }
        Ok(Some(row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_booking_can_only_get_smaller() {
        let booked = BookingEvent::Booked {
            event: Uuid::nil(),
            seats: 4,
            visitor: Visitor {
                name: "Ada".to_owned(),
                phone: Some(Secret::new("555 0100".to_owned())),
            },
        };
        Spec::<Bookings>::given([booked.clone()])
            .when(BookingEvent::Reduced { seats: 2 })
            .then(Some(Booking {
                event: Uuid::nil(),
                seats: 2,
                name: "Ada".to_owned(),
            }));
        Spec::<Bookings>::given([booked])
            .when(BookingEvent::Reduced { seats: 5 })
            .then_rejected("seats must be fewer than the 4 seats of the booking");
    }
}
