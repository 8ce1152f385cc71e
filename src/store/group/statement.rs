//! The statements that append a group.

use std::collections::HashMap;

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::types::Json;
use sqlx::{Postgres, Row};

use super::{GroupedAppend, StoredGroup};
use crate::db::{DbError, Session};
use crate::event::{AggregateId, EventId};
use crate::store::append::{self, ExpectedHead};

/// How long a statement that appends a group waits for a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockWait {
    /// As long as other appends wait for the group; then each of its appends is sent alone.
    Group,
    /// As the session's settings say.
    Session,
}

impl LockWait {
    /// The value of `lock_timeout`.
    const fn timeout(self) -> Option<&'static str> {
        match self {
            // [`QUEUE_TIMEOUT`] as Postgres reads it.
            Self::Group => Some("100ms"),
            Self::Session => None,
        }
    }
}

/// A statement with its binds.
type PgQuery<'q> = Query<'q, Postgres, PgArguments>;

/// Appends the events of a group in one statement. From then on, the transaction waits for a lock as long as `lock_wait` says.
///
/// # Errors
///
/// Any [`DbError`].
pub async fn append_group(
    connection: &mut Session<'_>,
    group: &[GroupedAppend],
    lock_wait: LockWait,
) -> Result<StoredGroup, DbError> {
    let statement = sqlx::query(include_str!("sql/append_group.sql"));
    let rows = bind_group(statement, group, lock_wait)
        .bind(group.iter().any(|append| append.return_payload))
        .fetch_all(connection)
        .await?;
    Ok(decode_group(&rows, group)?)
}

/// Binds a group to a statement that appends it, as `$1` to `$9`; see `sql/append_group.sql`.
pub fn bind_group<'q>(
    statement: PgQuery<'q>,
    group: &'q [GroupedAppend],
    lock_wait: LockWait,
) -> PgQuery<'q> {
    let heads: Vec<Option<ExpectedHead>> = group.iter().map(|append| append.expected).collect();
    statement
        .bind(group.iter().map(|a| a.id.0).collect::<Vec<_>>())
        .bind(group.iter().map(|a| a.aggregate_id.0).collect::<Vec<_>>())
        .bind(group.iter().map(|a| a.type_id.0).collect::<Vec<_>>())
        .bind(group.iter().map(|a| Json(&a.payload)).collect::<Vec<_>>())
        .bind(group.iter().map(|a| Json(&a.metadata)).collect::<Vec<_>>())
        .bind(append::versions(&heads))
        .bind(append::last_ids(&heads))
        .bind(append::last_times(&heads))
        .bind(lock_wait.timeout())
}

/// Decodes the rows of a statement that appends a group.
///
/// # Errors
///
/// When a row does not have the columns that `sql/append_group.sql` returns.
pub fn decode_group(rows: &[PgRow], group: &[GroupedAppend]) -> Result<StoredGroup, sqlx::Error> {
    let id_of: HashMap<AggregateId, EventId> =
        group.iter().map(|a| (a.aggregate_id, a.id)).collect();
    let mut stored = HashMap::with_capacity(rows.len());
    for row in rows {
        let aggregate_id = AggregateId(row.try_get("aggregate_id")?);
        if let Some(id) = id_of.get(&aggregate_id) {
            stored.insert(aggregate_id, append::decode_stored(row, *id, aggregate_id)?);
        }
    }
    Ok(stored)
}
