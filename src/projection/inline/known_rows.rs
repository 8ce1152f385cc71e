//! Appends that one statement stores and folds, because their rows are known before.

use sqlx::Row as _;

use crate::db::{DbError, Session};
use crate::projection::ProjectionError;
use crate::store::{self, GroupedAppend, KnownRow, LockWait, RowOrigin, StoredGroup};
use crate::view::{self, View};

/// Appends a group whose rows are known, and writes these rows, in one statement; see [`KnownRow`]. `None` if the rows of the group
/// have to be read: then nothing is stored.
///
/// The claims are those of the new events, so no other transaction has them. A row can change without a claim of a new event only by a
/// repair, and a generation can be replaced. Both take the lock exclusively that the statement shares from the moment at which it looks at
/// the generation until it commits. (tests: `a_row_that_was_repaired_is_read_before_the_next_append`,
/// `an_inline_append_beside_a_reprojection_is_in_the_live_view`)
///
/// # Errors
///
/// Those of [`store::append_group`], and [`DbError::Conflict`] when a set rule of the view rejects a row.
pub async fn append_known(
    connection: &mut Session<'_>,
    view: &View,
    group: &[GroupedAppend],
    lock_wait: LockWait,
) -> Result<Option<StoredGroup>, ProjectionError> {
    let view = &view.current();
    let Some(origin) = common_origin(view, group) else {
        return Ok(None);
    };
    let known = || group.iter().filter_map(GroupedAppend::known_row);
    let rows: Vec<_> = known()
        .map(|(id, version, known)| (id, version, &*known.row))
        .collect();
    let payloads: Vec<_> = known().map(|(_, _, known)| known.payload.get()).collect();
    let sql = view.sql.fill(include_str!("sql/append_known.sql"));
    let rows = store::bind_group(sqlx::query(sql), group, lock_wait)
        .bind(payloads)
        .bind(view::json_array(&rows))
        .bind(view.name())
        .bind(view.lock_domain())
        .bind(origin.map(|origin| origin.repairs))
        .fetch_all(connection)
        .await;
    let rows = match rows.map_err(DbError::from) {
        Ok(rows) => rows,
        Err(DbError::Contended(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut appended = Vec::with_capacity(rows.len());
    for row in rows {
        if !row.try_get::<bool, _>("holds")? {
            return Ok(None);
        }
        if row.try_get::<Option<i32>, _>("version")?.is_some() {
            appended.push(row);
        }
    }
    let mut stored = store::decode_group(&appended, group)?;
    let generation = view::generation_number(view.lock_domain());
    if let Some(row) = appended.first() {
        let repairs = row.try_get("repairs")?;
        for event in stored.values_mut() {
            event.origin = Some(RowOrigin {
                generation,
                repairs,
            });
        }
    }
    Ok(Some(stored))
}

/// Where the rows of the group were read, if that is one place in the live generation: `Some(None)` if none was read.
#[expect(
    clippy::option_option,
    reason = "no place to compare with differs from places that differ"
)]
fn common_origin(view: &View, group: &[GroupedAppend]) -> Option<Option<RowOrigin>> {
    if !view.serving().exists {
        return None;
    }
    let mut common: Option<RowOrigin> = None;
    for append in group {
        let (_, _, KnownRow { origin, .. }) = append.known_row()?;
        let Some(origin) = origin else { continue };
        if common.is_some_and(|common| common != *origin) {
            return None;
        }
        common = Some(*origin);
    }
    let generation = view::generation_number(view.lock_domain());
    common
        .is_none_or(|origin| origin.generation == generation)
        .then_some(common)
}
