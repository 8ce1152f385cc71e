//! Explains the row of an aggregate: which events made it, which wait, and why.

use serde::Serialize;
use time::OffsetDateTime;

use super::QueryError;
use super::blame::Setter;
use crate::app::Foldlog;
use crate::db::RetryPolicy;
use crate::event::{AggregateId, EventId, Version};
use crate::state::{self, Claims, VersionRanges};
use crate::store::{self, Moment};
use crate::view::View;

/// How many ranges of versions are listed.
const MAX_RANGES: i64 = 100;
/// How many of the newest events are listed. Each is in a range of its own at most, so [`MAX_RANGES`] covers them.
const MAX_NEWEST_EVENTS: i16 = 20;

/// Which events made the row of an aggregate, and which wait.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// The aggregate.
    pub id: AggregateId,
    /// The projection that maintains the view.
    pub projection: &'static str,
    /// What the figures mean.
    pub state: RowState,
    /// The version of the row; `None` when there is no row.
    pub version: Option<Version>,
    /// The version of the newest event.
    pub newest: Version,
    /// The hash of the claims: SHA-256 over the ids of the claimed events in the order of their versions, in hexadecimal digits;
    /// `None` when no event is claimed. Two views of an aggregate with the same revision have applied the same events.
    pub revision: Option<String>,
    /// The events that the projection has applied; at most the newest hundred ranges.
    pub claimed: VersionRanges,
    /// The events that it has not applied.
    pub waiting: Waiting,
    /// The event that cannot be folded, if the aggregate is parked.
    pub parked: Option<ParkedEvent>,
    /// The newest events, newest first.
    pub events: Vec<ExplainedEvent>,
}

/// What the claims and the row of an aggregate mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RowState {
    /// The row includes every event.
    Current,
    /// Events wait for a worker.
    Behind,
    /// An event cannot be folded, and the events after it wait.
    Parked,
    /// The fold of the claimed events is the absence of a row.
    Deleted,
    /// Row and claims contradict each other, because one of them was changed by hand.
    Inconsistent,
}

/// The events of an aggregate that wait.
#[derive(Clone, Debug, Serialize)]
pub struct Waiting {
    /// Which events.
    #[serde(flatten)]
    pub events: VersionRanges,
    /// Why they wait; `None` when there is none.
    pub reason: Option<WaitReason>,
    /// When the first of them was recorded.
    #[serde(serialize_with = "crate::event::time::serialize_option")]
    pub since: Option<OffsetDateTime>,
}

/// Why events wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitReason {
    /// No worker has reached them yet. The next pass folds them.
    NotProjected,
    /// The aggregate is parked.
    Parked,
    /// The projection has settled them, so no pass looks at them again, but their claims are gone: they were deleted by hand.
    ClaimLost,
}

/// The event at which an aggregate is parked.
#[derive(Clone, Debug, Serialize)]
pub struct ParkedEvent {
    /// Its id.
    pub event_id: EventId,
    /// Its version.
    pub version: Version,
    /// What kind of failure it is, such as `event`: the event does not match its type.
    pub class: String,
    /// How often it was tried.
    pub attempts: i32,
    /// When it was first tried.
    #[serde(serialize_with = "crate::event::time::serialize")]
    pub parked_at: OffsetDateTime,
    /// When it is tried again; `None` when an operator has set it to `infinity`.
    #[serde(serialize_with = "crate::event::time::serialize_option")]
    pub next_try: Option<OffsetDateTime>,
    /// Whether this build can fold it. Then the database rejects the row, or the next try succeeds.
    pub foldable: bool,
}

/// An event of an [`Explanation`].
#[derive(Clone, Debug, Serialize)]
pub struct ExplainedEvent {
    /// The event.
    #[serde(flatten)]
    pub event: Setter,
    /// Whether the projection has applied it.
    pub claimed: bool,
}

/// Explains the row of one aggregate.
///
/// # Errors
///
/// See [`QueryError`]. An aggregate whose events cannot be folded is explained, too.
pub async fn explain(
    foldlog: &Foldlog,
    view: &View,
    id: AggregateId,
) -> Result<Explanation, QueryError> {
    let mut retries = RetryPolicy::default();
    loop {
        match Box::pin(try_explain(foldlog, view, id)).await {
            Err(error) if retries.should_retry(&foldlog.pool, &error) => {}
            result => return result,
        }
    }
}

async fn try_explain(
    foldlog: &Foldlog,
    view: &View,
    id: AggregateId,
) -> Result<Explanation, QueryError> {
    let _share = foldlog.pool.share_of_views([view.name()]).await?;
    let mut connection = foldlog.pool.acquire().await?;
    let claims = state::load_claims(&mut connection, view, id, MAX_RANGES).await?;
    let claims = claims.ok_or(QueryError::Unknown)?;
    let reason = find_reason(&claims);
    let mut row_state = find_state(&claims, reason);
    if row_state == RowState::Deleted {
        // The row may have been deleted by hand.
        let moment = Moment::Version(claims.claimed.newest());
        let state = Box::pin(state::load_past(&mut connection, view, id, moment)).await?;
        if !state.is_deleted() {
            row_state = RowState::Inconsistent;
        }
    }
    let mut parked = None;
    if let Some(at) = claims.parked.clone() {
        let moment = Moment::Version(at.version);
        let state = Box::pin(state::load_past(&mut connection, view, id, moment)).await?;
        parked = Some(ParkedEvent {
            event_id: at.event_id,
            version: at.version,
            class: at.class,
            attempts: at.attempts,
            parked_at: at.parked_at,
            next_try: at.next_try,
            foldable: state.failure.is_none(),
        });
    }
    let after = Version(
        claims
            .newest
            .0
            .saturating_sub(i32::from(MAX_NEWEST_EVENTS))
            .max(0),
    );
    let until = Moment::Version(claims.newest);
    let limit = MAX_NEWEST_EVENTS.unsigned_abs();
    let part = store::read_stream(&mut connection, id, after, until, limit, None).await?;
    let types = view.projection.block();
    let own = part.events.iter().rev();
    let own = own.filter(|event| types.contains(&event.type_id.0));
    let events = own.map(|event| ExplainedEvent {
        event: Setter::new(foldlog, event),
        claimed: claims.claimed.contains(event.version),
    });
    let events = events.collect();
    Ok(Explanation {
        id,
        projection: view.name(),
        state: row_state,
        version: claims.row_version,
        newest: claims.newest,
        revision: claims.revision,
        claimed: claims.claimed,
        waiting: Waiting {
            events: claims.waiting,
            reason,
            since: claims.waiting_since,
        },
        parked,
        events,
    })
}

fn find_reason(claims: &Claims) -> Option<WaitReason> {
    if claims.waiting.count == 0 {
        None
    } else if claims.parked.is_some() {
        Some(WaitReason::Parked)
    } else if claims.has_settled_waiting {
        Some(WaitReason::ClaimLost)
    } else {
        Some(WaitReason::NotProjected)
    }
}

/// What the figures mean, as far as they tell without folding. Claims are a prefix of the versions: one claimed range at most, then
/// one that waits at most.
fn find_state(claims: &Claims, reason: Option<WaitReason>) -> RowState {
    let is_prefix = match (claims.claimed.ranges.as_slice(), claims.range_count) {
        ([], 1) => true,
        ([[first, _]], 1 | 2) => *first == Version(1),
        _ => false,
    };
    let row = claims.row_version;
    let is_row_of_claims = row.is_none_or(|row| row == claims.claimed.newest());
    if !is_prefix || !is_row_of_claims || reason == Some(WaitReason::ClaimLost) {
        return RowState::Inconsistent;
    }
    match (reason, row) {
        (Some(WaitReason::Parked), _) => RowState::Parked,
        (Some(_), _) => RowState::Behind,
        (None, Some(_)) => RowState::Current,
        (None, None) => RowState::Deleted,
    }
}
