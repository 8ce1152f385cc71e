//! What `GET /projections` last reported of the database, for pages that ask every few seconds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, header};
use tokio::sync::Mutex;

use crate::db::Pool;
use crate::operate::database::{self, DatabaseReport};

/// How old a report may be. None of it changes often.
const MAX_AGE: Duration = Duration::from_secs(30);

/// How long reading it may take.
const TIMEOUT: Duration = Duration::from_secs(2);

/// foldlog's own transactions end sooner: a longer one is of another client, or of a host that was frozen.
const MIN_OPEN_AGE: Duration = Duration::from_secs(10);

/// The last report. Requests wait while one of them reads a new one.
#[derive(Clone, Debug, Default)]
pub(in crate::http) struct RecentReport(Arc<Mutex<Option<LastRead>>>);

#[derive(Debug)]
struct LastRead {
    began: Instant,
    ended: Instant,
    report: DatabaseReport,
}

impl LastRead {
    /// Whether it answers a request that came at `asked`.
    fn answers(&self, asked: Instant, request: &HeaderMap) -> bool {
        if forbids_cached(request) {
            return self.began >= asked;
        }
        let is_recent = self.report.is_complete() && self.ended.elapsed() < MAX_AGE;
        // Requests that waited for an incomplete report do not each try again.
        is_recent || self.ended >= asked
    }
}

impl RecentReport {
    /// The last report, or a new one if the last does not answer the request.
    pub(super) async fn read(&self, pool: &Pool, request: &HeaderMap) -> DatabaseReport {
        let asked = Instant::now();
        let mut last = self.0.lock().await;
        if let Some(last) = &*last
            && last.answers(asked, request)
        {
            return last.report.clone();
        }
        let began = Instant::now();
        let report = database::report(pool, MIN_OPEN_AGE, began + TIMEOUT).await;
        *last = Some(LastRead {
            began,
            ended: Instant::now(),
            report: report.clone(),
        });
        report
    }
}

/// Whether a request has `Cache-Control: no-cache`.
fn forbids_cached(request: &HeaderMap) -> bool {
    request
        .get_all(header::CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|directive| directive.trim().eq_ignore_ascii_case("no-cache"))
}
