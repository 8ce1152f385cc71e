//! The log: appending to it and reading it. The only code that writes `events`; it stores bytes and numbers and judges
//! nothing.
//!
//! # Why an append is right
//!
//! 1. `version` is the newest one plus one, computed in the statement that inserts. Two appends that compute the same
//!    number meet at the key `(aggregate_id, version)`: the second waits for the first one's transaction, and if that
//!    commits it has lost the race ([`Outcome::LostRace`]). So versions have no holes, and version n + 1 is visible only
//!    where n is. (test: `sixty_four_writers_leave_no_holes`)
//! 2. An expected version is compared in the same statement. Whatever is committed in between shows as a lost race,
//!    never as a wrong append. (test: `an_expected_version_holds_at_the_moment_of_the_append`)
//! 3. An event id that is taken inserts nothing; what it means, a resent event or a reused id, is asked afterwards, by
//!    whoever knows contents. (tests: `twenty_senders_of_one_event_store_it_once`, `a_reused_id_is_a_conflict`)
//! 4. The bell is rung by a trigger, in the same transaction: see [`projection::listener`](crate::projection).
//! 5. `txid` is spelled out with the log's offset, so log order survives a move to another cluster: see
//!    [`db`](crate::db).

mod append;
mod stream;

pub use self::append::{ExpectedVersions, Outcome, append};
pub use self::stream::{TAIL, decode_event, find_events};
