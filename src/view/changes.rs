//! The fields in which two rows differ, as clients see them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::value::RawValue;
use uuid::Uuid;

use super::View;
use crate::domain::FoldError;
use crate::event::{AggregateId, Version};

/// The fields of a row as clients see them, without `id`, `version` and secrets.
pub type ShownFields = BTreeMap<String, Box<RawValue>>;

/// The fields in which two rows differ: the value before and after; null where there is no row.
pub type Changes = BTreeMap<String, [Box<RawValue>; 2]>;

/// The fields of `row` as clients see them; none if there is no row.
///
/// # Errors
///
/// When the row does not match the row type of the view.
pub fn shown_fields(view: &View, row: Option<&RawValue>) -> Result<ShownFields, FoldError> {
    let Some(row) = row else {
        return Ok(ShownFields::new());
    };
    let (id, version) = (AggregateId(Uuid::nil()), Version(0));
    let shown = view.projection.show(id, version, row, &view.secret_names)?;
    let mut fields: ShownFields = serde_json::from_str(shown.get()).map_err(FoldError::new)?;
    fields.retain(|name, _| name != "id" && name != "version");
    Ok(fields)
}

/// Compares the fields of two rows, as [`shown_fields`] returns them.
#[must_use]
pub fn changes(before: &ShownFields, after: &ShownFields) -> Changes {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let value = |fields: &ShownFields, name: &String| {
        let value = fields.get(name).cloned();
        value.unwrap_or_else(|| RawValue::NULL.to_owned())
    };
    let change = |name: &String| [value(before, name), value(after, name)];
    names
        .into_iter()
        .map(|name| (name.clone(), change(name)))
        .filter(|(_, [before, after])| before.get() != after.get())
        .collect()
}
