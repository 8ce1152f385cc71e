//! Invokes the catch-up function: after an append, and with the payloads of `POST /projections`.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use crate::aws::{Aws, AwsError};
use crate::operate::{HandOver, HandOverError};

/// How long a request waits until the function is invoked.
const INVOKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Invokes the catch-up function without waiting for its answer. The AWS client is created at the first invocation.
pub(super) struct InvokeFunction {
    function: String,
    aws: OnceCell<Box<Aws>>,
}

impl InvokeFunction {
    /// Invokes the function with this name or ARN.
    pub(super) fn new(function: String) -> Self {
        let aws = OnceCell::new();
        Self { function, aws }
    }

    pub(super) async fn invoke(&self, payload: &str) -> Result<(), AwsError> {
        let aws = self
            .aws
            .get_or_init(|| async { Box::new(Aws::load().await) })
            .await;
        aws.invoke_async(&self.function, payload).await
    }
}

impl HandOver for InvokeFunction {
    fn hand_over(&self, payload: String) -> BoxFuture<'_, Result<(), HandOverError>> {
        Box::pin(async move {
            match timeout(INVOKE_TIMEOUT, self.invoke(&payload)).await {
                Ok(invoked) => invoked.map_err(|error| HandOverError(error.into())),
                Err(elapsed) => Err(HandOverError(elapsed.into())),
            }
        })
    }
}

impl std::fmt::Debug for InvokeFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.function)
    }
}
