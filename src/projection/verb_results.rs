//! The last answers of verbs. A client whose verb was handed over to another process gets no answer from that process, and finds it here.

use sqlx::Row as _;
use time::OffsetDateTime;

use super::ProjectionError;
use crate::db::Pool;
use crate::view::View;

/// The last answer of a verb.
#[derive(Clone, Debug, PartialEq)]
pub struct VerbResult {
    /// The verb.
    pub verb: String,
    /// When it answered.
    pub answered_at: OffsetDateTime,
    /// What it answered; `{"error": …}` if it failed.
    pub result: serde_json::Value,
}

/// Records what a verb has answered for a projection.
///
/// # Errors
///
/// Any [`ProjectionError`].
pub async fn store_verb_result(
    pool: &Pool,
    view: &View,
    verb: &str,
    result: &serde_json::Value,
) -> Result<(), ProjectionError> {
    sqlx::query(include_str!("sql/store_verb_result.sql"))
        .bind(view.name())
        .bind(verb)
        .bind(result.to_string())
        .execute(&mut *pool.acquire().await?)
        .await?;
    Ok(())
}

/// The last answers of verbs for a projection, one for each verb, or only the one of `verb`.
///
/// # Errors
///
/// Any [`ProjectionError`].
pub async fn list_verb_results(
    pool: &Pool,
    view: &View,
    verb: Option<&str>,
) -> Result<Vec<VerbResult>, ProjectionError> {
    let rows = sqlx::query(include_str!("sql/list_verb_results.sql"))
        .bind(view.name())
        .bind(verb)
        .fetch_all(&mut *pool.acquire().await?)
        .await?;
    let decode = |row: &sqlx::postgres::PgRow| {
        Ok(VerbResult {
            verb: row.try_get("verb")?,
            answered_at: row.try_get("answered_at")?,
            result: row.try_get("result")?,
        })
    };
    rows.iter().map(decode).collect()
}
