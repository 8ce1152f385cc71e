//! The loop of a function, and its end.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

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

/// Takes invocations until SIGTERM or SIGINT, answers the one under way, and closes the connections.
pub(super) async fn until_stopped<S>(runtime: Runtime<S>, pools: &[Pool]) -> anyhow::Result<()>
where
    S: Service<LambdaInvocation, Response = (), Error = Error> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    let stop = run::stop_signal()?;
    let at_work = Arc::new(RwLock::new(()));
    let guard = layer_fn(|service| AtWork {
        service: TracingLayer::new().layer(service),
        lock: Arc::clone(&at_work),
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
        let answered = self.service.call(invocation);
        async move {
            let _at_work = lock.read_owned().await;
            answered.await
        }
        .boxed()
    }
}
