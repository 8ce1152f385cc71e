//! Why a revert stored nothing.

use super::MARK_KEY;
use crate::app::NotServedError;
use crate::command::AppendError;
use crate::db::{DbError, Retryable};
use crate::domain::{FoldError, RejectedError};
use crate::event::Version;

/// Why a revert stored nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RevertError {
    /// The aggregate does not exist, or belongs to another domain.
    #[error("the aggregate does not exist")]
    Unknown,
    /// The aggregate has ended, and the domain cannot bring it back.
    #[error("the aggregate is deleted")]
    Deleted,
    /// The domain does not define how to bring back this state.
    #[error("the domain `{0}` does not define how to bring back this state")]
    NotRevertible(&'static str),
    /// The aggregate has no such version.
    #[error(
        "the aggregate has no version {version}, its newest is {newest}; send an earlier version"
    )]
    NoSuchVersion {
        /// The version asked for.
        version: Version,
        /// The newest version.
        newest: Version,
    },
    /// The aggregate did not exist at this version.
    #[error(
        "the aggregate is deleted at version {0}; send a version at which it exists, or append the event that deletes it"
    )]
    EndedAt(Version),
    /// `except` names something other than a field.
    #[error("`except` must name fields of the row: {known}")]
    UnknownField {
        /// The index of the name in `except`.
        index: usize,
        /// The fields, separated by commas.
        known: String,
    },
    /// `except` names fields of an aggregate that has ended.
    #[error("the aggregate is deleted, so it has no fields to keep; leave `except` out")]
    NothingToKeep,
    /// The metadata has the entry that foldlog writes.
    #[error("metadata must not have the entry `{MARK_KEY}`, which the server sets")]
    ReservedMetadata,
    /// The domain rejects an event that it answered itself: an earlier state is not valid any more.
    #[error("the state cannot be brought back: {0}")]
    Rejected(#[source] RejectedError),
    /// Events of the aggregate cannot be folded.
    #[error("events of the aggregate cannot be folded")]
    Unfoldable(#[from] FoldError),
    /// The append of the events failed.
    #[error(transparent)]
    Append(#[from] AppendError),
}

impl From<NotServedError> for RevertError {
    fn from(error: NotServedError) -> Self {
        Self::Append(error.into())
    }
}

impl From<DbError> for RevertError {
    fn from(error: DbError) -> Self {
        Self::Append(error.into())
    }
}

impl Retryable for RevertError {
    fn max_retries(&self) -> u32 {
        match self {
            Self::Append(error) => Retryable::max_retries(error),
            _ => 0,
        }
    }
}
