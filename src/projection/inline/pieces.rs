//! Folds of a long backlog in pieces, so that neither its number of events nor its size is memory of an append.
//!
//! A piece is an inline fold of the first events that wait. Each of its aggregates is then at a version in between, as after a batch of a
//! catch-up, so folding a part of a backlog is as safe as folding all of it.

use super::backlog::Extent;
use super::{FoldedFor, read_and_fold};
use crate::db::{DbError, Pool, Session};
use crate::event::AggregateId;
use crate::projection::ProjectionError;
use crate::view::View;

/// How many pieces are folded for one append. They take some seconds, and its client and its aggregate wait for them.
const MAX_PIECES: u32 = 50;

/// Folds the events that wait in these aggregates before an append does, each piece in a transaction of its own. So what is folded
/// stays folded, however the append ends, and its client makes progress by sending it again.
///
/// # Errors
///
/// [`ProjectionError::TooManyEvents`] if more than 50,000 events wait, and if a row of a version in between breaks a set rule: a catch-up
/// has to fold the events then. The others are those of [`fold_inline`](super::fold_inline).
pub async fn fold_ahead(
    pool: &Pool,
    view: &View,
    aggregates: &[AggregateId],
) -> Result<(), ProjectionError> {
    for _ in 0..MAX_PIECES {
        let mut transaction = pool.begin().await?;
        let piece = read_and_fold(&mut transaction, view, aggregates, FoldedFor::Pieces).await;
        if let Err(ProjectionError::Db(DbError::Conflict { .. })) = piece {
            // The append may change what breaks the rule.
            transaction.rollback().await?;
            return Ok(());
        }
        let extent = piece?;
        transaction.commit().await?;
        if extent == Extent::Whole {
            return Ok(());
        }
    }
    Err(ProjectionError::TooManyEvents(view.name()))
}

/// Folds all events of these aggregates in the transaction of `connection`, piece by piece.
pub(super) async fn fold_all(
    connection: &mut Session<'_>,
    view: &View,
    aggregates: &[AggregateId],
) -> Result<(), ProjectionError> {
    for _ in 0..MAX_PIECES {
        if read_and_fold(connection, view, aggregates, FoldedFor::Pieces).await? == Extent::Whole {
            return Ok(());
        }
    }
    Err(ProjectionError::TooManyEvents(view.name()))
}
