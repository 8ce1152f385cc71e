//! The console: a web page that shows the log, the views and the projections, and uses only the API. Its files are in
//! `console/`, and are served unchanged: `/` is the page, `/-/` has the other files. No domain can be called `-`.
//!
//! All files are part of the program, so that a host needs no folder beside its binary.

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use uuid::Uuid;

use super::etag::matches_tag;
use super::problem;
use super::trace;

/// What the page may load, and which servers it may call: this one. Only lit-html writes markup, and its templates are part of the
/// program.
const CONTENT_SECURITY_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types lit-html",
);

const X_CONTENT_TYPE_OPTIONS: HeaderName = HeaderName::from_static("x-content-type-options");

const TEXT: &str = "text/plain; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// A file of the console.
struct File {
    /// The path below `/-/`.
    name: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
}

/// Includes files of `console/`.
macro_rules! files {
    ($($name:literal: $content_type:ident,)+) => {
        &[$(File {
            name: $name,
            content_type: $content_type,
            bytes: include_bytes!(concat!("../../console/", $name)),
        }),+]
    };
}

/// The page, and what it loads. `tests/it/console.rs` compares this list with the folder.
const FILES: &[File] = files![
    "app.js": JS,
    "console.css": CSS,
    "icon.svg": SVG,
    "index.html": HTML,
    "pages/feed.js": JS,
    "pages/health.js": JS,
    "pages/list.js": JS,
    "pages/overview.js": JS,
    "pages/parked.js": JS,
    "pages/projections.js": JS,
    "pages/reproject.js": JS,
    "pages/row.js": JS,
    "pages/signin.js": JS,
    "pages/verbs.js": JS,
    "pages/verify.js": JS,
    "parts/api.js": JS,
    "parts/append.js": JS,
    "parts/as_of.js": JS,
    "parts/database.js": JS,
    "parts/dialog.js": JS,
    "parts/diff.js": JS,
    "parts/explain.js": JS,
    "parts/form.js": JS,
    "parts/history.js": JS,
    "parts/keys.js": JS,
    "parts/menu.js": JS,
    "parts/oidc.js": JS,
    "parts/pace.js": JS,
    "parts/prefs.js": JS,
    "parts/problem.js": JS,
    "parts/refresh.js": JS,
    "parts/revert.js": JS,
    "parts/routes.js": JS,
    "parts/schema.js": JS,
    "parts/session.js": JS,
    "parts/shell.js": JS,
    "parts/state.js": JS,
    "parts/status.js": JS,
    "parts/table.js": JS,
    "parts/text.js": JS,
    "parts/time.js": JS,
    "parts/timeline.js": JS,
    "vendor/lit-html.LICENSE": TEXT,
    "vendor/lit-html.js": JS,
    "vendor/oauth4webapi.LICENSE": TEXT,
    "vendor/oauth4webapi.js": JS,
];

/// The settings of a console whose API is the server that it comes from. A console on another server has a file of its own; see
/// `docs/CONSOLE.md`.
const CONFIG: File = File {
    name: "config.json",
    content_type: "application/json",
    bytes: b"{}\n",
};

/// The requests of the page: the same file as in the package of the client.
const RUNTIME: File = File {
    name: "runtime.js",
    content_type: JS,
    bytes: include_bytes!("../../client/runtime.js"),
};

impl File {
    fn find(name: &str) -> Option<&'static Self> {
        FILES
            .iter()
            .chain([&CONFIG, &RUNTIME])
            .find(|file| file.name == name)
    }

    fn respond(&self, request: &HeaderMap) -> Response {
        let tag = Uuid::new_v5(&Uuid::NAMESPACE_URL, self.bytes)
            .simple()
            .to_string();
        let headers = [
            (
                header::CONTENT_TYPE,
                HeaderValue::from_static(self.content_type),
            ),
            // A new build is used at the next load of the page.
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
            (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (
                header::REFERRER_POLICY,
                HeaderValue::from_static("no-referrer"),
            ),
            // `/` has another answer for clients that do not ask for HTML.
            (header::VARY, HeaderValue::from_static("accept")),
        ];
        let etag = [(header::ETAG, format!("\"{tag}\""))];
        if matches_tag(request, &tag) {
            return (StatusCode::NOT_MODIFIED, headers, etag).into_response();
        }
        (headers, etag, self.bytes).into_response()
    }
}

/// A router that serves the console at `/` and below `/-/`, and everything else as `api` does. A client that does not ask for HTML
/// gets a problem at `/`, as without the console.
///
/// ```
/// use axum::Router;
/// use foldlog::http::with_console;
///
/// # fn example(api: Router) -> Router {
/// with_console(api)
/// # }
/// ```
pub fn with_console(api: Router) -> Router {
    let page = get(page).fallback(problem::no_route);
    let console = Router::new()
        .route("/", page)
        .route("/-/{*name}", get(file))
        .method_not_allowed_fallback(problem::no_method);
    trace::with_layers(console, &[]).fallback_service(api)
}

async fn page(request: Request) -> Response {
    let page = File::find("index.html").filter(|_| asks_for_html(request.headers()));
    match page {
        Some(page) => page.respond(request.headers()),
        // The same address has another answer for browsers.
        None => (
            [(header::VARY, "accept")],
            problem::no_route().await.into_response(),
        )
            .into_response(),
    }
}

async fn file(name: Result<Path<String>, PathRejection>, request: Request) -> Response {
    match name.ok().and_then(|Path(name)| File::find(&name)) {
        Some(file) => file.respond(request.headers()),
        None => problem::no_route().await.into_response(),
    }
}

/// Whether a client names HTML among what it accepts, as browsers do. `*/*` alone is a program that reads JSON.
fn asks_for_html(request: &HeaderMap) -> bool {
    request
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|accepted| accepted.to_str().ok())
        .flat_map(|accepted| accepted.split(','))
        .any(|range| range.split(';').next().map(str::trim) == Some("text/html"))
}
