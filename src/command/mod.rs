//! Commands: load the state, ask the rules, append, try a lost race again, answer a resent event as the first time.
//! Knows nothing of HTTP.
//!
//! One round trip where the rules need no state, two where they do. Whether they need it is found out, not declared: an
//! event that the rules take of an aggregate that does not exist yet is appended as its first one straight away, and
//! the key refuses it if the aggregate does exist; only then is the state loaded.

mod error;
mod resent;
mod seal;

use std::collections::HashMap;

use serde_json::Value;

pub use self::error::Error;
use crate::db::{RetryPolicy, Session};
use crate::domain::AnyDomain;
use crate::engine::Engine;
use crate::event::{AggregateId, AppendedEvent, EventId, ExpectedVersion, NewEvent, Version};
use crate::projection::{self, ProjectionError};
use crate::state::{self, State};
use crate::store::{self, ExpectedVersions, Outcome};

/// How many events one append may hold.
pub const MAX_EVENTS: usize = 1000;

/// How often a lost race is tried again. Of n appends to one aggregate at least one wins each round, so this many may
/// wait for each other.
const ATTEMPTS: u32 = 100;

/// What became of an append.
#[derive(Debug, PartialEq, Eq)]
pub struct Appended {
    /// The events, in the order in which they were given.
    pub events: Vec<AppendedEvent>,
    /// Whether they were stored before, by an earlier send.
    pub resent: bool,
}

/// The events of one aggregate in an append, with their places in it.
struct Group<'a> {
    aggregate_id: AggregateId,
    domain: &'static dyn AnyDomain,
    events: Vec<&'a NewEvent<Value>>,
    places: Vec<usize>,
}

/// Appends `events`, all or none, each as its domain's rules allow. With `only`, events of other domains are refused.
///
/// # Errors
///
/// See [`Error`]; nothing is stored then.
pub async fn execute(
    engine: &Engine,
    events: &[NewEvent<Value>],
    expected: ExpectedVersion,
    only: Option<&'static dyn AnyDomain>,
) -> Result<Appended, Error> {
    let groups = group(engine, events, only)?;
    if matches!(expected, ExpectedVersion::Exact(_)) && groups.len() != 1 {
        return Err(Error::OneAggregate);
    }
    let mut retries = RetryPolicy::default();
    loop {
        match append(engine, events, &groups, expected).await {
            Err(error) if retries.should_retry(&engine.pool, &error) => {}
            result => return result,
        }
    }
}

/// Checks what can be checked without the database, and sorts the events by their aggregates.
fn group<'a>(
    engine: &Engine,
    events: &'a [NewEvent<Value>],
    only: Option<&'static dyn AnyDomain>,
) -> Result<Vec<Group<'a>>, Error> {
    match events.len() {
        0 => return Err(Error::Empty),
        n if n > MAX_EVENTS => return Err(Error::TooMany(n)),
        _ => {}
    }
    let (mut groups, mut places, mut ids) =
        (Vec::<Group<'a>>::new(), HashMap::new(), HashMap::new());
    for (index, event) in events.iter().enumerate() {
        if let Some(first) = ids.insert(event.id, index) {
            return Err(Error::DuplicateId { first, index });
        }
        let domain = match only {
            Some(domain) if domain.block().contains(&event.type_id.0) => domain,
            Some(domain) => {
                return Err(Error::NotOfDomain {
                    index,
                    type_id: event.type_id,
                    domain: domain.name(),
                });
            }
            None => engine
                .domains
                .owning(event.type_id)
                .ok_or(Error::NoDomain {
                    index,
                    type_id: event.type_id,
                })?,
        };
        if has_nul(&event.payload)
            || event
                .metadata
                .0
                .iter()
                .any(|(k, v)| k.contains('\0') || has_nul(v))
        {
            return Err(Error::Unstorable { index });
        }
        domain
            .validate(event)
            .map_err(|refusal| Error::Refused { index, refusal })?;
        let at = *places.entry(event.aggregate_id).or_insert(groups.len());
        if at == groups.len() {
            groups.push(Group {
                aggregate_id: event.aggregate_id,
                domain,
                events: Vec::new(),
                places: Vec::new(),
            });
        }
        if groups[at].domain.name() != domain.name() {
            return Err(Error::MixedAggregate { index });
        }
        groups[at].events.push(event);
        groups[at].places.push(index);
    }
    Ok(groups)
}

/// Whether a text in here holds U+0000, which JSON can say and Postgres cannot store.
fn has_nul(json: &Value) -> bool {
    match json {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(fields) => fields
            .iter()
            .any(|(key, value)| key.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

async fn append(
    engine: &Engine,
    events: &[NewEvent<Value>],
    groups: &[Group<'_>],
    expected: ExpectedVersion,
) -> Result<Appended, Error> {
    // Hashing takes a core for a while, so an event with a password is judged first.
    let secret = events.iter().any(|event| seal::has_password(engine, event));
    if let (false, Some(blind)) = (secret, blind(groups, expected))
        && let Some(events) = store(engine, events, groups, &blind).await?
    {
        return Ok(Appended {
            events,
            resent: false,
        });
    }
    let mut sealed = None;
    for _ in 0..ATTEMPTS {
        let mut connection = engine.pool.acquire().await?;
        let at = match judge(engine, &mut connection, groups, expected).await {
            Ok(at) => at,
            // A resent event is answered before anything else about it is said: the rules would call a second
            // `created` a conflict, and the expected version has moved on by the very event.
            Err(error @ (Error::Refused { .. } | Error::VersionMismatch { .. })) => {
                let before = resent::find(engine, &mut connection, events).await?;
                return before.map_or(Err(error), |events| {
                    Ok(Appended {
                        events,
                        resent: true,
                    })
                });
            }
            Err(error) => return Err(error),
        };
        drop(connection);
        if secret && sealed.is_none() {
            sealed = Some(seal::hash(engine, events).await?);
        }
        if let Some(events) =
            store(engine, sealed.as_deref().unwrap_or(events), groups, &at).await?
        {
            return Ok(Appended {
                events,
                resent: false,
            });
        }
        let mut connection = engine.pool.acquire().await?;
        if let Some(events) = resent::find(engine, &mut connection, events).await? {
            return Ok(Appended {
                events,
                resent: true,
            });
        }
    }
    Err(Error::Contended)
}

/// The expected versions with which the events can be appended without a look at the aggregates, if they can.
fn blind(groups: &[Group<'_>], expected: ExpectedVersion) -> Option<ExpectedVersions> {
    let mut versions = ExpectedVersions::new();
    for group in groups {
        match expected {
            ExpectedVersion::Any if group.domain.stateless() => {}
            ExpectedVersion::Exact(version) if group.domain.stateless() => {
                versions.insert(group.aggregate_id, version.0);
            }
            ExpectedVersion::Any | ExpectedVersion::NoStream => {
                group.domain.judge(None, &[], &group.events).ok()?;
                versions.insert(group.aggregate_id, 0);
            }
            ExpectedVersion::Exact(_) => return None,
        }
    }
    Some(versions)
}

/// Loads the aggregates and asks the rules; the versions at which they were asked.
async fn judge(
    engine: &Engine,
    connection: &mut Session<'_>,
    groups: &[Group<'_>],
    expected: ExpectedVersion,
) -> Result<ExpectedVersions, Error> {
    let mut states: HashMap<AggregateId, State> = HashMap::new();
    for domain in engine.domains.iter() {
        let of_domain = groups
            .iter()
            .filter(|group| group.domain.name() == domain.name());
        let ids: Vec<AggregateId> = of_domain.map(|group| group.aggregate_id).collect();
        if let (false, Some(view)) = (ids.is_empty(), engine.view(domain.name())) {
            states.extend(state::load(connection, view, &ids).await?);
        }
    }
    let mut versions = ExpectedVersions::new();
    for group in groups {
        let state = states.remove(&group.aggregate_id).unwrap_or_default();
        let actual = state.version();
        let expects = match expected {
            ExpectedVersion::Any => None,
            ExpectedVersion::NoStream => Some(Version(0)),
            ExpectedVersion::Exact(version) => Some(version),
        };
        if expects.is_some_and(|expects| expects != actual) {
            return Err(Error::VersionMismatch {
                aggregate_id: group.aggregate_id,
                actual,
            });
        }
        let judged = group
            .domain
            .judge(state.row_json(), &state.tail, &group.events);
        judged.map_err(|(place, refusal)| Error::Refused {
            index: group.places[place],
            refusal,
        })?;
        versions.insert(group.aggregate_id, actual.0);
    }
    Ok(versions)
}

/// Appends, and folds inline what is to be folded inline; `None` when the race was lost.
async fn store(
    engine: &Engine,
    events: &[NewEvent<Value>],
    groups: &[Group<'_>],
    at: &ExpectedVersions,
) -> Result<Option<Vec<AppendedEvent>>, Error> {
    let inline = engine.inline_views(&events.iter().map(|event| event.type_id));
    let stored = if inline.is_empty() {
        let mut connection = engine.pool.acquire().await?;
        store::append(&mut connection, events, at).await
    } else {
        let aggregates: Vec<AggregateId> = groups.iter().map(|group| group.aggregate_id).collect();
        let mut transaction = engine.pool.begin().await?;
        let stored = store::append(&mut transaction, events, at).await;
        if matches!(stored, Ok(Outcome::Stored(_))) {
            for view in &inline {
                match projection::fold_inline(&mut transaction, view, &aggregates).await {
                    Ok(()) => {}
                    Err(ProjectionError::Db(error)) if error.is_contended() => return Ok(None),
                    Err(error) => return Err(Error::inline(view, error, events)),
                }
            }
            transaction.commit().await?;
        }
        stored
    };
    match stored {
        Ok(Outcome::Stored(events)) => Ok(Some(events)),
        Ok(Outcome::LostRace) => Ok(None),
        // Two appends that touch the same aggregates in opposite order.
        Err(error) if error.is_contended() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The ids of some events, for messages and look-ups.
fn ids(events: &[NewEvent<Value>]) -> Vec<EventId> {
    events.iter().map(|event| event.id).collect()
}
