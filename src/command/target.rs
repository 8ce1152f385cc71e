//! Where an append is stored: in a transaction of its own, or in the caller's.

use super::{AppendError, Batch, decide, idempotency};
use crate::app::Foldlog;
use crate::db::{Pool, Session};
use crate::event::{AggregateId, AppendedEvent, ExpectedVersion, TypeId};
use crate::projection::{self, ProjectionError};
use crate::store::{self, ExpectedVersions, Outcome};

/// Where an append is stored.
#[derive(Debug)]
pub(crate) enum Target<'a> {
    /// In a transaction of its own, on a connection of the pool.
    Pool(&'a Pool),
    /// In the caller's transaction, which goes on after a lost race or a rejected event.
    Transaction(Session<'a>),
}

impl Target<'_> {
    /// Loads the aggregates and checks the rules; see [`decide`].
    pub(super) async fn decide(
        &mut self,
        batch: &Batch<'_>,
        expected: ExpectedVersion,
    ) -> Result<ExpectedVersions, AppendError> {
        match self {
            Self::Pool(pool) => decide(&mut *pool.acquire().await?, batch, expected).await,
            Self::Transaction(session) => decide(session, batch, expected).await,
        }
    }

    /// The answer to an earlier append of the same events; see [`idempotency::find_replayed`].
    pub(super) async fn find_replayed(
        &mut self,
        foldlog: &Foldlog,
        batch: &Batch<'_>,
    ) -> Result<Option<Vec<AppendedEvent>>, AppendError> {
        let events = &batch.events;
        match self {
            Self::Pool(pool) => {
                let mut connection = pool.acquire().await?;
                idempotency::find_replayed(foldlog, &mut connection, events).await
            }
            Self::Transaction(session) => {
                idempotency::find_replayed(foldlog, session, events).await
            }
        }
    }

    /// Stores the events and folds the inline views; `None` after a lost race.
    pub(super) async fn append(
        &mut self,
        foldlog: &Foldlog,
        batch: &Batch<'_>,
        versions: &ExpectedVersions,
    ) -> Result<Option<Vec<AppendedEvent>>, AppendError> {
        let stored = match self {
            Self::Pool(pool) if has_inline_views(foldlog, batch) => {
                let mut transaction = pool.begin().await?;
                let stored = append_and_fold(&mut transaction, foldlog, batch, versions).await;
                if matches!(stored, Ok(Outcome::Stored(_))) {
                    transaction.commit().await?;
                }
                stored
            }
            Self::Pool(pool) => {
                let mut connection = pool.acquire().await?;
                let stored = store::append(&mut connection, &batch.events, versions).await;
                stored.map_err(AppendError::from)
            }
            Self::Transaction(session) => {
                session.savepoint().await?;
                let stored = append_and_fold(session, foldlog, batch, versions).await;
                match stored {
                    Ok(Outcome::Stored(_)) => session.release_savepoint().await?,
                    Ok(Outcome::LostRace) => session.rollback_to_savepoint().await?,
                    // A lost connection fails the undo, too; the first error is the cause.
                    Err(_) => drop(session.rollback_to_savepoint().await),
                }
                stored
            }
        };
        match stored {
            Ok(Outcome::Stored(events)) => Ok(Some(events)),
            Ok(Outcome::LostRace) => Ok(None),
            // Two appends to the same aggregates in opposite order have deadlocked. In the caller's transaction the locks
            // of earlier statements may be a part of that, so the caller has to roll back.
            Err(AppendError::Db(error)) if error.is_contended() && self.is_pool() => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) const fn is_pool(&self) -> bool {
        matches!(self, Self::Pool(_))
    }
}

fn has_inline_views(foldlog: &Foldlog, batch: &Batch<'_>) -> bool {
    let types = batch.events.iter().map(|event| event.type_id);
    foldlog.inline_views(&types).next().is_some()
}

async fn append_and_fold(
    session: &mut Session<'_>,
    foldlog: &Foldlog,
    batch: &Batch<'_>,
    versions: &ExpectedVersions,
) -> Result<Outcome, AppendError> {
    let stored = store::append(session, &batch.events, versions).await?;
    if let Outcome::Stored(_) = stored {
        let aggregates: Vec<AggregateId> = batch.groups.iter().map(|g| g.aggregate_id).collect();
        let types: Vec<TypeId> = batch.events.iter().map(|event| event.type_id).collect();
        for view in foldlog.inline_views(&types.iter().copied()) {
            match projection::fold_inline(session, view, &aggregates).await {
                Ok(()) => {}
                Err(ProjectionError::Db(error)) if error.is_contended() => return Err(error.into()),
                Err(error) => return Err(AppendError::inline(view, error, &batch.events)),
            }
        }
    }
    Ok(stored)
}
