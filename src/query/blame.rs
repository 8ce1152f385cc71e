//! Which event last set each field of a row.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use serde::Serialize;
use serde_json::value::RawValue;
use time::OffsetDateTime;

use super::past::{FoldStep, Walk};
use super::{QueryError, past};
use crate::app::Foldlog;
use crate::db::RetryPolicy;
use crate::event::{AggregateId, EventId, RecordedEvent, Version};
use crate::state::{self, AggregateEvent};
use crate::store::Moment;
use crate::view::View;

/// Which event last set each field of a row.
#[derive(Clone, Debug, Serialize)]
pub struct Blamed {
    /// The aggregate.
    pub id: AggregateId,
    /// The version of the last event of the row.
    pub version: Version,
    /// The fields of the row without secrets.
    pub fields: BTreeMap<String, BlamedField>,
}

/// A field, and the last event whose fold changed it or created the row.
#[derive(Clone, Debug, Serialize)]
pub struct BlamedField {
    /// Its value.
    pub value: Box<RawValue>,
    /// The event that set it.
    #[serde(flatten)]
    pub setter: Setter,
}

/// The event that set a field.
#[derive(Clone, Debug, Serialize)]
pub struct Setter {
    /// Its version.
    pub version: Version,
    /// Its id.
    pub event_id: EventId,
    /// The name of its type.
    #[serde(rename = "type")]
    pub type_name: Option<&'static str>,
    /// `actor` of its metadata: who appended it.
    pub actor: Option<Box<RawValue>>,
    /// When it was recorded.
    #[serde(serialize_with = "crate::event::time::serialize")]
    pub created_at: OffsetDateTime,
}

impl Setter {
    pub(super) fn new(foldlog: &Foldlog, event: &RecordedEvent) -> Self {
        Self {
            version: event.version,
            event_id: event.id,
            type_name: foldlog.type_name(event),
            actor: event.metadata.get("actor").map(ToOwned::to_owned),
            created_at: event.created_at,
        }
    }
}

/// Finds the event that last set each field of the row of an aggregate at a moment.
///
/// # Errors
///
/// See [`QueryError`].
pub async fn blame(
    foldlog: &Foldlog,
    view: &View,
    id: AggregateId,
    moment: Moment,
) -> Result<Blamed, QueryError> {
    let mut retries = RetryPolicy::default();
    loop {
        match Box::pin(try_blame(foldlog, view, id, moment)).await {
            Err(error) if retries.should_retry(&foldlog.pool, &error) => {}
            result => return result,
        }
    }
}

async fn try_blame(
    foldlog: &Foldlog,
    view: &View,
    id: AggregateId,
    moment: Moment,
) -> Result<Blamed, QueryError> {
    let mut connection = foldlog.pool.acquire().await?;
    let mut walk = Walk::new(view);
    let mut setters: BTreeMap<String, Setter> = BTreeMap::new();
    let mut visit = |past: AggregateEvent| {
        let changed: Vec<String> = match walk.step(&past) {
            FoldStep::Created(_) => walk.fields().keys().cloned().collect(),
            FoldStep::Changed(changes) => changes.into_keys().collect(),
            FoldStep::Removed(_) => {
                setters.clear();
                Vec::new()
            }
            FoldStep::Skipped | FoldStep::Failed | FoldStep::Waits => Vec::new(),
        };
        if !changed.is_empty() {
            let setter = Setter::new(foldlog, &past.event);
            setters.extend(changed.into_iter().map(|name| (name, setter.clone())));
        }
        ControlFlow::Continue(())
    };
    let span = (Version(0), moment);
    state::visit_past(&mut connection, view, id, span, &mut visit).await?;
    let (fields, state) = walk.end();
    let version = state.version;
    if version == Version(0) {
        return Err(past::explain_absence(&mut connection, view, id, moment).await?);
    }
    past::check_version(moment, version)?;
    if state.is_deleted() {
        return Err(QueryError::Deleted);
    }
    if let Some(failure) = state.failure {
        return Err(QueryError::Unfoldable(failure));
    }
    let fields = fields.into_iter().filter_map(|(name, value)| {
        let setter = setters.remove(&name)?;
        Some((name, BlamedField { value, setter }))
    });
    Ok(Blamed {
        id,
        version,
        fields: fields.collect(),
    })
}
