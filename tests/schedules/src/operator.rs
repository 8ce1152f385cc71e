//! The operator of a schedule: rebuilds views, gives up, verifies, repairs and skips while everything else goes on.

use std::sync::Arc;

use anyhow::Result;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::clock::{pause, poll};
use crate::drain::DRAIN_TIMEOUT;
use crate::host::Host;
use crate::plan::{OperatorVerb, Order, Program};
use crate::world::World;

/// The projections whose generations nothing needs that are not removed yet.
const UNFINISHED: &str = "select coalesce(string_agg(distinct projection, ','), '') from views \
    where state = 'filling' or state = 'dropped' and retired_at is null";

/// Sends the orders, one after the other. What is not answered, or is refused, is not repeated.
pub async fn run(world: Arc<World>, orders: Vec<Order>) {
    let http = reqwest::Client::new();
    for order in orders {
        pause(order.pause_ms).await;
        let hosts: Vec<_> = world
            .hosts
            .iter()
            .filter(|host| serves(host, order.projection))
            .collect();
        let index = usize::try_from(order.host).unwrap_or(0);
        let host = hosts[index % hosts.len()];
        let Some(payload) = payload(&world, &order).await else {
            continue;
        };
        let answer = send(host, &http, &payload).await;
        let answer = answer.map_or_else(|| "no answer".to_owned(), |answer| answer.to_string());
        let answer: String = answer.chars().take(300).collect();
        world
            .recorder
            .note(&format!("{payload} to {}: {answer}", host.name));
    }
}

/// Gives up all reprojections, and verifies all views. Returns what is stuck or differs.
pub async fn finish(world: &World) -> Result<Vec<String>> {
    let http = reqwest::Client::new();
    let mut problems = Vec::new();
    let server = |host: &&Arc<Host>| host.plan.program == Program::Local && host.plan.serves_all;
    let Some(host) = world.hosts.iter().find(server) else {
        return Ok(problems);
    };
    let cluster = world.primary();
    let is_finished = poll(DRAIN_TIMEOUT, async || {
        let unfinished = match cluster.value::<String>(UNFINISHED).await {
            Ok(unfinished) => unfinished.unwrap_or_default(),
            Err(_) => return false,
        };
        if unfinished.is_empty() {
            return true;
        }
        for projection in unfinished.split(',') {
            send(host, &http, &json!({"cancel": projection})).await;
        }
        false
    });
    if !is_finished.await {
        problems.push("stuck: a reprojection cannot be cancelled".to_owned());
    }
    Ok(problems)
}

/// Verifies all views of a server that serves all; returns what differs.
pub async fn verify(world: &World) -> Vec<String> {
    let http = reqwest::Client::new();
    let server = |host: &&Arc<Host>| host.plan.program == Program::Local && host.plan.serves_all;
    let Some(host) = world.hosts.iter().find(server) else {
        return Vec::new();
    };
    let mut problems = Vec::new();
    for projection in ["users", "accounts", "ledger"] {
        let mut last = Value::Null;
        let is_right = poll(DRAIN_TIMEOUT, async || {
            last = send(host, &http, &json!({"verify": projection}))
                .await
                .unwrap_or_default();
            let found = &last["projections"][projection]["verification"];
            found["differ"] == 0 && found["orphan_claims"] == 0 && found["complete"] == true
        });
        if !is_right.await {
            problems.push(format!("{projection}: verify finds differences: {last}"));
        }
    }
    problems
}

fn serves(host: &Host, projection: &str) -> bool {
    matches!(host.plan.program, Program::Local | Program::CatchUp)
        && (projection == "users" || host.plan.serves_all)
}

/// The payload of an order; `None` if nothing is parked that could be skipped.
async fn payload(world: &World, order: &Order) -> Option<Value> {
    let name = order.projection;
    Some(match order.verb {
        OperatorVerb::Reproject => json!({"reproject": name}),
        OperatorVerb::ReprojectUnchanged => json!({"reproject": name, "max_changes": 0}),
        OperatorVerb::Preview => json!({"preview": name}),
        OperatorVerb::Cancel => json!({"cancel": name}),
        OperatorVerb::Verify => json!({"verify": name}),
        OperatorVerb::Repair => json!({"verify": name, "repair": true}),
        OperatorVerb::Skip => {
            let parked = format!(
                "select event_id from parked where split_part(lock_domain, '#', 1) = '{name}' order by event_id limit 1"
            );
            // Postgres may be down.
            let event: Uuid = world.primary().value(&parked).await.ok().flatten()?;
            json!({"skip": {"domain": name, "event_id": event, "reason": "a schedule skips it"}})
        }
    })
}

async fn send(host: &Host, http: &reqwest::Client, payload: &Value) -> Option<Value> {
    if host.plan.program == Program::CatchUp {
        return host.invoke(payload).await;
    }
    let answer = host
        .request(http, "POST", "/projections", &[], Some(payload))
        .await;
    answer.map(|(_, body, _)| body)
}
