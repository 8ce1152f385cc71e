//! Runs a function until Lambda stops the process, and lets the invocation in flight finish.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use lambda_runtime::layers::TracingLayer;
use lambda_runtime::{Error, LambdaInvocation, Runtime};
use tokio::sync::RwLock;
use tokio::time::timeout;
use tower::layer::layer_fn;
use tower::{Layer as _, Service};

use crate::db::Pool;
use crate::run::{self, HostError};

/// How long the invocation in flight may take after SIGTERM. Lambda kills the process after two seconds.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(1500);

/// After a longer pause between invocations, connections are pinged before they are used.
const MAX_TRUSTED_PAUSE: Duration = Duration::from_secs(1);

/// Handles invocations until SIGTERM or SIGINT, responds to the one in flight, and closes the connections.
pub(super) async fn run_until_shutdown<S>(
    runtime: Runtime<S>,
    pools: &[Pool],
) -> Result<(), HostError>
where
    S: Service<LambdaInvocation, Response = (), Error = Error> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    let stop = run::stop_signal()?;
    let in_flight = Arc::new(RwLock::new(()));
    let pause = Arc::new(Pause {
        pools: pools.to_vec(),
        since: Mutex::new(SystemTime::now()),
    });
    let guard = layer_fn(|service| InFlight {
        service: TracingLayer::new().layer(service),
        lock: Arc::clone(&in_flight),
        pause: Arc::clone(&pause),
    });
    let mut runtime = Box::pin(runtime.layer(guard).run_concurrent());
    let ended = tokio::select! {
        ended = &mut runtime => ended,
        () = stop.cancelled() => {
            // The write lock is granted when no invocation is in flight.
            tokio::select! {
                ended = &mut runtime => ended,
                _ = timeout(DRAIN_TIMEOUT, in_flight.write()) => Ok(()),
            }
        }
    };
    pools.iter().for_each(Pool::close);
    ended.map_err(HostError::LambdaRuntime)
}

/// Holds a read lock from the moment an invocation arrives until its response is sent.
#[derive(Clone, Debug)]
struct InFlight<S> {
    service: S,
    lock: Arc<RwLock<()>>,
    pause: Arc<Pause>,
}

/// The time between two invocations. Lambda freezes the process then and the monotonic clock may stop, so the pause is
/// measured by the wall clock; the pool's own idle time would be too short.
#[derive(Debug)]
struct Pause {
    pools: Vec<Pool>,
    since: Mutex<SystemTime>,
}

impl Pause {
    fn start(&self) {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = SystemTime::now();
    }

    fn end(&self) {
        let since = *self.since.lock().unwrap_or_else(PoisonError::into_inner);
        // The wall clock may have been set back; then the length of the pause is unknown.
        if since
            .elapsed()
            .map_or(true, |pause| pause > MAX_TRUSTED_PAUSE)
        {
            self.pools.iter().for_each(Pool::mark_suspect);
        }
    }
}

impl<S> Service<LambdaInvocation> for InFlight<S>
where
    S: Service<LambdaInvocation, Response = (), Error = Error>,
    S::Future: Send + 'static,
{
    type Response = ();
    type Error = Error;
    type Future = BoxFuture<'static, Result<(), Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, invocation: LambdaInvocation) -> Self::Future {
        let lock = Arc::clone(&self.lock);
        let pause = Arc::clone(&self.pause);
        let response = self.service.call(invocation);
        async move {
            let _in_flight = lock.read_owned().await;
            pause.end();
            let response = response.await;
            pause.start();
            response
        }
        .boxed()
    }
}
