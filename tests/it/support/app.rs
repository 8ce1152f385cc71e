//! The API, served on a real socket.

use axum::Router;
use foldlog::Foldlog;
use foldlog::http::{self, AppState, Auth, Operations};
use foldlog::operate::Operator;
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;
use tokio::net::TcpListener;

use super::TestDb;
use super::conforms::{self, DOCUMENT};

/// The only origin that CORS allows.
pub const ORIGIN: &str = "https://app.example.org";

/// A server on its own port. It stops when the test's runtime ends.
pub struct App {
    pub db: TestDb,
    pub url: String,
    pub client: Client,
}

impl App {
    /// Serves a new database.
    pub async fn new() -> Self {
        Self::with_db(TestDb::new().await).await
    }

    /// Serves this database.
    pub async fn with_db(db: TestDb) -> Self {
        let foldlog = db.foldlog.clone();
        Self::with_foldlog(db, foldlog).await
    }

    /// Serves a new database to the callers that `auth` accepts.
    pub async fn with_auth(auth: Auth) -> Self {
        Self::with_layers(auth, |routes| routes).await
    }

    /// As [`Self::with_auth`], with the layers that a host adds around the router.
    pub async fn with_layers(auth: Auth, host: impl FnOnce(Router) -> Router) -> Self {
        let db = TestDb::new().await;
        let foldlog = db.foldlog.clone();
        let change = |state: &mut AppState| state.auth = auth;
        Self::serve(db, foldlog, change, host).await
    }

    /// Serves this database with other settings than the tests' own.
    pub async fn with_state(db: TestDb, change: impl FnOnce(&mut AppState)) -> Self {
        let foldlog = db.foldlog.clone();
        Self::serve(db, foldlog, change, |routes| routes).await
    }

    /// Serves this database through the test's own `Foldlog`, which may use a proxy or another pool.
    pub async fn with_foldlog(db: TestDb, foldlog: Foldlog) -> Self {
        Self::serve(db, foldlog, |_| {}, |routes| routes).await
    }

    async fn serve(
        db: TestDb,
        foldlog: Foldlog,
        change: impl FnOnce(&mut AppState),
        host: impl FnOnce(Router) -> Router,
    ) -> Self {
        let operator = Operator {
            foldlog: db.foldlog.clone(),
            batch_size: 100,
        };
        let mut state = AppState {
            foldlog,
            cors_origins: [ORIGIN.to_owned()].into(),
            auth: Auth::None,
            operations: Operations::InProcess(operator),
        };
        change(&mut state);
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", socket.local_addr().unwrap());
        let routes = host(http::router(state.clone(), state));
        tokio::spawn(async move { axum::serve(socket, routes).await.unwrap() });
        Self {
            db,
            url,
            client: Client::new(),
        }
    }

    /// Starts a request; pass it to [`send`].
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    /// Appends the events in `body`.
    pub async fn append(&self, path: &str, body: &Value) -> Answer {
        send(self.request(Method::POST, path).json(body)).await
    }

    /// Appends with one more header, as `If-Match`.
    pub async fn append_with(&self, path: &str, header: (&str, &str), body: &Value) -> Answer {
        let request = self.request(Method::POST, path).json(body);
        send(request.header(header.0, header.1)).await
    }

    /// Appends with exactly these bytes as the JSON body.
    pub async fn append_raw(&self, path: &str, body: impl Into<Vec<u8>>) -> Answer {
        let request = self
            .request(Method::POST, path)
            .header("content-type", "application/json");
        send(request.body(body.into())).await
    }

    /// Sends a GET request.
    pub async fn read(&self, path: &str) -> Answer {
        send(self.request(Method::GET, path)).await
    }

    /// Counts the stored events.
    pub async fn stored(&self) -> i64 {
        self.db.count("select count(*) from events").await
    }
}

/// A complete response.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    /// The body as JSON, or as a JSON string if it is not JSON.
    pub body: Value,
}

impl Answer {
    /// Returns a header's value, or an empty string if the header is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// Asserts that this is a complete problem of this kind; returns its `detail`.
    #[track_caller]
    pub fn problem(&self, status: u16, kind: &str) -> &str {
        let text = |name: &str| self.body[name].as_str().unwrap_or_default();
        assert_eq!(
            (self.status, text("type")),
            (status, &*format!("urn:foldlog:problem:{kind}")),
            "{self:?}"
        );
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.body["status"], status);
        assert!(!text("title").is_empty() && !text("detail").is_empty());
        assert!(!self.header("x-request-id").is_empty());
        text("detail")
    }
}

/// Sends a request, reads the complete response and checks it against the OpenAPI document.
pub async fn send(request: RequestBuilder) -> Answer {
    let (client, request) = request.build_split();
    let request = request.unwrap();
    let (method, path) = (request.method().clone(), request.url().path().to_owned());
    let response = client.execute(request).await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.unwrap();
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    if let Err(error) = conforms::check(&DOCUMENT, method.as_str(), &path, status, &headers, &body)
    {
        panic!(
            "{method} {path} sent a response that the OpenAPI document does not describe: {error}: {body}"
        );
    }
    Answer {
        status,
        headers,
        body,
    }
}
