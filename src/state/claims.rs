//! What a projection has applied of one aggregate, and what waits.

use sqlx::Row;
use sqlx::postgres::PgRow;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::db::{DbError, Session};
use crate::event::{AggregateId, EventId, Version};
use crate::store;
use crate::view::{self, Serving, View};

/// The claims of a projection on the events of one aggregate, its row and its parked event, all of one moment.
#[derive(Debug)]
pub struct Claims {
    /// The events that the projection has applied.
    pub claimed: VersionRanges,
    /// The events that it has not applied.
    pub waiting: VersionRanges,
    /// When the first waiting event that is listed was recorded.
    pub waiting_since: Option<OffsetDateTime>,
    /// Whether the projection has settled a waiting event, so that no pass looks at it again.
    pub has_settled_waiting: bool,
    /// How many ranges there are, listed or not.
    pub range_count: i64,
    /// The version of the newest event.
    pub newest: Version,
    /// See [`HistoryHead::revision`](super::HistoryHead::revision).
    pub revision: Option<String>,
    /// The version of the row.
    pub row_version: Option<Version>,
    /// The event at which the aggregate is parked.
    pub parked: Option<ParkedAt>,
    /// Whether the generation whose claims these are serves this process.
    serves: bool,
}

/// Some events of an aggregate.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct VersionRanges {
    /// How many.
    #[serde(rename = "events")]
    pub count: u64,
    /// Their versions as ranges, first and last version of each; only the newest ranges if there are many.
    pub ranges: Vec<[Version; 2]>,
}

impl VersionRanges {
    /// The last version; 0 when there is none.
    #[must_use]
    pub fn newest(&self) -> Version {
        self.ranges.last().map_or(Version(0), |[_, last]| *last)
    }

    /// Whether a range that is listed has this version.
    #[must_use]
    pub fn contains(&self, version: Version) -> bool {
        let holds = |[first, last]: &[Version; 2]| (*first..=*last).contains(&version);
        self.ranges.iter().any(holds)
    }
}

/// The event at which an aggregate is parked.
#[derive(Clone, Debug)]
pub struct ParkedAt {
    /// Its id.
    pub event_id: EventId,
    /// Its version.
    pub version: Version,
    /// What kind of failure it is.
    pub class: String,
    /// How often it was tried.
    pub attempts: i32,
    /// When it was first tried.
    pub parked_at: OffsetDateTime,
    /// When it is tried again; `None` when an operator has set it to `infinity`.
    pub next_try: Option<OffsetDateTime>,
}

/// Reads the claims of a projection on one aggregate, with at most the newest `max_ranges` ranges; `None` when the aggregate has no
/// event that the view folds.
///
/// # Errors
///
/// Any [`DbError`].
pub async fn load_claims(
    connection: &mut Session<'_>,
    view: &View,
    id: AggregateId,
    max_ranges: i64,
) -> Result<Option<Claims>, DbError> {
    let mut generation = view.current();
    loop {
        let read = read_claims(connection, &generation, id, max_ranges).await;
        match &read {
            Ok(Some(claims)) if !claims.serves => {}
            Err(error) if Serving::may_be_dropped(error) => {}
            _ => return read,
        }
        let resolved = view::resolve(connection, view).await?.view;
        if resolved.lock_domain() == generation.lock_domain() {
            // None serves this process, and this one is live; or the statement failed for another reason.
            return read;
        }
        generation = resolved;
    }
}

async fn read_claims(
    connection: &mut Session<'_>,
    view: &View,
    id: AggregateId,
    max_ranges: i64,
) -> Result<Option<Claims>, DbError> {
    let types = view.projection.block();
    let rows = sqlx::query(view.sql.fill(include_str!("sql/load_claims.sql")))
        .bind(id.0)
        .bind(view.lock_domain())
        .bind(types.start)
        .bind(types.end)
        .bind(max_ranges)
        .fetch_all(connection)
        .await?;
    let Some(totals) = rows.first() else {
        return Ok(None);
    };
    let mut claims = decode_totals(totals)?;
    for row in &rows {
        let range = [row.try_get("first")?, row.try_get("last")?].map(Version);
        if row.try_get("claimed")? {
            claims.claimed.ranges.push(range);
            continue;
        }
        claims.waiting.ranges.push(range);
        claims.has_settled_waiting |= row.try_get::<bool, _>("settled")?;
        if claims.waiting_since.is_none() {
            claims.waiting_since = Some(store::decode_time(row, "since")?);
        }
    }
    Ok(Some(claims))
}

/// What every row of the answer repeats.
fn decode_totals(row: &PgRow) -> Result<Claims, sqlx::Error> {
    let count = |column| {
        let count: i64 = row.try_get(column)?;
        Ok::<_, sqlx::Error>(VersionRanges {
            count: count.unsigned_abs(),
            ranges: Vec::new(),
        })
    };
    Ok(Claims {
        claimed: count("claimed_events")?,
        waiting: count("waiting_events")?,
        waiting_since: None,
        has_settled_waiting: false,
        range_count: row.try_get("ranges")?,
        newest: Version(row.try_get("newest")?),
        revision: row.try_get("revision")?,
        row_version: row
            .try_get::<Option<i32>, _>("viewed_version")?
            .map(Version),
        parked: decode_parked(row)?,
        serves: row.try_get("serves")?,
    })
}

fn decode_parked(row: &PgRow) -> Result<Option<ParkedAt>, sqlx::Error> {
    let Some(event_id) = row.try_get::<Option<Uuid>, _>("parked_event")? else {
        return Ok(None);
    };
    Ok(Some(ParkedAt {
        event_id: EventId(event_id),
        version: Version(row.try_get("parked_version")?),
        class: row.try_get("parked_class")?,
        attempts: row.try_get("attempts")?,
        parked_at: store::decode_time(row, "parked_at")?,
        next_try: store::decode_optional_time(row, "next_try")?,
    }))
}
