//! The API on a real socket.

use axum::Router;
use foldlog::engine::Engine;
use foldlog::http::{self, AppState, Auth};
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;
use tokio::net::TcpListener;

use super::{TestDb, conforms};

/// The one origin whose pages may call the API.
pub const ORIGIN: &str = "https://app.example.org";

/// A server on a port of its own; it goes with the test's runtime.
pub struct App {
    pub db: TestDb,
    pub url: String,
    pub client: Client,
}

impl App {
    /// Over a new database.
    pub async fn new() -> Self {
        Self::with_db(TestDb::new().await).await
    }

    /// Over this database.
    pub async fn with_db(db: TestDb) -> Self {
        let engine = db.engine.clone();
        Self::with_engine(db, engine).await
    }

    /// Over a new database, for callers whom `auth` lets in.
    pub async fn with_auth(auth: Auth) -> Self {
        Self::with_layers(auth, |routes| routes).await
    }

    /// The same behind layers of a host.
    pub async fn with_layers(auth: Auth, host: impl FnOnce(Router) -> Router) -> Self {
        let db = TestDb::new().await;
        let engine = db.engine.clone();
        Self::serve(db, engine, auth, host).await
    }

    /// Over this database, reached by an engine of the test's own: through a proxy, with another pool.
    pub async fn with_engine(db: TestDb, engine: Engine) -> Self {
        Self::serve(db, engine, Auth::None, |routes| routes).await
    }

    async fn serve(
        db: TestDb,
        engine: Engine,
        auth: Auth,
        host: impl FnOnce(Router) -> Router,
    ) -> Self {
        let state = AppState {
            engine,
            cors_origins: [ORIGIN.to_owned()].into(),
            auth,
        };
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

    /// A request to finish and [`send`].
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    /// Appends what `body` says.
    pub async fn append(&self, path: &str, body: &Value) -> Answer {
        send(self.request(Method::POST, path).json(body)).await
    }

    /// Appends with a header: `If-Match`, say.
    pub async fn append_with(&self, path: &str, header: (&str, &str), body: &Value) -> Answer {
        let request = self.request(Method::POST, path).json(body);
        send(request.header(header.0, header.1)).await
    }

    /// Sends these very bytes as JSON.
    pub async fn append_raw(&self, path: &str, body: impl Into<Vec<u8>>) -> Answer {
        let request = self
            .request(Method::POST, path)
            .header("content-type", "application/json");
        send(request.body(body.into())).await
    }

    /// Reads a path.
    pub async fn read(&self, path: &str) -> Answer {
        send(self.request(Method::GET, path)).await
    }

    /// How many events are stored.
    pub async fn stored(&self) -> i64 {
        self.db.count("select count(*) from events").await
    }
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    /// The body as JSON; a string when it is none.
    pub body: Value,
}

impl Answer {
    /// A header's value; empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// Checks that this is that problem, and a whole one; its detail.
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

/// Sends, and hears all of the answer, which is one that the API's document has.
pub async fn send(request: RequestBuilder) -> Answer {
    let (client, request) = request.build_split();
    let request = request.unwrap();
    let (method, path) = (request.method().clone(), request.url().path().to_owned());
    let response = client.execute(request).await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.unwrap();
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    if let Err(error) = conforms::check(method.as_str(), &path, status, &headers, &body) {
        panic!("{method} {path} answers what is not documented: {error}: {body}");
    }
    Answer {
        status,
        headers,
        body,
    }
}
