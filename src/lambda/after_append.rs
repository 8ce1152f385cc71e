//! What a command function does for the views once an append is committed: `AFTER_APPEND`.
//!
//! Without a listener a view is as old as the schedule allows, a minute or two. A function may instead invoke catch-up, or
//! catch up by itself before it answers. Neither may cost an append its answer: what fails is logged, and the schedule is
//! the backstop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::Response;
use futures_util::future::join_all;
use tokio::sync::{Mutex, OnceCell};
use tokio::time::timeout;

use super::catch_up;
use crate::aws::Aws;
use crate::config::{self, Config};
use crate::db::{Pool, Role};
use crate::domain::Domains;
use crate::engine::Engine;
use crate::projection::{self, Budget};
use crate::run;

/// How long an answer may wait for a view to catch up.
const INLINE: Duration = Duration::from_secs(5);
/// A batch may end after that.
const SLACK: Duration = Duration::from_secs(1);
/// How long an answer may wait for another function to be invoked.
const INVOKE: Duration = Duration::from_secs(1);
/// An append is answered after this time, whatever is not done yet: gateways wait for 29 seconds.
const LATE: Duration = Duration::from_secs(27);

/// What to do, or nothing.
#[derive(Clone)]
pub(super) struct AfterAppend(Option<Arc<Work>>);

struct Work {
    how: How,
    turns: Turns,
}

enum How {
    Inline {
        engine: Box<Engine>,
        batch_size: u32,
    },
    Invoke {
        function: String,
        aws: OnceCell<Box<Aws>>,
    },
}

impl AfterAppend {
    pub(super) fn new(config: &Config, domains: Domains) -> anyhow::Result<Self> {
        let how = match &config.projection.after_append {
            config::AfterAppend::None => return Ok(Self(None)),
            config::AfterAppend::Invoke(function) => How::Invoke {
                function: function.clone(),
                aws: OnceCell::new(),
            },
            config::AfterAppend::CatchUp => {
                let login = run::login(config)?;
                let size = catch_up::connections(domains);
                How::Inline {
                    engine: Box::new(run::engine(config, domains, login, Role::Projection, size)?),
                    batch_size: config.projection.batch_size,
                }
            }
        };
        let turns = Turns::default();
        Ok(Self(Some(Arc::new(Work { how, turns }))))
    }

    /// The connections that it works with, if it does.
    pub(super) fn pool(&self) -> Option<&Pool> {
        match &self.0.as_ref()?.how {
            How::Inline { engine, .. } => Some(&engine.pool),
            How::Invoke { .. } => None,
        }
    }

    /// The router, with this done after each append.
    pub(super) fn around(self, router: Router) -> Router {
        match self.0 {
            None => router,
            Some(work) => router.layer(middleware::from_fn_with_state(work, after)),
        }
    }
}

async fn after(State(work): State<Arc<Work>>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let response = next.run(request).await;
    let left = LATE.saturating_sub(begun.elapsed());
    if response.status() == StatusCode::CREATED
        && timeout(left, work.turns.take(|| work.run())).await.is_err()
    {
        tracing::warn!(
            "an append is answered before anything was done after it: it took long already"
        );
    }
    response
}

impl Work {
    async fn run(&self) {
        match &self.how {
            How::Inline { engine, batch_size } => {
                let all = engine.views.iter().map(|view| async {
                    let budget = Budget {
                        until: Some(Instant::now() + INLINE),
                        abort_at: Some(Instant::now() + INLINE + SLACK),
                        ..Budget::default()
                    };
                    let caught_up =
                        projection::catch_up(&engine.pool, view, *batch_size, &budget).await;
                    if let Err(error) = caught_up {
                        let name = view.name();
                        tracing::warn!(
                            projection = name,
                            "{name} was not caught up after an append: {error}"
                        );
                    }
                });
                if timeout(INLINE + 2 * SLACK, join_all(all)).await.is_err() {
                    tracing::warn!("the views were not caught up after an append in time");
                }
            }
            How::Invoke { function, aws } => {
                let invoke = async {
                    let aws = aws
                        .get_or_init(|| async { Box::new(Aws::load().await) })
                        .await;
                    aws.invoke_async(function, "{}").await
                };
                match timeout(INVOKE, invoke).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::warn!("catch-up was not invoked: {error}"),
                    Err(_) => tracing::warn!("catch-up was not invoked within {INVOKE:?}"),
                }
            }
        }
    }
}

/// One at a time, for everybody who came before it began: who comes while one is under way shares the next.
#[derive(Debug, Default)]
struct Turns {
    taken: AtomicU64,
    /// The last ticket whose work is done.
    done: Mutex<u64>,
}

impl Turns {
    /// Returns once `work` was done by somebody who began after this was called.
    async fn take<F: Future<Output = ()>>(&self, work: impl FnOnce() -> F) {
        let mine = self.taken.fetch_add(1, Ordering::SeqCst) + 1;
        let mut done = self.done.lock().await;
        if *done >= mine {
            return;
        }
        let up_to = self.taken.load(Ordering::SeqCst);
        work().await;
        *done = up_to;
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Notify;

    use super::*;

    /// Ten come while the first is at work: the first and one more, not eleven; and the second only when all ten are there.
    #[tokio::test]
    async fn who_comes_while_one_is_under_way_shares_the_next() {
        let (turns, runs) = (Arc::new(Turns::default()), Arc::new(AtomicU64::new(0)));
        let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let first = tokio::spawn({
            let (turns, runs) = (Arc::clone(&turns), Arc::clone(&runs));
            let (begun, go) = (Arc::clone(&begun), Arc::clone(&go));
            async move {
                let work = || async {
                    runs.fetch_add(1, Ordering::SeqCst);
                    begun.notify_one();
                    go.notified().await;
                };
                turns.take(work).await;
            }
        });
        begun.notified().await;
        let others: Vec<_> = (0..10)
            .map(|_| {
                let (turns, runs) = (Arc::clone(&turns), Arc::clone(&runs));
                tokio::spawn(async move {
                    turns
                        .take(|| async { _ = runs.fetch_add(1, Ordering::SeqCst) })
                        .await;
                })
            })
            .collect();
        while turns.taken.load(Ordering::SeqCst) < 11 {
            tokio::task::yield_now().await;
        }
        assert_eq!(runs.load(Ordering::SeqCst), 1);
        go.notify_one();
        first.await.unwrap();
        for other in others {
            other.await.unwrap();
        }
        assert_eq!(runs.load(Ordering::SeqCst), 2);
        turns
            .take(|| async { _ = runs.fetch_add(1, Ordering::SeqCst) })
            .await;
        assert_eq!(runs.load(Ordering::SeqCst), 3);
    }
}
