//! The store: appends events to the log and reads them. It stores bytes and numbers and decides nothing about them. Only its
//! statements write the table `events`, and two of `projection::inline` that append as `group/sql/append_group.sql` does and read or write
//! view rows beside it.
//!
//! # Why an append is correct
//!
//! 1. The statement that inserts an event also computes its `version`, as the aggregate's newest version plus one. If two
//!    appends compute the same version, the unique key `(aggregate_id, version)` makes the second wait for the first
//!    transaction; if that commits, the second has lost the race ([`Outcome::LostRace`]). So versions have no holes, and
//!    version n + 1 becomes visible only after version n. (test: `sixty_four_writers_leave_no_holes`)
//! 2. The same statement compares the expected version. A commit in between therefore leads to a lost race, never to an
//!    append at another version than expected. (test: `an_expected_version_holds_at_the_moment_of_the_append`)
//! 3. If an event id is already stored, the statement inserts nothing. The caller, which can compare the contents, then
//!    finds out whether the append is a duplicate or reuses the id for another event. (tests:
//!    `twenty_senders_of_one_event_store_it_once`, `a_reused_event_id_with_other_content_returns_409`)
//! 4. A trigger sends NOTIFY in the same transaction: see [`projection::listener`](crate::projection).
//! 5. A group of appends from different requests is one statement with the same properties for each of them: see [`Groups`].
//! 6. The statement computes `txid` explicitly, with the log's offset, so that the log order survives a restore into
//!    another cluster: see [`db`](crate::db).

mod activity;
mod append;
mod feed;
mod group;
mod jsonb;
mod stream;

pub use self::activity::read_positions;
pub use self::append::{
    ExpectedHead, ExpectedHeads, LastEvent, Outcome, StoredEvent, append, silence_doorbell,
};
pub use self::feed::{
    FeedCursor, FeedEntry, FeedError, FeedExtent, FeedPlace, FeedSelection, FeedStart, FeedWaiting,
    FeedWatch, read_feed, read_feed_end,
};
pub use self::group::{
    GroupOutcome, GroupWriter, GroupedAppend, Groups, Joined, KnownRow, LockWait, Place, RowOrigin,
    StoredGroup, append_group, bind_group, connect_group, decode_group,
};
pub use self::jsonb::spell_as_jsonb;
pub use self::stream::{
    Moment, StreamPart, byte_len, decode_event, decode_optional_time, decode_skipped, decode_time,
    find_events, read_stream,
};
