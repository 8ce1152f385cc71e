//! Where an append is stored: in a transaction of its own, or in the caller's.

use std::collections::HashMap;

use super::decide::Decision;
use super::in_pool::append_or_join;
use super::inline::{append_and_fold, has_inline_views, is_far_behind};
use super::{AppendError, Batch, idempotency};
use crate::app::Foldlog;
use crate::db::{DbError, Pool, Session, Share};
use crate::event::{AggregateId, AppendedEvent, TypeId, Version};
use crate::projection::FoldedFor;
use crate::state::{self, State};
use crate::store::{self, ExpectedHeads, GroupOutcome, Outcome, StoredEvent};
use crate::view::{self, View};

/// Where an append is stored.
#[derive(Debug)]
pub(crate) enum Target<'a> {
    /// In a transaction of its own, on a connection of the pool.
    Pool(&'a Pool),
    /// In the caller's transaction, which goes on after a lost race or a rejected event.
    Transaction(Session<'a>),
}

/// What became of an attempt to append.
#[derive(Debug)]
pub(super) enum Attempt {
    /// All events are stored and, in a transaction of foldlog's own, committed.
    Stored(Vec<StoredEvent>),
    /// Nothing is stored; see [`Outcome::LostRace`].
    LostRace,
    /// Nothing is stored, because this process has stored another event of the aggregate.
    Overtaken,
}

impl Attempt {
    /// The version of a single event, if it is stored.
    pub(super) fn stored_version(&self) -> Option<Version> {
        match self {
            Self::Stored(events) => events.first().map(|event| event.appended.version),
            Self::LostRace | Self::Overtaken => None,
        }
    }
}

impl From<Outcome> for Attempt {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Stored(events) => Self::Stored(events),
            Outcome::LostRace => Self::LostRace,
        }
    }
}

impl From<GroupOutcome> for Attempt {
    fn from(outcome: GroupOutcome) -> Self {
        match outcome {
            GroupOutcome::Stored(event) => Self::Stored(vec![event]),
            GroupOutcome::LostRace => Self::LostRace,
            GroupOutcome::Overtaken => Self::Overtaken,
        }
    }
}

impl Target<'_> {
    /// Loads the aggregates.
    pub(super) async fn load(
        &mut self,
        batch: &Batch<'_>,
    ) -> Result<HashMap<AggregateId, State>, AppendError> {
        match self {
            Self::Pool(pool) => {
                let views = batch.groups.iter().map(|group| group.served.view.name());
                let _share = pool.share_of_views(views).await?;
                load(&mut *pool.acquire().await?, batch).await
            }
            Self::Transaction(session) => {
                // The load must not fail because a table was dropped, since that would abort the transaction of the caller.
                for (served, _) in batch.aggregates_by_domain() {
                    if !served.view.serving().is_fresh() {
                        view::resolve(session, &served.view).await?;
                    }
                }
                load(session, batch).await
            }
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

    /// Waits until the appends to the same aggregates leave a share of the pool. The caller's own transaction has its connection already.
    pub(super) async fn share(&self, batch: &Batch<'_>) -> Result<Option<Share>, AppendError> {
        let Self::Pool(pool) = self else {
            return Ok(None);
        };
        let keys = batch.groups.iter().map(|g| g.aggregate_id.0.as_u128());
        Ok(Some(pool.share(keys).await?))
    }

    /// Stores the events and folds the inline views. With `return_payloads` the stored events have the payloads as the log
    /// holds them.
    pub(super) async fn append(
        &mut self,
        foldlog: &Foldlog,
        batch: &Batch<'_>,
        decision: &Decision,
        return_payloads: bool,
    ) -> Result<Attempt, AppendError> {
        let appended = match self {
            Self::Pool(pool) => {
                // Boxed, because the futures of callers contain it.
                Box::pin(append_or_join(
                    pool,
                    foldlog,
                    batch,
                    decision,
                    return_payloads,
                ))
                .await
            }
            Self::Transaction(session) => {
                // Boxed, because the futures of callers contain it.
                Box::pin(append_in_session(session, foldlog, batch, &decision.heads)).await
            }
        };
        match appended {
            Err(error) => {
                self.check_lost_race(foldlog, batch, error).await?;
                Ok(Attempt::LostRace)
            }
            appended => appended,
        }
    }

    /// Stores the events and folds the inline views, as [`Self::append`] does, and undoes both. Returns whether an append would
    /// have won the race.
    pub(super) async fn rehearse(
        &mut self,
        foldlog: &Foldlog,
        batch: &Batch<'_>,
        heads: &ExpectedHeads,
    ) -> Result<bool, AppendError> {
        let rehearsed = match self {
            Self::Pool(pool) => {
                let types = batch.events.iter().map(|event| event.type_id);
                let views = foldlog.inline_views(&types).map(View::name);
                let _share = pool.share_of_views(views).await?;
                let mut transaction = pool.begin().await?;
                store::silence_doorbell(&mut transaction).await?;
                let how = (false, FoldedFor::Append);
                let rehearsed = append_and_fold(&mut transaction, foldlog, batch, heads, how);
                let rehearsed = Box::pin(rehearsed).await;
                // A transaction that is dropped is rolled back, too, but then its connection is not used again.
                if rehearsed.is_ok() {
                    transaction.rollback().await?;
                }
                rehearsed
            }
            Self::Transaction(session) => {
                session.savepoint().await?;
                let how = (false, FoldedFor::Append);
                let rehearsed = append_and_fold(session, foldlog, batch, heads, how);
                let rehearsed = Box::pin(rehearsed).await;
                match rehearsed {
                    Ok(_) => session.rollback_to_savepoint().await?,
                    // A lost connection fails the undo, too; the first error is the cause.
                    Err(_) => drop(session.rollback_to_savepoint().await),
                }
                rehearsed
            }
        };
        match rehearsed {
            Ok(outcome) => Ok(matches!(outcome, Outcome::Stored(_))),
            Err(error) => {
                self.check_lost_race(foldlog, batch, error).await?;
                Ok(false)
            }
        }
    }

    /// Returns the error of an append or a rehearsal, unless it means that the race was lost.
    async fn check_lost_race(
        &mut self,
        foldlog: &Foldlog,
        batch: &Batch<'_>,
        error: AppendError,
    ) -> Result<(), AppendError> {
        match &error {
            // Two appends to the same aggregates in opposite order have deadlocked. In the caller's transaction the locks
            // of earlier statements may be a part of that, so the caller has to roll back.
            AppendError::Db(cause) if cause.is_contended() && self.is_pool() => Ok(()),
            // The table of a generation that was replaced is gone.
            AppendError::Db(DbError::Installation(_))
                if has_inline_views(foldlog, batch)
                    && self.find_other_generations(foldlog, batch).await? =>
            {
                Ok(())
            }
            _ => Err(error),
        }
    }

    /// Asks which generations serve this process. Returns whether one of those that the append folds into was replaced.
    async fn find_other_generations(
        &mut self,
        foldlog: &Foldlog,
        batch: &Batch<'_>,
    ) -> Result<bool, AppendError> {
        let types: Vec<TypeId> = batch.events.iter().map(|event| event.type_id).collect();
        let mut is_replaced = false;
        for view in foldlog.inline_views(&types.iter().copied()) {
            let before = view.current();
            let generation = match self {
                Self::Pool(pool) => view::resolve(&mut *pool.acquire().await?, view).await?,
                Self::Transaction(session) => view::resolve(session, view).await?,
            };
            is_replaced |= generation.view.lock_domain() != before.lock_domain();
        }
        Ok(is_replaced)
    }

    pub(super) const fn is_pool(&self) -> bool {
        matches!(self, Self::Pool(_))
    }
}

async fn load(
    session: &mut Session<'_>,
    batch: &Batch<'_>,
) -> Result<HashMap<AggregateId, State>, AppendError> {
    let mut states = HashMap::new();
    for (served, ids) in batch.aggregates_by_domain() {
        states.extend(state::load_folded(session, &served.view, &ids).await?);
    }
    Ok(states)
}

/// Appends in the caller's transaction, which goes on without the append if it fails.
async fn append_in_session(
    session: &mut Session<'_>,
    foldlog: &Foldlog,
    batch: &Batch<'_>,
    heads: &ExpectedHeads,
) -> Result<Attempt, AppendError> {
    let mut folded_for = FoldedFor::Append;
    loop {
        session.savepoint().await?;
        let how = (false, folded_for);
        let appended = Box::pin(append_and_fold(session, foldlog, batch, heads, how)).await;
        match appended {
            Ok(Outcome::Stored(_)) => session.release_savepoint().await?,
            Ok(Outcome::LostRace) => session.rollback_to_savepoint().await?,
            Err(error) if is_far_behind(&error) && folded_for == FoldedFor::Append => {
                session.rollback_to_savepoint().await?;
                folded_for = FoldedFor::Pieces;
                continue;
            }
            // A lost connection fails the undo, too; the first error is the cause.
            Err(_) => drop(session.rollback_to_savepoint().await),
        }
        return appended.map(Attempt::from);
    }
}
