//! Time: the pauses of a schedule, and bounded polls.

use std::time::{Duration, Instant};

use tokio::time::sleep;

const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Lets time pass: a schedule says when something happens. No check depends on it.
pub async fn pause(ms: u64) {
    sleep(Duration::from_millis(ms)).await;
}

/// Polls until the condition holds, for at most `limit`; whether it did hold.
pub async fn poll(limit: Duration, mut condition: impl AsyncFnMut() -> bool) -> bool {
    let begin = Instant::now();
    loop {
        if condition().await {
            return true;
        }
        if begin.elapsed() > limit {
            return false;
        }
        sleep(POLL_INTERVAL).await;
    }
}
