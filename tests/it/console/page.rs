//! The document in the page.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::Request;
use axum::http::Uri;
use foldlog::config::ConsoleConfig;
use foldlog::http::{Auth, with_console};
use tower::ServiceExt as _;

use super::{get, served};
use crate::support::app::App;

// Fails when a page without the document, which could not be read, is kept for later browsers.
#[tokio::test]
async fn a_page_without_the_document_is_not_kept() {
    let was_asked = Arc::new(AtomicBool::new(false));
    let lose_the_first = move |mut request: Request| {
        if !was_asked.swap(true, Ordering::Relaxed) {
            *request.uri_mut() = Uri::from_static("/nothing");
        }
        request
    };
    let app = App::with_layers(Auth::None, |api| {
        let api = Router::new().fallback_service(api.map_request(lose_the_first));
        with_console(api, &ConsoleConfig::default())
    })
    .await;
    for has_document in [false, true, true] {
        let page = get(&app, "/", &[("accept", "text/html")]).await;
        let served = served(&page.text().await.unwrap());
        assert_eq!(served.get("document").is_some(), has_document);
        assert_eq!(served["config"]["read_only"], false);
    }
}
