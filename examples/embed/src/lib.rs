//! The box office of a theatre: an application with its own tables, which keeps its bookings in foldlog.
//!
//! Both share one database. The application's tables are in the schema `public`, and its own sqlx migrations create them.
//! foldlog's tables are in the schema [`SCHEMA`]. [`BoxOffice::book`] changes a table of the application and appends an event in
//! one transaction.

pub mod bookings;

use foldlog::command::AppendError;
use foldlog::db::{Pool, PoolSettings, SchemaError};
use foldlog::domain::Domains;
use foldlog::event::{AggregateId, ExpectedVersion, Version};
use foldlog::query::QueryError;
use foldlog::{BuildError, Foldlog};
use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnectOptions;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::bookings::{BookingEvent, Bookings, ChangeCounter, Visitor};

/// The schema with foldlog's tables; the hosts read it from `DB_SCHEMA`.
pub const SCHEMA: &str = "bookings_log";

/// The migrations of the application's own tables.
pub static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// The domains and projections that the hosts serve.
#[must_use]
pub fn domains() -> Domains {
    foldlog::domains![Bookings; projections: ChangeCounter]
}

/// The application: its own connections, and foldlog.
#[derive(Clone, Debug)]
pub struct BoxOffice {
    /// Connections for the application's own tables and transactions.
    pub pool: PgPool,
    /// The bookings.
    pub foldlog: Foldlog,
}

/// Why a booking failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BookError {
    /// The event has fewer free seats.
    #[error("the event does not exist or has fewer than {0} free seats")]
    SoldOut(i32),
    /// The booking does not exist.
    #[error("the booking does not exist")]
    NotBooked,
    /// foldlog did not append the event.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// foldlog could not read the booking.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Why the application cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The schema's name is invalid.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The domains are invalid.
    #[error(transparent)]
    Build(#[from] BuildError),
}

impl BoxOffice {
    /// Prepares both pools; they connect when they are first used.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub fn new(options: PgConnectOptions) -> Result<Self, StartError> {
        let pool = Pool::open(PoolSettings {
            schema: SCHEMA.parse()?,
            ..PoolSettings::new(options.clone(), 4)
        });
        let foldlog = Foldlog::builder()
            .domain::<Bookings>()
            .projection::<ChangeCounter>()
            .inline(["bookings"])
            .build(pool)?;
        Ok(Self {
            pool: PgPool::connect_lazy_with(options),
            foldlog,
        })
    }

    /// Books seats of an event: takes them from the application's table and appends the booking, in one transaction.
    ///
    /// # Errors
    ///
    /// See [`BookError`]; nothing is changed then.
    pub async fn book(
        &self,
        id: AggregateId,
        event: Uuid,
        seats: i32,
        visitor: Visitor,
    ) -> Result<Version, BookError> {
        let mut transaction = self.pool.begin().await?;
        take_seats(&mut transaction, event, seats).await?;
        let booked = BookingEvent::Booked {
            event,
            seats,
            visitor,
        };
        let appended = self
            .foldlog
            .append::<Bookings>(id, [booked])
            .expecting(ExpectedVersion::NoStream)
            .in_transaction(&mut transaction)
            .await?;
        transaction.commit().await?;
        Ok(appended.events[0].version)
    }

    /// Reduces a booking to fewer seats and gives the others back, in one transaction. Fails if the booking changes meanwhile.
    ///
    /// # Errors
    ///
    /// See [`BookError`]; nothing is changed then.
    pub async fn reduce(&self, id: AggregateId, seats: i32) -> Result<Version, BookError> {
        let booking = self.foldlog.get::<Bookings>(id).strong().await?;
        let (booking, version) = booking.ok_or(BookError::NotBooked)?;
        let mut transaction = self.pool.begin().await?;
        take_seats(&mut transaction, booking.event, seats - booking.seats).await?;
        let appended = self
            .foldlog
            .append::<Bookings>(id, [BookingEvent::Reduced { seats }])
            .expecting(version)
            .in_transaction(&mut transaction)
            .await?;
        transaction.commit().await?;
        Ok(appended.events[0].version)
    }
}

/// Takes seats of an event; a negative number gives seats back.
async fn take_seats(
    connection: &mut PgConnection,
    event: Uuid,
    seats: i32,
) -> Result<(), BookError> {
    let taken = sqlx::query(
        "update events set free_seats = free_seats - $2 where id = $1 and free_seats >= $2",
    )
    .bind(event)
    .bind(seats)
    .execute(connection)
    .await?;
    if taken.rows_affected() == 0 {
        return Err(BookError::SoldOut(seats));
    }
    Ok(())
}
