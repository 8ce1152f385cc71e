//! The console: a web page that shows the log, the views and the projections, and uses only the API. `/` is the page, `/-/` has the
//! other files. No domain can be called `-`.
//!
//! The files of `console/` are served unchanged, for readers and for what the page loads later. The page itself loads one script,
//! which joins them when the program starts.

mod code;
mod files;
mod join;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tower::ServiceExt as _;
use uuid::Uuid;

use super::base_path::WithoutSlash;
use super::etag::matches_tag;
use super::problem::{self, Kind, Problem};
use super::{BasePath, trace};
use crate::config::{ConsoleConfig, ConsoleMode};

const X_CONTENT_TYPE_OPTIONS: HeaderName = HeaderName::from_static("x-content-type-options");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What is served below `/-/`.
static FILES: LazyLock<HashMap<&str, SentFile>> = LazyLock::new(|| {
    let script = files::script()
        .unwrap_or_else(|error| unreachable!("a test joins the same modules: {error}"));
    let script = (files::SCRIPT, SentFile::new(files::JS, script.into()));
    let stored = files::all().map(|file| {
        (
            file.name,
            SentFile::new(file.content_type, file.text.into()),
        )
    });
    stored.chain([script]).collect()
});

/// A file with its entity tag.
#[derive(Debug)]
struct SentFile {
    content_type: &'static str,
    bytes: Bytes,
    /// The opaque part of its entity tag.
    tag: String,
}

impl SentFile {
    fn new(content_type: &'static str, bytes: Bytes) -> Self {
        let tag = Uuid::new_v5(&Uuid::NAMESPACE_URL, &bytes)
            .simple()
            .to_string();
        Self {
            content_type,
            bytes,
            tag,
        }
    }

    fn respond(&self, request: &HeaderMap, policy: HeaderValue) -> Response {
        let headers = [
            (
                header::CONTENT_TYPE,
                HeaderValue::from_static(self.content_type),
            ),
            // A new build is used at the next load of the page.
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            (header::CONTENT_SECURITY_POLICY, policy),
            (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (
                header::REFERRER_POLICY,
                HeaderValue::from_static("no-referrer"),
            ),
            // `/` has another answer for clients that do not ask for HTML.
            (header::VARY, HeaderValue::from_static("accept")),
        ];
        let etag = [(header::ETAG, format!("\"{}\"", self.tag))];
        if matches_tag(request, &self.tag) {
            return (StatusCode::NOT_MODIFIED, headers, etag).into_response();
        }
        (headers, etag, self.bytes.clone()).into_response()
    }
}

/// What `config.json` has on other servers.
#[derive(Serialize)]
struct PageSettings<'a> {
    read_only: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audience: Option<&'a str>,
}

/// What the handlers share.
#[derive(Debug)]
struct Console {
    policy: HeaderValue,
    /// The settings of the page.
    settings: Value,
    api: Router,
    /// Kept once it has the document.
    page: OnceCell<SentFile>,
}

impl Console {
    fn new(api: Router, config: &ConsoleConfig) -> Self {
        let sign_in = config.sign_in.as_ref();
        let issuer = sign_in.map(|sign_in| sign_in.issuer.origin().ascii_serialization());
        let called = issuer.iter().chain(&config.connect);
        let called = called.fold(String::new(), |called, origin| called + " " + origin);
        let policy = HeaderValue::try_from(content_security_policy(&called))
            .unwrap_or_else(|_| unreachable!("an origin is valid in a header"));
        let settings = PageSettings {
            read_only: config.mode == ConsoleMode::Read,
            issuer: sign_in.map(|sign_in| sign_in.issuer.as_str()),
            client_id: sign_in.map(|sign_in| &*sign_in.client_id),
            scope: sign_in.and_then(|sign_in| sign_in.scope.as_deref()),
            audience: sign_in.and_then(|sign_in| sign_in.audience.as_deref()),
        };
        Self {
            policy,
            settings: json!(settings),
            api,
            page: OnceCell::new(),
        }
    }

    /// Sends the page, with what it would have to ask for before it can show anything. The document does not change while the
    /// program runs.
    async fn send_page(&self, request: &HeaderMap) -> Response {
        let settings = &self.settings;
        let build = async || {
            let document = document(self.api.clone()).await.ok_or(())?;
            let served = format!(r#"{{"config":{settings},"document":{document}}}"#);
            Ok::<_, ()>(SentFile::new(files::HTML, files::page(&served).into()))
        };
        if let Ok(page) = self.page.get_or_try_init(build).await {
            return page.respond(request, self.policy.clone());
        }
        // This page asks for the document itself, and shows why it has none. The next one gets another try.
        let served = format!(r#"{{"config":{settings}}}"#);
        let page = SentFile::new(files::HTML, files::page(&served).into());
        page.respond(request, self.policy.clone())
    }
}

/// What the page may load, and which servers it may call: this one, and the origins in `called`, each after a space. Only lit-html
/// writes markup, and its templates are part of the program.
fn content_security_policy(called: &str) -> String {
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'{called}; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
         trusted-types lit-html"
    )
}

/// `/openapi.json` of the API.
async fn document(api: Router) -> Option<String> {
    let request = Request::get("/openapi.json").body(Body::empty()).ok()?;
    let Ok(response) = api.oneshot(request).await;
    if response.status() != StatusCode::OK {
        return None;
    }
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX)
        .await
        .ok()?;
    String::from_utf8(bytes.into()).ok()
}

/// A router that serves the console at `/` and below `/-/`, and everything else as `api` does. A client that does not ask for HTML
/// gets a problem at `/`, as without the console.
///
/// ```
/// use axum::Router;
/// use foldlog::config::ConsoleConfig;
/// use foldlog::http::with_console;
///
/// # fn example(api: Router) -> Router {
/// with_console(api, &ConsoleConfig::default())
/// # }
/// ```
pub fn with_console(api: Router, config: &ConsoleConfig) -> Router {
    let api = match config.mode {
        ConsoleMode::Off => return api,
        ConsoleMode::Read => {
            let refusal = trace::with_layers(Router::new().fallback(read_only), &[]);
            api.layer(middleware::from_fn_with_state(refusal, refuse_writes))
        }
        ConsoleMode::Write => api,
    };
    LazyLock::force(&FILES);
    let console = Router::new()
        .route("/", get(page).fallback(problem::no_route))
        .route("/-/{*name}", get(file))
        .method_not_allowed_fallback(problem::no_method)
        .with_state(Arc::new(Console::new(api.clone(), config)));
    trace::with_layers(console, &[]).fallback_service(api)
}

async fn page(State(console): State<Arc<Console>>, request: Request) -> Response {
    if !asks_for_html(request.headers()) {
        // The same address has another answer for browsers.
        return ([(header::VARY, "accept")], problem::no_route().await).into_response();
    }
    let extensions = request.extensions();
    if extensions.get::<WithoutSlash>().is_some()
        && let Some(BasePath(base_path)) = extensions.get()
    {
        let query = request
            .uri()
            .query()
            .map_or_else(String::new, |query| format!("?{query}"));
        let vary = [(header::VARY, "accept")];
        return (vary, Redirect::permanent(&format!("{base_path}/{query}"))).into_response();
    }
    console.send_page(request.headers()).await
}

async fn file(
    State(console): State<Arc<Console>>,
    name: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    match name.ok().and_then(|Path(name)| FILES.get(&*name)) {
        Some(file) => file.respond(request.headers(), console.policy.clone()),
        None => problem::no_route().await.into_response(),
    }
}

/// Passes what a page of this server would write to `refusal`. Programs are not affected: their tokens say what they may do.
async fn refuse_writes(State(refusal): State<Router>, request: Request, next: Next) -> Response {
    if request.method().is_safe() || !is_of_own_page(request.headers()) {
        return next.run(request).await;
    }
    let Ok(response) = refusal.oneshot(request).await;
    response
}

async fn read_only() -> Problem {
    let detail = "this request comes from the console of this server, which only reads (CONSOLE=read); send it from a program, or \
                  start the server with CONSOLE=write";
    Problem::new(Kind::ReadOnly, detail)
}

/// Whether a browser sends a request for a page of this server. The second header is also right behind a proxy that changes `Host`, but
/// browsers send it only with TLS or on loopback.
fn is_of_own_page(request: &HeaderMap) -> bool {
    let text = |name| {
        request
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    let origin = text(header::ORIGIN).and_then(|origin| origin.split_once("://"));
    let is_own = match (origin, text(header::HOST)) {
        (Some((_, origin)), Some(host)) => origin.eq_ignore_ascii_case(host),
        _ => false,
    };
    is_own || text(SEC_FETCH_SITE) == Some("same-origin")
}

/// Whether a client names HTML among what it accepts, as browsers do, and JSON not before it. `*/*` alone is a program that reads JSON.
fn asks_for_html(request: &HeaderMap) -> bool {
    let (mut html, mut json) = (0.0_f32, 0.0_f32);
    let accepted = request.get_all(header::ACCEPT).iter();
    let accepted = accepted.filter_map(|accepted| accepted.to_str().ok());
    for range in accepted.flat_map(|accepted| accepted.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let weight = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
        let weight = weight.and_then(|weight| weight.parse().ok()).unwrap_or(1.0);
        match &*name {
            "text/html" => html = html.max(weight),
            "application/json" | "application/problem+json" => json = json.max(weight),
            _ => {}
        }
    }
    html > 0.0 && html >= json
}
