//! The cursor of the feed.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::event::EventId;

/// The place of an event in log order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FeedPlace {
    /// The transaction id of the event, with the log's offset added.
    pub txid: u64,
    /// The position of the event; 0 is before all events of the transaction.
    pub position: i64,
}

/// Where a reader of the feed is: at an event, or before all of them. Clients treat it as an opaque text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeedCursor {
    place: FeedPlace,
    /// The last four bytes of the event's id.
    mark: [u8; 4],
}

impl FeedCursor {
    /// Before the first event.
    pub const BEGINNING: Self = Self {
        place: FeedPlace {
            txid: 0,
            position: 0,
        },
        mark: [0; 4],
    };

    pub(super) fn new(place: FeedPlace, EventId(id): EventId) -> Self {
        let [.., a, b, c, d] = *id.as_bytes();
        let mark = [a, b, c, d];
        Self { place, mark }
    }

    /// The place of its event.
    #[must_use]
    pub const fn place(self) -> FeedPlace {
        self.place
    }

    /// Whether it is before the first event.
    #[must_use]
    pub fn is_beginning(self) -> bool {
        self == Self::BEGINNING
    }

    /// Whether it may have been made from this event.
    pub(super) fn is_at(self, id: EventId) -> bool {
        Self::new(self.place, id) == self
    }

    /// Encodes the cursor as the text that a client sends to continue.
    #[must_use]
    pub fn encode(self) -> String {
        let mut bytes = [0; 20];
        bytes[..8].copy_from_slice(&self.place.txid.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.place.position.to_be_bytes());
        bytes[16..].copy_from_slice(&self.mark);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Decodes the text that a client sent; `None` when [`Self::encode`] did not produce it.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let bytes: [u8; 20] = bytes.try_into().ok()?;
        let (numbers, mark) = bytes.split_last_chunk::<4>()?;
        let (txid, position) = numbers.split_first_chunk::<8>()?;
        let place = FeedPlace {
            txid: u64::from_be_bytes(*txid),
            position: i64::from_be_bytes(position.try_into().ok()?),
        };
        let cursor = Self { place, mark: *mark };
        // Positions begin at 1.
        (cursor.is_beginning() || place.position > 0).then_some(cursor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    proptest! {
        // Fails when decoding a cursor does not return the cursor that was encoded.
        #[test]
        fn a_feed_cursor_round_trips(txid: u64, position in 1..i64::MAX, id: u128) {
            let id = EventId(Uuid::from_u128(id));
            let cursor = FeedCursor::new(FeedPlace { txid, position }, id);
            prop_assert_eq!(FeedCursor::decode(&cursor.encode()), Some(cursor));
            prop_assert!(cursor.is_at(id));
        }

        // Fails when a text that `encode` never produces is accepted as a cursor.
        #[test]
        fn an_invalid_feed_cursor_decodes_to_none(text in "[A-Za-z0-9_-]{0,30}|.{0,40}") {
            if let Some(cursor) = FeedCursor::decode(&text) {
                prop_assert_eq!(cursor.encode(), text);
            }
        }
    }

    // Fails when a reader cannot begin with the cursor of an empty feed, or a place before an event counts as one.
    #[test]
    fn the_beginning_is_a_cursor_and_other_places_without_an_event_are_none() {
        let beginning = FeedCursor::BEGINNING.encode();
        assert_eq!(FeedCursor::decode(&beginning), Some(FeedCursor::BEGINNING));
        for (txid, position) in [(7, 0), (0, -1), (7, i64::MIN)] {
            let place = FeedPlace { txid, position };
            let cursor = FeedCursor::new(place, EventId(Uuid::nil()));
            assert_eq!(FeedCursor::decode(&cursor.encode()), None, "{place:?}");
        }
    }
}
