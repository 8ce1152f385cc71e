//! Single-flight: concurrent callers share one run of the same work.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

/// Runs work one at a time. A caller that arrives during a run waits for the next run and shares its result, because the
/// run in progress may have started before the caller's append was committed.
#[derive(Debug, Default)]
pub(super) struct SingleFlight {
    /// Callers so far. Each caller's number is its ticket.
    callers: AtomicU64,
    /// The highest ticket that a completed run covers.
    completed: Mutex<u64>,
}

impl SingleFlight {
    /// Returns after a run of `work` that started after this call, whichever caller ran it.
    pub(super) async fn run<F: Future<Output = ()>>(&self, work: impl FnOnce() -> F) {
        let ticket = self.callers.fetch_add(1, Ordering::SeqCst) + 1;
        let mut completed = self.completed.lock().await;
        if *completed >= ticket {
            return;
        }
        let covered = self.callers.load(Ordering::SeqCst);
        work().await;
        *completed = covered;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Notify;

    use super::*;

    /// Ten callers arrive during the first run. Fails when they cause more than one further run, or when one of them
    /// returns with the first.
    #[tokio::test]
    async fn single_flight_callers_during_a_run_share_the_next_run() {
        let (flight, runs) = (
            Arc::new(SingleFlight::default()),
            Arc::new(AtomicU64::new(0)),
        );
        let (started, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let first = tokio::spawn({
            let (flight, runs) = (Arc::clone(&flight), Arc::clone(&runs));
            let (started, go) = (Arc::clone(&started), Arc::clone(&go));
            async move {
                let work = || async {
                    runs.fetch_add(1, Ordering::SeqCst);
                    started.notify_one();
                    go.notified().await;
                };
                flight.run(work).await;
            }
        });
        started.notified().await;
        let others: Vec<_> = (0..10)
            .map(|_| {
                let (flight, runs) = (Arc::clone(&flight), Arc::clone(&runs));
                tokio::spawn(async move {
                    let work = || async { _ = runs.fetch_add(1, Ordering::SeqCst) };
                    flight.run(work).await;
                })
            })
            .collect();
        while flight.callers.load(Ordering::SeqCst) < 11 {
            tokio::task::yield_now().await;
        }
        assert_eq!(runs.load(Ordering::SeqCst), 1);
        go.notify_one();
        first.await.unwrap();
        for other in others {
            other.await.unwrap();
        }
        assert_eq!(runs.load(Ordering::SeqCst), 2);
        let work = || async { _ = runs.fetch_add(1, Ordering::SeqCst) };
        flight.run(work).await;
        assert_eq!(runs.load(Ordering::SeqCst), 3);
    }
}
