//! Bounded polls. Tests wait for an event, never for time; where nothing announces the event, they look for it here, again and
//! again, until a generous limit ends the test.

use std::time::Duration;

use tokio::time::{sleep, timeout};

/// A debug build on a busy machine is slow, and only a failing test waits that long.
pub const POLL_TIMEOUT: Duration = Duration::from_mins(1);

const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Polls until the condition holds; panics after [`POLL_TIMEOUT`]. `what` completes the sentence "timed out waiting until …".
pub async fn wait_until(what: &str, condition: impl AsyncFnMut() -> bool) {
    let held = poll(POLL_TIMEOUT, condition).await;
    assert!(held, "timed out waiting until {what}");
}

/// Polls until the condition holds, for at most `limit`; whether it did hold.
pub async fn poll(limit: Duration, mut condition: impl AsyncFnMut() -> bool) -> bool {
    let wait = async {
        while !condition().await {
            sleep(POLL_INTERVAL).await;
        }
    };
    timeout(limit, wait).await.is_ok()
}
