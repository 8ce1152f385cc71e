//! Catch-up as a function: on a schedule, after an append, or by hand. One field of the payload is the verb.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lambda_runtime::{Diagnostic, LambdaEvent, Runtime, service_fn};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout_at};

use super::deadline::Deadline;
use super::metrics::{self, Measured};
use super::{begin, connect, running};
use crate::db::Role;
use crate::domain::Domains;
use crate::engine::Engine;
use crate::projection::status::{self, MAX_COUNTED_EVENTS};
use crate::projection::{self, CatchUp, ProjectionError};
use crate::run;
use crate::view::View;

/// How many projections are worked on at once.
pub(super) const AT_ONCE: usize = 4;

/// How long to try again while the database is away: a paused one takes half of it to wake up.
const WAKING: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_millis(500);

/// What an invocation asks for.
#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Verb {
    /// `{}`, or whatever a scheduler sends: apply what is new.
    #[serde(skip)]
    CatchUp,
    /// `{"status":true}`: look, and apply nothing.
    Status(bool),
    /// `{"retry":"users"}`: try all parked aggregates of a projection now.
    Retry(String),
}

/// What is answered for one projection.
#[derive(Serialize)]
struct Answer {
    #[serde(flatten)]
    caught_up: CatchUp,
    /// Of a retry.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    retried: Option<Retried>,
    /// Of a look.
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_seconds: Option<f64>,
}

#[derive(Serialize)]
struct Retried {
    unparked: u64,
    failed: u64,
}

/// The whole of `bin/catch_up.rs`.
///
/// # Errors
///
/// When this is no function, or the environment is not right.
pub async fn catch_up(domains: Domains) -> anyhow::Result<()> {
    let config = begin(domains)?;
    let login = run::login(&config)?;
    let worker = Worker {
        engine: run::engine(
            &config,
            domains,
            login,
            Role::Projection,
            connections(domains),
        )?,
        batch_size: config.projection.batch_size,
    };
    let pool = worker.engine.pool.clone();
    connect(&pool).await;
    let worker = Arc::new(worker);
    let handler = service_fn(move |event: LambdaEvent<Value>| {
        let worker = Arc::clone(&worker);
        async move { worker.invoke(event.payload, event.context.deadline).await }
    });
    running::until_stopped(Runtime::new(handler), &[pool]).await
}

/// Two for each projection that is worked on: the next batch is claimed while one is folded.
pub(super) fn connections(domains: Domains) -> usize {
    2 * domains.projections().count().min(AT_ONCE)
}

/// What an invocation works with.
#[derive(Debug)]
pub struct Worker {
    /// The system.
    pub engine: Engine,
    /// Events a batch, at most.
    pub batch_size: u32,
}

impl Worker {
    /// Does what a payload asks for, until a margin before the deadline (milliseconds since 1970).
    ///
    /// # Errors
    ///
    /// When the payload is no verb; when a projection failed, with all that is known of the others in the message.
    pub async fn invoke(
        self: Arc<Self>,
        payload: Value,
        deadline_ms: u64,
    ) -> Result<Value, Diagnostic> {
        let deadline = Deadline::at(deadline_ms);
        let verb = verb(payload)?;
        if let Verb::Retry(name) = &verb
            && self.engine.view(name).is_none()
        {
            return Err(self.unknown(name));
        }
        let answer = Arc::clone(&self).work(Arc::new(verb), deadline).await;
        // A database that pauses when nobody is connected can do so until the next invocation.
        self.engine.pool.close_idle().await;
        answer
    }

    /// Works on all projections that the verb is about. What one of them fails with does not keep the others from their
    /// work, nor from being answered; but the invocation has failed then.
    async fn work(
        self: Arc<Self>,
        verb: Arc<Verb>,
        deadline: Deadline,
    ) -> Result<Value, Diagnostic> {
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        let views = self.engine.views.iter().map(View::name).enumerate();
        let tasks: Vec<_> = views
            .filter(|(_, name)| !matches!(&*verb, Verb::Retry(which) if which != name))
            .map(|(at, name)| {
                let (worker, verb) = (Arc::clone(&self), Arc::clone(&verb));
                let turns = Arc::clone(&turns);
                let work = async move {
                    let _turn = turns.acquire().await;
                    worker.one(&worker.engine.views[at], &verb, deadline).await
                };
                let limited = timeout_at(deadline.answer.into(), work);
                (name, tokio::spawn(limited))
            })
            .collect();
        let (mut answers, mut failed) = (Map::new(), false);
        for (name, task) in tasks {
            let answer = match task.await {
                Ok(Ok(Ok(answer))) => serde_json::to_value(answer).unwrap_or_default(),
                Ok(Ok(Err(error))) => failure(name, &error.to_string(), &mut failed),
                Ok(Err(_)) => failure(name, "there was no time left", &mut failed),
                // Where it panicked has been said on standard error.
                Err(_) => failure(name, "it panicked", &mut failed),
            };
            answers.insert(name.to_owned(), answer);
        }
        let answer = json!({ "projections": answers });
        if failed {
            return Err(Diagnostic {
                error_type: "ProjectionFailed".to_owned(),
                error_message: answer.to_string(),
            });
        }
        Ok(answer)
    }

    /// Works on one projection, and tries again while the database is away.
    async fn one(
        &self,
        view: &View,
        verb: &Verb,
        deadline: Deadline,
    ) -> Result<Answer, ProjectionError> {
        let patience = deadline.until.min(Instant::now() + WAKING);
        let answer = loop {
            match self.once(view, verb, deadline).await {
                Err(ProjectionError::Db(error))
                    if error.is_away() && Instant::now() + AGAIN < patience =>
                {
                    let name = view.name();
                    tracing::warn!(projection = name, "{name} has to wait: {error}");
                    self.engine.pool.doubt();
                    sleep(AGAIN).await;
                }
                answer => break answer?,
            }
        };
        metrics::write(Measured {
            projection: view.name(),
            lag_events: answer.caught_up.remaining,
            lag_seconds: answer.lag_seconds,
            parked: answer.caught_up.parked,
            applied: answer.caught_up.applied,
        });
        // What the contract of catch-up does not name is for the metrics only.
        Ok(Answer {
            lag_seconds: answer.lag_seconds.filter(|_| *verb != Verb::CatchUp),
            ..answer
        })
    }

    async fn once(
        &self,
        view: &View,
        verb: &Verb,
        deadline: Deadline,
    ) -> Result<Answer, ProjectionError> {
        let (pool, budget) = (&self.engine.pool, deadline.budget());
        let (mut caught_up, mut retried) = (CatchUp::default(), None);
        match verb {
            Verb::CatchUp => {
                caught_up = projection::catch_up(pool, view, self.batch_size, &budget).await?;
                if caught_up.done {
                    // Of what came while it worked, the next invocation will tell.
                    return Ok(Answer {
                        caught_up,
                        retried,
                        lag_seconds: Some(0.0),
                    });
                }
            }
            Verb::Retry(_) => {
                let done = projection::retry(pool, view, &budget).await?;
                caught_up.applied = done.applied;
                retried = Some(Retried {
                    unparked: done.unparked,
                    failed: done.failed,
                });
            }
            Verb::Status(_) => {}
        }
        let counted = status::measure(pool, view, MAX_COUNTED_EVENTS);
        let Ok(status) = timeout_at(deadline.give_up.into(), counted).await else {
            // What was done is to be answered, even if nobody can say in time how much is left.
            return Ok(Answer {
                caught_up,
                retried,
                lag_seconds: None,
            });
        };
        let status = status?;
        caught_up.remaining = caught_up.remaining.max(status.lag_events);
        caught_up.parked = status.parked;
        // What is claimed and not settled yet may fill all that was looked at: then nothing is known of what is behind it.
        caught_up.done = caught_up.remaining == 0 && status.is_complete;
        Ok(Answer {
            caught_up,
            retried,
            lag_seconds: (status.is_complete || status.lag_events > 0)
                .then_some(status.lag_seconds),
        })
    }

    fn unknown(&self, name: &str) -> Diagnostic {
        let known: Vec<_> = self.engine.views.iter().map(View::name).collect();
        Diagnostic {
            error_type: "UnknownProjection".to_owned(),
            error_message: format!(
                "there is no projection `{name}`; there are: {}",
                known.join(", ")
            ),
        }
    }
}

/// Says what a projection failed with, to the log and in the answer.
fn failure(name: &'static str, error: &str, failed: &mut bool) -> Value {
    tracing::error!(projection = name, "{name} cannot be projected: {error}");
    *failed = true;
    json!({ "error": error })
}

fn verb(payload: Value) -> Result<Verb, Diagnostic> {
    let unknown = |what: &str| Diagnostic {
        error_type: "UnknownVerb".to_owned(),
        error_message: format!(
            r#"{what}; send one of {{}} (catch up), {{"status":true}}, {{"retry":"a projection"}}"#
        ),
    };
    let Value::Object(fields) = &payload else {
        return Err(unknown("the payload is no JSON object"));
    };
    // Of EventBridge, its scheduler and their rules all events have these two.
    if fields.is_empty() || (fields.contains_key("detail-type") && fields.contains_key("source")) {
        return Ok(Verb::CatchUp);
    }
    match serde_json::from_value(payload) {
        Ok(Verb::Status(false)) => Err(unknown("`status` has to be true")),
        Ok(verb) => Ok(verb),
        Err(error) => Err(unknown(&error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_one_verb_or_an_error_that_names_them() {
        for payload in [
            json!({}),
            json!({"source": "aws.scheduler", "detail-type": "x", "id": "1"}),
        ] {
            assert_eq!(verb(payload).unwrap(), Verb::CatchUp);
        }
        assert_eq!(verb(json!({"status": true})).unwrap(), Verb::Status(true));
        assert_eq!(
            verb(json!({"retry": "users"})).unwrap(),
            Verb::Retry("users".into())
        );
        for payload in [
            json!({"sing": true}),
            json!({"status": false}),
            json!({"status": true, "retry": "users"}),
            json!({"retry": 1}),
            json!({"catch_up": null}),
            json!([]),
            json!(null),
        ] {
            let error = verb(payload).unwrap_err();
            assert_eq!(error.error_type, "UnknownVerb");
            let all = ["{}", "status", "retry"];
            let text = error.error_message;
            assert!(all.iter().all(|name| text.contains(name)), "{text}");
        }
    }
}
