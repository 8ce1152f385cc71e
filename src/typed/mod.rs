//! The typed calls of [`Foldlog`](crate::Foldlog) in process: append, dry run, revert, get, list and feed, and the past of an
//! aggregate.

mod append;
mod feed;
mod past;
mod read;
mod revert;

pub use self::append::Append;
pub use self::feed::Feed;
pub use self::past::{History, PastEvent};
pub use self::read::{Get, List, Row, Rows};
pub use self::revert::RevertTo;
