//! The typed calls of [`Foldlog`](crate::Foldlog) in process: append, get and list.

mod append;
mod read;

pub use self::append::Append;
pub use self::read::{Get, List, Row, Rows};
