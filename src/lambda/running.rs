//! The loop of a function, and its end.

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
use crate::run;

/// How long an invocation under way may take to end once the process is asked to; Lambda itself gives two seconds.
const DRAIN: Duration = Duration::from_millis(1500);

/// After a longer pause connections have to show that they live.
const FRESH: Duration = Duration::from_secs(1);

/// Takes invocations until SIGTERM or SIGINT, answers the one under way, and closes the connections.
pub(super) async fn until_stopped<S>(runtime: Runtime<S>, pools: &[Pool]) -> anyhow::Result<()>
where
    S: Service<LambdaInvocation, Response = (), Error = Error> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    let stop = run::stop_signal()?;
    let at_work = Arc::new(RwLock::new(()));
    let pause = Arc::new(Pause {
        pools: pools.to_vec(),
        since: Mutex::new(SystemTime::now()),
    });
    let guard = layer_fn(|service| AtWork {
        service: TracingLayer::new().layer(service),
        lock: Arc::clone(&at_work),
        pause: Arc::clone(&pause),
    });
    let mut runtime = Box::pin(runtime.layer(guard).run_concurrent());
    let ended = tokio::select! {
        ended = &mut runtime => ended,
        () = stop.cancelled() => {
            // Whoever has the lock alone knows that no invocation is between its event and its answer.
            tokio::select! {
                ended = &mut runtime => ended,
                _ = timeout(DRAIN, at_work.write()) => Ok(()),
            }
        }
    };
    pools.iter().for_each(Pool::close);
    ended.map_err(|error| anyhow::anyhow!("the runtime has ended: {error}"))
}

/// Holds the lock, with others, from an invocation's event until its answer is sent.
#[derive(Clone, Debug)]
struct AtWork<S> {
    service: S,
    lock: Arc<RwLock<()>>,
    pause: Arc<Pause>,
}

/// The time between two invocations, in which the function was frozen. The pool's own clock may have stood still then, and
/// what it takes for fresh be hours old; the time of day goes on.
#[derive(Debug)]
struct Pause {
    pools: Vec<Pool>,
    since: Mutex<SystemTime>,
}

impl Pause {
    fn begins(&self) {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = SystemTime::now();
    }

    fn ends(&self) {
        let since = *self.since.lock().unwrap_or_else(PoisonError::into_inner);
        if since.elapsed().map_or(true, |lasted| lasted > FRESH) {
            self.pools.iter().for_each(Pool::doubt);
        }
    }
}

impl<S> Service<LambdaInvocation> for AtWork<S>
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
        let answered = self.service.call(invocation);
        async move {
            let _at_work = lock.read_owned().await;
            pause.ends();
            let answered = answered.await;
            pause.begins();
            answered
        }
        .boxed()
    }
}
