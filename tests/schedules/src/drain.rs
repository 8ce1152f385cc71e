//! The end of a schedule: all faults are over, and everything that was stored must be projected within a bound.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use foldlog::projection::CHANNEL;
use serde_json::{Value, json};

use crate::clock::{pause, poll};
use crate::host::Host;
use crate::model::{Body, Event};
use crate::plan::{Append, Expected, Program};
use crate::rng::Rng;
use crate::world::World;
use crate::{client, operator};

/// Longer than every time limit of foldlog together with a restart of a host.
pub const DRAIN_TIMEOUT: Duration = Duration::from_mins(1);
/// With connections that stay silent.
const SILENT_DRAIN_TIMEOUT: Duration = Duration::from_secs(150);
/// How often parked aggregates are retried: an address that one retry frees may let the next one succeed.
const MAX_RETRY_ROUNDS: usize = 6;

const WAITING: &str = "select count(*) from events e, \
    (values ('users', 1000), ('accounts', 2000), ('ledger', 2000)) as p (projection, block) \
    join views v on v.projection = p.projection and v.state = 'live' \
    where e.type_id >= p.block and e.type_id < p.block + 1000 \
    and not exists (select from locker l where l.event_id = e.id and l.aggregate_id = e.aggregate_id and l.lock_domain = v.name) \
    and not exists (select from parked k where k.aggregate_id = e.aggregate_id and k.lock_domain = v.name and k.version <= e.version)";

/// Ends all faults, waits until everything is projected, and returns what is stuck.
pub async fn drain(world: &Arc<World>) -> Result<Vec<String>> {
    let patience = if world.plan.silence_lasts {
        SILENT_DRAIN_TIMEOUT
    } else {
        world.cut_silent();
        DRAIN_TIMEOUT
    };
    world.refuse_all(false);
    let mut problems = Vec::new();
    for host in &world.hosts {
        host.thaw();
    }
    let rng = &mut Rng::new(world.plan.seed ^ 0x5EED);
    for host in world.hosts.iter().filter(|host| host.appends(true)) {
        let append = probe(rng);
        let accepted = poll(patience, async || client::probe(world, host, &append).await).await;
        world
            .recorder
            .note(&format!("{} accepts appends: {accepted}", host.name));
        if !accepted {
            problems.push(format!("stuck: {} does not accept an append", host.name));
        }
    }
    problems.extend(operator::finish(world).await?);
    let cluster = world.primary();
    let is_projected = async || matches!(cluster.value::<i64>(WAITING).await, Ok(Some(0)));
    if !poll(patience, is_projected).await {
        let waiting = cluster.value::<i64>(WAITING).await?.unwrap_or_default();
        problems.push(format!("stuck: {waiting} events are not projected"));
        return Ok(problems);
    }
    world.recorder.note("everything is projected");
    retry_parked(world, &mut problems).await?;
    world.recorder.note("parked aggregates are retried");
    health(world, &mut problems).await;
    problems.extend(operator::verify(world).await);
    Ok(problems)
}

/// A new user.
fn probe(rng: &mut Rng) -> Append {
    let body = Body::Created {
        username: "probe".to_owned(),
        email: format!("{}@example.org", rng.uuid()),
    };
    let (id, aggregate) = (rng.uuid(), rng.uuid());
    Append {
        events: vec![Event {
            id,
            aggregate,
            body,
        }],
        expected: Expected::Any,
    }
}

/// Makes all parked aggregates due, again and again, until a round changes nothing.
async fn retry_parked(world: &World, problems: &mut Vec<String>) -> Result<()> {
    let cluster = world.primary();
    let count = "select count(*) from parked where lock_domain in (select name from views where state = 'live')";
    for _ in 0..MAX_RETRY_ROUNDS {
        let before = cluster.value::<i64>(count).await?.unwrap_or_default();
        if before == 0 {
            return Ok(());
        }
        // A sleeping listener would look for due retries only after its interval.
        let retry = format!(
            "update parked set next_try = '2000-01-01' where lock_domain in (select name from views where state = 'live'); \
             notify \"{CHANNEL}\""
        );
        cluster.execute(&retry).await?;
        let due = "select count(*) from parked where next_try = '2000-01-01'";
        let is_retried = async || matches!(cluster.value::<i64>(due).await, Ok(Some(0)));
        if !poll(DRAIN_TIMEOUT, is_retried).await {
            problems.push("stuck: parked aggregates are due and not retried".to_owned());
            return Ok(());
        }
        if cluster.value::<i64>(count).await? == Some(before) {
            return Ok(());
        }
    }
    Ok(())
}

/// A server reports that nothing waits.
async fn health(world: &World, problems: &mut Vec<String>) {
    let cluster = world.primary();
    let http = reqwest::Client::new();
    let server = |host: &&Arc<Host>| host.plan.program == Program::Local && host.plan.serves_all;
    let Some(host) = world.hosts.iter().find(server) else {
        return;
    };
    let mut last = Value::Null;
    let is_healthy = poll(DRAIN_TIMEOUT, async || {
        let response = host.request(&http, "GET", "/health", &[], None).await;
        let Some((200, body, _)) = response else {
            return false;
        };
        last = body;
        let mut all = true;
        for name in ["users", "accounts", "ledger"] {
            let parked = format!(
                "select count(*) from parked join views v on v.name = lock_domain \
                 where v.projection = '{name}' and v.state = 'live'"
            );
            let parked = cluster.value::<i64>(&parked).await.ok().flatten();
            let figures = &last["projections"][name];
            all &= figures["lag_events"] == 0 && figures["parked"] == json!(parked);
        }
        all
    });
    if !is_healthy.await {
        problems.push(format!(
            "/health of {} does not report that nothing waits: {last}",
            host.name
        ));
    }
}

/// Invokes a function as a schedule and an operator do, until the task is aborted.
pub async fn invoke_on_schedule(host: Arc<Host>, mut rng: Rng) {
    loop {
        let payload = match rng.below(12) {
            0 => json!({"retry": "users"}),
            1 => json!({"status": true}),
            _ => json!({}),
        };
        host.invoke(&payload).await;
        pause(100).await;
    }
}
