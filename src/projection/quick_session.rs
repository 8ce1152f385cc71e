//! The session of a quick pass.

use super::{ProjectionError, lane};
use crate::db::{Connection, DbError, Pool, Session, Transaction};
use crate::view::View;

/// What a quick pass runs its two statements on: a direct connection, or behind a pooler a transaction. A direct connection ends
/// when Postgres crashes or fails over. A pooler keeps its client's connection, and a write on another server, or after a crash
/// that lost commits, would settle transaction ids that are assigned a second time.
pub(super) enum QuickSession {
    Direct(Connection),
    Pooled(Transaction),
}

impl QuickSession {
    pub(super) async fn open(pool: &Pool) -> Result<Self, DbError> {
        Ok(if pool.is_behind_pooler() {
            Self::Pooled(pool.begin().await?)
        } else {
            Self::Direct(pool.acquire().await?)
        })
    }

    pub(super) fn get(&mut self) -> &mut Session<'static> {
        match self {
            Self::Direct(connection) => connection,
            Self::Pooled(transaction) => transaction,
        }
    }

    /// Creates the lane of a projection that has none.
    pub(super) async fn insert_lane(
        mut self,
        pool: &Pool,
        view: &View,
    ) -> Result<Self, ProjectionError> {
        lane::insert(self.get(), view).await?;
        // An error of the pass must not undo this.
        self.finish().await?;
        Ok(Self::open(pool).await?)
    }

    /// Commits, or rolls back if a statement has failed.
    pub(super) async fn finish(self) -> Result<(), DbError> {
        match self {
            Self::Direct(_) => Ok(()),
            Self::Pooled(transaction) => transaction.commit().await,
        }
    }
}
