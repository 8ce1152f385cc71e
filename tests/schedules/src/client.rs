//! The clients of a schedule. Each sends one request after the other, repeats those without an answer, and records all tries.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;
use uuid::Uuid;

use crate::clock::pause;
use crate::host::Host;
use crate::plan::{Action, Append, Expected, Read, ReadMode, Request};
use crate::record::{Attempt, Outcome};
use crate::world::World;

/// How often a request without a definite answer is sent.
const MAX_ATTEMPTS: usize = 4;
/// Milliseconds between two tries.
const RETRY_DELAY: u64 = 60;

/// Runs the actions of one client.
pub async fn run(world: Arc<World>, actions: Vec<Action>) {
    let mut client = Client {
        world,
        http: reqwest::Client::new(),
        known: HashMap::new(),
    };
    for action in actions {
        pause(action.pause_ms).await;
        client.act(action).await;
    }
}

/// Sends one append until a host accepts it; whether one did.
pub async fn probe(world: &Arc<World>, host: &Host, append: &Append) -> bool {
    let mut client = Client {
        world: Arc::clone(world),
        http: reqwest::Client::new(),
        known: HashMap::new(),
    };
    let outcome = client
        .attempt(host, Request::Append(append.clone()), None)
        .await;
    matches!(
        outcome,
        Outcome::Response {
            status: 200 | 201,
            ..
        }
    )
}

struct Client {
    world: Arc<World>,
    http: reqwest::Client,
    /// The newest version of each aggregate that this client knows.
    known: HashMap<Uuid, i32>,
}

impl Client {
    async fn act(&mut self, action: Action) {
        let hosts = self.world.hosts.iter();
        let (request, hosts): (_, Vec<_>) = match &action.request {
            Request::Append(append) => {
                let users_only = append.events.iter().all(|event| event.body.is_user());
                let request = Request::Append(self.with_exact_version(append));
                (
                    request,
                    hosts
                        .filter(|host| host.appends(users_only))
                        .cloned()
                        .collect(),
                )
            }
            Request::Read(read) => {
                let request = Request::Read(read.clone());
                (
                    request,
                    hosts
                        .filter(|host| host.reads(read.is_user))
                        .cloned()
                        .collect(),
                )
            }
        };
        for attempt in 0..MAX_ATTEMPTS {
            let index = usize::try_from(action.host).unwrap_or(0) + attempt;
            let host = &hosts[index % hosts.len()];
            let patience = action.gives_up_after_ms.filter(|_| attempt == 0);
            let outcome = self.attempt(host, request.clone(), patience).await;
            if let Outcome::Response { status, .. } = outcome
                && status != 503
            {
                return;
            }
            pause(RETRY_DELAY).await;
        }
    }

    /// The append with the version that this client knows, if it expects that.
    fn with_exact_version(&self, append: &Append) -> Append {
        let known = self
            .known
            .get(&append.events[0].aggregate)
            .copied()
            .unwrap_or_default();
        let expected = match append.expected {
            Expected::Known(more) if known + more > 0 => Expected::Exact(known + more),
            Expected::Known(_) => Expected::NoStream,
            expected => expected,
        };
        Append {
            expected,
            ..append.clone()
        }
    }

    async fn attempt(&mut self, host: &Host, request: Request, patience: Option<u64>) -> Outcome {
        let sent = self.world.recorder.now();
        let (method, path, headers, body) = match &request {
            Request::Append(append) => post(append),
            Request::Read(read) => self.get(read),
        };
        let sending = host.request(&self.http, method, &path, &headers, body.as_ref());
        let patience = patience.map_or(Duration::MAX, Duration::from_millis);
        let response = timeout(patience, sending).await.ok().flatten();
        let outcome = response.map_or(Outcome::Unknown, |(status, body, has_retry_after)| {
            Outcome::Response {
                status,
                body,
                has_retry_after,
            }
        });
        self.learn(&request, &outcome);
        self.world.recorder.attempt(Attempt {
            host: host.name.clone(),
            inline: host.plan.inline.clone(),
            request,
            sent,
            received: self.world.recorder.now(),
            outcome: outcome.clone(),
        });
        outcome
    }

    fn get(
        &self,
        read: &Read,
    ) -> (
        &'static str,
        String,
        Vec<(&'static str, String)>,
        Option<Value>,
    ) {
        let domain = if read.is_user { "users" } else { "accounts" };
        let query = match read.mode {
            ReadMode::Any => String::new(),
            ReadMode::Strong => "?consistency=strong".to_owned(),
            ReadMode::Known => {
                let known = self.known.get(&read.id).copied().unwrap_or(1).max(1);
                format!("?min_version={known}")
            }
        };
        (
            "GET",
            format!("/{domain}/{}{query}", read.id),
            Vec::new(),
            None,
        )
    }

    fn learn(&mut self, request: &Request, outcome: &Outcome) {
        let Outcome::Response { status, body, .. } = outcome else {
            return;
        };
        let mut learn = |id: Uuid, version: &Value| {
            if let Some(version) = version
                .as_i64()
                .and_then(|version| i32::try_from(version).ok())
            {
                self.known.insert(id, version);
            }
        };
        match (request, status) {
            (Request::Append(append), 200 | 201 | 412) => {
                if let [event] = &append.events[..] {
                    learn(event.aggregate, &body["version"]);
                }
            }
            (Request::Read(read), 200) => learn(read.id, &body["version"]),
            _ => {}
        }
    }
}

fn post(
    append: &Append,
) -> (
    &'static str,
    String,
    Vec<(&'static str, String)>,
    Option<Value>,
) {
    let events = append.events.iter().map(|event| {
        json!({
            "id": event.id, "aggregate_id": event.aggregate, "type_id": event.body.type_id(),
            "payload": event.body.payload(event.aggregate),
        })
    });
    let mut events: Vec<_> = events.collect();
    let users = append
        .events
        .iter()
        .filter(|event| event.body.is_user())
        .count();
    let path = match users {
        0 => "/accounts",
        _ if users == events.len() => "/users",
        _ => "/events",
    };
    let body = if events.len() == 1 {
        events.remove(0)
    } else {
        events.into()
    };
    let header = match append.expected {
        Expected::Exact(version) => Some(("if-match", format!("\"{version}\""))),
        Expected::NoStream => Some(("if-none-match", "*".to_owned())),
        Expected::Any | Expected::Known(_) => None,
    };
    (
        "POST",
        path.to_owned(),
        header.into_iter().collect(),
        Some(body),
    )
}
