//! Claims and views at the end: each event is claimed once, the claims of an aggregate are its first events, and each row is the
//! fold of the claimed events.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use uuid::Uuid;

use super::log::{Log, Stored};
use crate::model::{LedgerRow, State};

const PROJECTIONS: [&str; 3] = ["users", "accounts", "ledger"];

/// A projection as the database has it.
#[derive(Debug, Default)]
pub struct Projected {
    /// Claims: (event, aggregate).
    pub claims: BTreeSet<(Uuid, Uuid)>,
    /// Parked aggregates: the version of the event that waits, and the error.
    pub parked: BTreeMap<Uuid, (i32, String)>,
    /// Events that an operator has skipped: (aggregate, version).
    pub skipped: BTreeSet<(Uuid, i32)>,
    /// Rows: the version and the public columns.
    pub rows: BTreeMap<Uuid, (i32, Value)>,
}

pub(super) async fn problems(connection: &mut PgConnection, log: &Log) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for name in PROJECTIONS {
        let projected = read(connection, name).await?;
        problems.extend(compare(name, log, &projected));
    }
    problems.extend(lanes(connection).await?);
    Ok(problems)
}

async fn read(connection: &mut PgConnection, name: &str) -> Result<Projected> {
    let mut projected = Projected::default();
    let live = "select name from views where projection = $1 and state = 'live'";
    let live: String = sqlx::query_scalar(live)
        .bind(name)
        .fetch_one(&mut *connection)
        .await?;
    let skipped = "select aggregate_id, version from skipped where projection = $1";
    let skipped: Vec<(Uuid, i32)> = sqlx::query_as(skipped)
        .bind(name)
        .fetch_all(&mut *connection)
        .await?;
    projected.skipped.extend(skipped);
    let claims = format!("select event_id, aggregate_id from locker where lock_domain = '{live}'");
    for row in sqlx::query(AssertSqlSafe(claims))
        .fetch_all(&mut *connection)
        .await?
    {
        projected.claims.insert((row.try_get(0)?, row.try_get(1)?));
    }
    let parked =
        format!("select aggregate_id, version, error from parked where lock_domain = '{live}'");
    for row in sqlx::query(AssertSqlSafe(parked))
        .fetch_all(&mut *connection)
        .await?
    {
        projected
            .parked
            .insert(row.try_get(0)?, (row.try_get(1)?, row.try_get(2)?));
    }
    let rows = format!(
        "select id, version, to_jsonb(v) - 'id' - 'version' - 'password_hash' from \"{live}\" v"
    );
    for row in sqlx::query(AssertSqlSafe(rows))
        .fetch_all(&mut *connection)
        .await?
    {
        projected
            .rows
            .insert(row.try_get(0)?, (row.try_get(1)?, row.try_get(2)?));
    }
    Ok(projected)
}

/// Compares a projection with the fold from scratch.
pub fn compare(name: &str, log: &Log, projected: &Projected) -> Vec<String> {
    let mut problems = Vec::new();
    let mut claims = projected.claims.clone();
    let mut rows = projected.rows.clone();
    for (aggregate, chain) in log.aggregates() {
        if chain[0].body.is_user() != (name == "users") {
            continue;
        }
        let is_claimed = |event: &&Stored| projected.claims.contains(&(event.id, *aggregate));
        let claimed = chain.iter().take_while(is_claimed).count();
        if let Some(late) = chain[claimed..].iter().find(is_claimed) {
            problems.push(format!(
                "{name}: {late:?} is claimed, but version {} is not",
                claimed + 1
            ));
        }
        for event in chain {
            claims.remove(&(event.id, *aggregate));
        }
        let parked = projected.parked.get(aggregate);
        let first_unclaimed = chain.get(claimed);
        match (parked, first_unclaimed) {
            (None, Some(event)) => problems.push(format!("{name}: {event:?} is not claimed, and not parked")),
            (Some((version, error)), Some(event)) if *version != event.version => problems.push(format!(
                "{name}: {aggregate} is parked at version {version} ({error}), but version {} is the next",
                event.version
            )),
            (Some((version, error)), None) => problems.push(format!(
                "{name}: {aggregate} is parked at version {version} ({error}), but everything is claimed"
            )),
            _ => {}
        }
        let is_skipped = |event: &&Stored| projected.skipped.contains(&(*aggregate, event.version));
        let expected = expected_row(name, &chain[..claimed], is_skipped);
        let actual = rows.remove(aggregate);
        if actual != expected {
            problems.push(format!("{name}: the row of {aggregate} is {actual:?}, the fold of its {claimed} claimed events {expected:?}"));
        }
        if let Some(problem) = unexpected_parking(name, chain, claimed, projected) {
            problems.push(format!("{name}: {aggregate} {problem}"));
        }
    }
    problems.extend(
        claims
            .iter()
            .map(|claim| format!("{name}: the claim {claim:?} has no event")),
    );
    problems.extend(
        rows.iter()
            .map(|row| format!("{name}: the row {row:?} has no events")),
    );
    let unknown = projected
        .parked
        .keys()
        .filter(|id| log.chain(**id).is_empty());
    problems.extend(unknown.map(|id| format!("{name}: {id} is parked and has no events")));
    problems
}

/// The row after the claimed events, without those that were skipped.
fn expected_row(
    name: &str,
    claimed: &[Stored],
    is_skipped: impl Fn(&&Stored) -> bool,
) -> Option<(i32, Value)> {
    let version = claimed.last()?.version;
    let folded = claimed.iter().filter(|event| !is_skipped(event));
    if name == "ledger" {
        let start = LedgerRow::default();
        let row = folded.fold(start, |row, event| row.apply(event.version, &event.body));
        let columns = json!({"deposits": row.deposits, "last_version": row.last_version});
        return Some((version, columns));
    }
    let state = folded.fold(State::default(), |state, event| state.apply(&event.body));
    Some((version, state.row()?))
}

/// Whether an aggregate is parked without a reason, or folded although its fold fails.
fn unexpected_parking(
    name: &str,
    chain: &[Stored],
    claimed: usize,
    projected: &Projected,
) -> Option<String> {
    if name == "ledger" {
        let poison = chain.iter().position(|event| {
            event.body.is_poison()
                && !projected
                    .skipped
                    .contains(&(event.aggregate, event.version))
        });
        return (claimed != poison.unwrap_or(chain.len())).then(|| {
            format!("has {claimed} claims; its first event that cannot be folded: {poison:?}")
        });
    }
    if claimed == chain.len() {
        return None;
    }
    // An e-mail address that another row has.
    let mut state = chain[..claimed]
        .iter()
        .fold(State::default(), |state, event| state.apply(&event.body));
    let aggregate = chain[0].aggregate;
    let others = projected.rows.iter().filter(|(id, _)| **id != aggregate);
    let taken: BTreeSet<String> = others
        .filter_map(|(_, (_, row))| Some(row["email"].as_str()?.to_lowercase()))
        .collect();
    for event in &chain[claimed..] {
        state = state.apply(&event.body);
        if let State::User { email, .. } = &state
            && taken.contains(&email.to_lowercase())
        {
            return None;
        }
    }
    let reason = projected.parked.get(&aggregate);
    Some(format!("is parked without a reason: {reason:?}"))
}

/// The lanes of each projection cover all hash slots once. (A schema without lanes has nothing to check.)
async fn lanes(connection: &mut PgConnection) -> Result<Vec<String>> {
    let has_lanes: bool = sqlx::query_scalar(
        "select exists (select from information_schema.columns where table_name = 'settled' and column_name = 'first')",
    )
    .fetch_one(&mut *connection)
    .await?;
    if !has_lanes {
        return Ok(Vec::new());
    }
    let sql = "select lock_domain from settled join views v on v.name = lock_domain where v.state = 'live' group by lock_domain \
         having sum(last - first + 1) <> 256 or min(first) <> 0 or max(last) <> 255";
    let wrong: Vec<String> = sqlx::query_scalar(sql).fetch_all(connection).await?;
    Ok(wrong
        .into_iter()
        .map(|name| format!("{name}: the lanes do not cover all slots once"))
        .collect())
}
