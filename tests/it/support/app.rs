//! The API on a real socket.

use foldlog::engine::Engine;
use foldlog::http::{self, AppState};
use reqwest::{Client, Response};
use serde_json::Value;
use tokio::net::TcpListener;

use super::TestDb;

/// A server on a port of its own; it goes with the test's runtime.
pub struct App {
    pub db: TestDb,
    pub url: String,
    pub client: Client,
}

impl App {
    /// Over a new database.
    pub async fn new() -> Self {
        Self::over(TestDb::new().await).await
    }

    /// Over this database.
    pub async fn over(db: TestDb) -> Self {
        let engine = db.engine.clone();
        Self::with_engine(db, engine).await
    }

    /// Over this database, reached by an engine of the test's own: through a proxy, with another pool.
    pub async fn with_engine(db: TestDb, engine: Engine) -> Self {
        let state = AppState {
            engine,
            cors_origins: ["https://app.example.org".to_owned()].into(),
        };
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", socket.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(socket, http::router(state)).await.unwrap() });
        Self {
            db,
            url,
            client: Client::new(),
        }
    }

    /// Sends a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> Response {
        self.client
            .post(format!("{}{path}", self.url))
            .json(body)
            .send()
            .await
            .unwrap()
    }

    /// Asks for a path.
    pub async fn get(&self, path: &str) -> Response {
        self.client
            .get(format!("{}{path}", self.url))
            .send()
            .await
            .unwrap()
    }
}

/// Status and body.
pub async fn parts(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (
        status,
        serde_json::from_str(&text).unwrap_or(Value::String(text)),
    )
}
