//! The record of the last verification of a projection, for operators.

use futures_util::TryStreamExt as _;
use sqlx::Row;
use time::OffsetDateTime;
use uuid::Uuid;

use super::Verification;
use crate::db::Pool;
use crate::event::AggregateId;
use crate::projection::ProjectionError;
use crate::view::{BoundedPage, PageLimit, View};

/// The result of the last verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct LastVerify {
    /// When it ended.
    #[serde(with = "time::serde::rfc3339")]
    pub verified_at: OffsetDateTime,
    /// Aggregates that were checked.
    pub aggregates: u64,
    /// Aggregates that differed.
    pub differ: u64,
    /// Claims of events that are not in the log.
    pub orphan_claims: u64,
    /// Aggregates that were repaired.
    pub repaired: u64,
    /// Whether everything was checked.
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

/// Records the result of a verification in place of the one before.
pub(super) async fn store(
    pool: &Pool,
    generation: &View,
    verification: &Verification,
) -> Result<(), ProjectionError> {
    let (mut ids, mut fields, mut live, mut new) = (vec![], vec![], vec![], vec![]);
    for difference in &verification.differences {
        let mut add = |field: &str, [before, after]: [String; 2]| {
            ids.push(difference.id.0);
            fields.push(field.to_owned());
            live.push(before);
            new.push(after);
        };
        if let Some(problem) = &difference.problem {
            add(
                "",
                [
                    "null".to_owned(),
                    serde_json::Value::from(problem.as_str()).to_string(),
                ],
            );
        }
        for (field, values) in &difference.changes {
            add(field, values.clone().map(|value| value.get().to_owned()));
        }
    }
    let mut transaction = pool.begin().await?;
    sqlx::query(include_str!("sql/store_result.sql"))
        .bind(generation.name())
        .bind(count(verification.aggregates))
        .bind(count(verification.differ))
        .bind(count(verification.orphan_claims))
        .bind(count(verification.repaired))
        .bind(verification.complete)
        .execute(&mut *transaction)
        .await?;
    sqlx::query(include_str!("sql/clear_differences.sql"))
        .bind(generation.name())
        .execute(&mut *transaction)
        .await?;
    sqlx::query(include_str!("sql/store_differences.sql"))
        .bind(generation.name())
        .bind(ids)
        .bind(fields)
        .bind(live)
        .bind(new)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(())
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
    Ok(Some(LastVerify {
        verified_at: row.try_get("verified_at")?,
        aggregates: count("aggregates")?,
        differ: count("differ")?,
        orphan_claims: count("orphan_claims")?,
        repaired: count("repaired")?,
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
    let decode = |row: &sqlx::postgres::PgRow| {
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

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
