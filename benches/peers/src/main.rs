//! One event store for Postgres per module, all with the same events and the same rule. `run.py` starts a server for them, gives
//! them turns, and compares the rates.
//!
//! ```text
//! peers setup STORE URL                            creates its tables and 10,000 aggregates
//! peers append STORE new|existing CLIENTS SECONDS URL
//! peers project STORE URL                          folds the whole log into its view, on one worker
//! peers serve PORT CONNECTIONS URL                 foldlog's HTTP routes
//! ```
//!
//! `append` prints how many appends it made, the microseconds of this process's CPU for each, and the rate per second; `project`
//! prints a rate.

mod disintegrate_store;
mod esrs_store;
mod foldlog_store;
mod load;
mod postgres_es_store;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::load::Load;

/// How many aggregates `setup` creates.
pub const AGGREGATE_COUNT: u64 = 10_000;

/// What the stores append: 120 to 160 bytes as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UserEvent {
    Created {
        id: String,
        username: String,
        email: String,
    },
    Renamed {
        username: String,
    },
}

/// The event of a turn is rejected by the rule: an aggregate is created once, and renamed only after that.
#[derive(Debug, thiserror::Error)]
#[error("the event does not fit the state of the user")]
pub struct RejectedError;

impl UserEvent {
    pub fn created(id: Uuid) -> Self {
        Self::Created {
            id: id.to_string(),
            username: format!("user {id}"),
            email: format!("{id}@example.org"),
        }
    }

    pub fn renamed(id: Uuid) -> Self {
        Self::Renamed {
            username: format!("user {id} has another name now, one about as long as it may be"),
        }
    }

    /// The rule that every store checks before it appends.
    pub fn check(&self, exists: bool) -> Result<(), RejectedError> {
        match (self, exists) {
            (Self::Created { .. }, false) | (Self::Renamed { .. }, true) => Ok(()),
            _ => Err(RejectedError),
        }
    }
}

/// The first event of a new aggregate, or a further event of one that `setup` created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    New,
    Existing,
}

impl Kind {
    /// An aggregate and the event to append to it.
    pub fn next(self) -> (Uuid, UserEvent) {
        match self {
            Self::New => {
                let id = Uuid::now_v7();
                (id, UserEvent::created(id))
            }
            Self::Existing => {
                let id = aggregate(Uuid::new_v4().as_u64_pair().1 % AGGREGATE_COUNT);
                (id, UserEvent::renamed(id))
            }
        }
    }
}

/// The aggregate number `n` of those that `setup` creates.
pub fn aggregate(n: u64) -> Uuid {
    Uuid::from_u128(0x1000_0000_0000_4000_8000_0000_0000_0000 | u128::from(n))
}

/// An SQL expression with the rows (id, n) of the aggregates from number `first` on.
pub fn aggregates_in_sql(first: u64) -> String {
    format!(
        "(select ('10000000-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid as id, n \
         from generate_series({first}, {}) n) as aggregate",
        AGGREGATE_COUNT - 1
    )
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["setup", store, url] => setup(store, url).await,
        ["append", store, kind, clients, seconds, url] => {
            let load = Load::new(clients.parse()?, seconds.parse()?);
            let kind = match kind {
                "new" => Kind::New,
                "existing" => Kind::Existing,
                _ => bail!("{kind} is neither `new` nor `existing`"),
            };
            let measured = append(store, url, kind, load).await?;
            println!("{measured}");
            Ok(())
        }
        ["project", store, url] => {
            println!("{:.0}", project(store, url).await?);
            Ok(())
        }
        ["serve", port, connections, url] => {
            foldlog_store::serve(url, port.parse()?, connections.parse()?).await
        }
        _ => bail!("usage: peers setup | append | project | serve …; see src/main.rs"),
    }
}

async fn setup(store: &str, url: &str) -> Result<()> {
    match store {
        "foldlog" => foldlog_store::setup(url).await,
        "postgres-es" => postgres_es_store::setup(url).await,
        "disintegrate" => disintegrate_store::setup(url).await,
        "esrs" => esrs_store::setup(url).await,
        _ => bail!("there is no store {store}"),
    }
}

async fn append(store: &str, url: &str, kind: Kind, load: Load) -> Result<load::Measured> {
    match store {
        "foldlog" => foldlog_store::append(url, kind, load, false).await,
        "foldlog-inline" => foldlog_store::append(url, kind, load, true).await,
        "foldlog-http" => foldlog_store::append_over_http(url, kind, load).await,
        "postgres-es" => postgres_es_store::append(url, kind, load, false).await,
        "postgres-es-view" => postgres_es_store::append(url, kind, load, true).await,
        "disintegrate" => disintegrate_store::append(url, kind, load).await,
        "esrs" => esrs_store::append(url, kind, load, false).await,
        "esrs-inline" => esrs_store::append(url, kind, load, true).await,
        _ => bail!("there is no store {store}"),
    }
}

async fn project(store: &str, url: &str) -> Result<f64> {
    match store {
        "foldlog" => foldlog_store::project(url).await,
        "postgres-es" => postgres_es_store::project(url).await,
        "disintegrate" => disintegrate_store::project(url).await,
        "esrs" => esrs_store::project(url).await,
        _ => bail!("there is no store {store}"),
    }
}
