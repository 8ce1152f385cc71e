//! The lag of the views that the query function serves, as metrics. A worker reports only the projections of its own build,
//! so a view that no worker projects would never raise an alarm. Therefore the function that serves the view reports, too:
//! a schedule sends it `GET /health` (`events/health.json`).

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;

use super::metrics::{self, Metrics, Reporter};
use crate::db::Pool;
use crate::http::MeasuredProjections;

/// Marks a request that the schedule sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scheduled;

/// The API id of a scheduled request's context. Only the sender of an invocation chooses it; a client cannot.
pub(super) const SCHEDULE_API_ID: &str = "foldlog-schedule";

struct ReportedViews {
    views: Vec<&'static str>,
    pool: Pool,
}

/// A router that writes metrics about `views` after each scheduled request.
pub(super) fn wrap(router: Router, views: Vec<&'static str>, pool: Pool) -> Router {
    let served = Arc::new(ReportedViews { views, pool });
    router.layer(middleware::from_fn_with_state(served, report))
}

async fn report(
    State(served): State<Arc<ReportedViews>>,
    request: Request,
    next: Next,
) -> Response {
    if request.extensions().get::<Scheduled>().is_none() {
        return next.run(request).await;
    }
    let response = next.run(request).await;
    let measured = response.extensions().get::<MeasuredProjections>();
    for view in &served.views {
        let status = measured.and_then(|MeasuredProjections(all)| all.get(view));
        metrics::write(Metrics {
            projection: view,
            // Without a database, nothing was measured.
            status: status.copied().unwrap_or_default(),
            reporter: Reporter::Server,
        });
    }
    // A database that pauses without connections can do so until the next request.
    served.pool.close_idle().await;
    response
}
