//! The record of the last verification of a projection, for operators.

use futures_util::TryStreamExt as _;
use serde_json::value::RawValue;
use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Difference, Verification};
use crate::db::{Pool, Transaction};
use crate::event::{AggregateId, Version};
use crate::projection::ProjectionError;
use crate::view::{BoundedPage, Changes, PageLimit, View};

/// In place of a field: what concerns the row as a whole or its claims.
const PROBLEM: &str = "";

/// The result of the last verification, or what it has found so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct LastVerify {
    /// When it ended, or when it has last counted something.
    #[serde(with = "time::serde::rfc3339")]
    pub verified_at: OffsetDateTime,
    /// When it began.
    #[serde(with = "time::serde::rfc3339")]
    pub started_at: OffsetDateTime,
    /// Aggregates that were checked.
    pub aggregates: u64,
    /// About how many aggregates there are, by the statistics of Postgres; null if it has none.
    #[schema(required)]
    pub estimated_aggregates: Option<u64>,
    /// Aggregates that differed.
    pub differ: u64,
    /// Claims of events that are not in the log.
    pub orphan_claims: u64,
    /// Those of these claims that were removed.
    pub removed_claims: u64,
    /// Aggregates that were repaired.
    pub repaired: u64,
    /// Whether it repairs.
    pub repair: bool,
    /// Whether everything was checked. If not, the next verification that asks the same goes on.
    pub complete: bool,
}

/// A field in which a row of the view differed from what the events give, at the last verification.
#[derive(Clone, Debug, serde::Serialize)]
pub struct ListedDifference {
    /// The aggregate.
    pub id: AggregateId,
    /// The field; empty for what concerns the row as a whole or the claims.
    pub field: String,
    /// The value in the view.
    pub live: serde_json::Value,
    /// The value that the events give, or what is wrong.
    pub new: serde_json::Value,
}

/// Removes the differences of an earlier verification.
pub(super) async fn clear_differences(
    transaction: &mut Transaction,
    generation: &View,
) -> Result<(), ProjectionError> {
    sqlx::query(include_str!("sql/clear_differences.sql"))
        .bind(generation.name())
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

/// Records differences, field by field.
pub(super) async fn store_differences(
    transaction: &mut Transaction,
    generation: &View,
    differences: impl Iterator<Item = &Difference>,
) -> Result<(), ProjectionError> {
    let (mut ids, mut versions, mut fields) = (vec![], vec![], vec![]);
    let (mut live, mut new) = (vec![], vec![]);
    for difference in differences {
        let mut add = |field: &str, [before, after]: [String; 2]| {
            ids.push(difference.id.0);
            versions.push(difference.version.0);
            fields.push(field.to_owned());
            live.push(before);
            new.push(after);
        };
        if let Some(problem) = &difference.problem {
            let problem = serde_json::Value::from(problem.as_str()).to_string();
            add(PROBLEM, ["null".to_owned(), problem]);
        }
        for (field, values) in &difference.changes {
            add(field, values.clone().map(|value| value.get().to_owned()));
        }
    }
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query(include_str!("sql/store_differences.sql"))
        .bind(generation.name())
        .bind(ids)
        .bind(versions)
        .bind(fields)
        .bind(live)
        .bind(new)
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

/// What a verification has found so far, in all invocations; `None` if another one has begun.
pub(super) async fn read(
    pool: &Pool,
    generation: &View,
    run: Uuid,
) -> Result<Option<Verification>, ProjectionError> {
    let mut transaction = pool.begin().await?;
    // Before the counts: if another verification begins in between, its row says so.
    let differences = sqlx::query(include_str!("sql/read_differences.sql"))
        .bind(generation.name())
        .fetch_all(&mut *transaction)
        .await?;
    let row = sqlx::query(include_str!("sql/read_run.sql"))
        .bind(generation.name())
        .bind(run)
        .fetch_optional(&mut *transaction)
        .await?;
    transaction.commit().await?;
    let Some(row) = row else { return Ok(None) };
    let count = |name| row.try_get::<i64, _>(name).map(i64::unsigned_abs);
    Ok(Some(Verification {
        aggregates: count("aggregates")?,
        differ: count("differ")?,
        orphan_claims: count("orphan_claims")?,
        removed_claims: count("removed_claims")?,
        repaired: count("repaired")?,
        complete: row.try_get("complete")?,
        differences: collect(&differences)?,
    }))
}

/// Joins the fields of each aggregate.
fn collect(rows: &[PgRow]) -> Result<Vec<Difference>, sqlx::Error> {
    let mut differences: Vec<Difference> = Vec::new();
    for row in rows {
        let id = AggregateId(row.try_get("aggregate_id")?);
        if differences.last().is_none_or(|last| last.id != id) {
            differences.push(Difference {
                id,
                version: Version(row.try_get("version")?),
                changes: Changes::new(),
                problem: None,
            });
        }
        let Some(difference) = differences.last_mut() else {
            continue;
        };
        let field: String = row.try_get("field")?;
        let new: Json<Box<RawValue>> = row.try_get("new")?;
        if field == PROBLEM {
            difference.problem = serde_json::from_str(new.get()).ok();
        } else {
            let live: Json<Box<RawValue>> = row.try_get("live")?;
            difference.changes.insert(field, [live.0, new.0]);
        }
    }
    Ok(differences)
}

/// The result of the last verification of a projection; `None` if there was none.
///
/// # Errors
///
/// Any [`ProjectionError`].
pub async fn last(pool: &Pool, view: &View) -> Result<Option<LastVerify>, ProjectionError> {
    let row = sqlx::query(include_str!("sql/last_result.sql"))
        .bind(view.name())
        .fetch_optional(&mut *pool.acquire().await?)
        .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    let count = |name| row.try_get::<i64, _>(name).map(i64::unsigned_abs);
    let estimated: Option<i64> = row.try_get("estimated_aggregates")?;
    Ok(Some(LastVerify {
        verified_at: row.try_get("verified_at")?,
        started_at: row.try_get("started_at")?,
        aggregates: count("aggregates")?,
        estimated_aggregates: estimated.map(i64::unsigned_abs),
        differ: count("differ")?,
        orphan_claims: count("orphan_claims")?,
        removed_claims: count("removed_claims")?,
        repaired: count("repaired")?,
        repair: row.try_get("repairs")?,
        complete: row.try_get("complete")?,
    }))
}

/// A page of differences.
#[derive(Debug)]
pub struct DifferencesPage {
    /// The differences, in the order of aggregates and fields.
    pub differences: Vec<ListedDifference>,
    /// Whether there are more.
    pub has_more: bool,
}

/// The differences that the last verification has recorded, in the order of aggregates and fields, after the given one: no more than
/// `limit`.
///
/// # Errors
///
/// Any [`ProjectionError`].
pub async fn list(
    pool: &Pool,
    view: &View,
    after: Option<(AggregateId, &str)>,
    limit: PageLimit,
) -> Result<DifferencesPage, ProjectionError> {
    // No field has an empty name with a lower id than the nil one.
    let (id, field) = after.map_or((Uuid::nil(), None), |(id, field)| (id.0, Some(field)));
    let mut connection = pool.acquire().await?;
    let mut stored = sqlx::query(include_str!("sql/list_differences.sql"))
        .bind(view.name())
        .bind(id)
        .bind(field)
        .bind(limit.rows_to_read())
        .fetch(&mut *connection);
    let decode = |row: &PgRow| {
        Ok::<_, sqlx::Error>(ListedDifference {
            id: AggregateId(row.try_get("aggregate_id")?),
            field: row.try_get("field")?,
            live: row.try_get("live")?,
            new: row.try_get("new")?,
        })
    };
    let mut page = BoundedPage::new(limit);
    // The result is read to its end even when the page is full: otherwise the next request could not use the connection.
    while let Some(row) = stored.try_next().await? {
        page.push(decode(&row)?);
    }
    let (differences, has_more) = page.finish();
    Ok(DifferencesPage {
        differences,
        has_more,
    })
}

pub(super) fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
