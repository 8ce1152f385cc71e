//! The earlier state that a revert brings back, and how far it does.

use std::collections::BTreeMap;

use serde_json::value::{RawValue, to_raw_value};

use super::{Revert, RevertError};
use crate::command::outcome;
use crate::db::Session;
use crate::domain::FoldError;
use crate::event::{AggregateId, Version};
use crate::state::{self, State};
use crate::store::Moment;
use crate::view::View;

/// The columns of a row with their values, secrets included.
type Columns = BTreeMap<String, Box<RawValue>>;

/// The row after all events of the aggregate.
pub(super) fn fold_current(
    view: &View,
    state: &State,
) -> Result<Option<Box<RawValue>>, RevertError> {
    let types = view.projection.block();
    let is_foreign = |type_id: i16| !types.contains(&type_id);
    if state.version() == Version(0) || state.tail.iter().any(|event| is_foreign(event.type_id.0)) {
        return Err(RevertError::Unknown);
    }
    Ok(outcome::fold_state(view, state)?)
}

/// The row after the event with this version.
pub(super) async fn load_row(
    connection: &mut Session<'_>,
    view: &View,
    id: AggregateId,
    version: Version,
) -> Result<Option<Box<RawValue>>, RevertError> {
    let past = state::load_past(connection, view, id, Moment::Version(version)).await?;
    Ok(past.into_row()?)
}

/// The row that the aggregate had at the version asked for; `newest` is its newest version.
pub(super) async fn load_target(
    connection: &mut Session<'_>,
    view: &View,
    revert: &Revert,
    newest: Version,
) -> Result<Box<RawValue>, RevertError> {
    let (id, version) = (revert.aggregate_id, revert.to_version);
    if version > newest {
        return Err(RevertError::NoSuchVersion { version, newest });
    }
    let row = load_row(connection, view, id, version).await?;
    row.ok_or(RevertError::EndedAt(version))
}

/// The target row with the current values of these fields.
pub(super) fn keep_fields(
    view: &View,
    target: Box<RawValue>,
    current: Option<&RawValue>,
    except: &[String],
) -> Result<Box<RawValue>, RevertError> {
    let is_shown = |name: &String| view.shown_columns().any(|column| column == name);
    if let Some(index) = except.iter().position(|name| !is_shown(name)) {
        let known = view.shown_columns().collect::<Vec<_>>().join(", ");
        return Err(RevertError::UnknownField { index, known });
    }
    if except.is_empty() {
        return Ok(target);
    }
    let current = current.ok_or(RevertError::NothingToKeep)?;
    let (mut columns, mut kept) = (decode(&target)?, decode(current)?);
    for name in except {
        if let Some(value) = kept.remove(name) {
            columns.insert(name.clone(), value);
        }
    }
    let target = to_raw_value(&columns).map_err(FoldError::new)?;
    // Spelled as a fold spells a row, so that it can be compared with one.
    let folded = view.projection.fold(Some(&target), &[]);
    match (folded.failure, folded.row) {
        (None, Some(row)) => Ok(row),
        (failure, _) => Err(failure
            .unwrap_or_else(|| FoldError::new("the fold of no event has no row"))
            .into()),
    }
}

/// The columns in which a row differs from the target, whether clients see them or not.
pub(super) fn differing(
    row: Option<&RawValue>,
    target: &RawValue,
) -> Result<Vec<String>, RevertError> {
    let row = row.map(decode).transpose()?.unwrap_or_default();
    let differs = |(name, value): &(String, Box<RawValue>)| {
        let now = row.get(name);
        now.is_none_or(|now| now.get() != value.get())
    };
    let columns = decode(target)?.into_iter().filter(differs);
    Ok(columns.map(|(name, _)| name).collect())
}

fn decode(row: &RawValue) -> Result<Columns, FoldError> {
    serde_json::from_str(row.get()).map_err(FoldError::new)
}
