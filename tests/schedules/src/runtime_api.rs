//! A server that implements Lambda's Runtime API for one function.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::Result;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{Response, StatusCode};
use axum::routing::{get, post};
use serde_json::Value;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::ports;
use crate::rng::Rng;

/// The server. It stops when this value is dropped.
#[derive(Debug)]
pub struct RuntimeApi {
    port: u16,
    shared: Arc<Shared>,
    ids: Mutex<Rng>,
    server: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<VecDeque<Event>>,
    arrived: Notify,
    answers: Mutex<HashMap<String, oneshot::Sender<Option<Value>>>>,
}

#[derive(Debug)]
struct Event {
    id: String,
    payload: String,
    deadline_ms: u128,
}

impl RuntimeApi {
    pub async fn start() -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let routes = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/{how}", post(answered))
            .route(
                "/2018-06-01/runtime/init/error",
                post(async || StatusCode::ACCEPTED),
            )
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&shared));
        let socket = ports::listen().await?;
        let port = socket.local_addr()?.port();
        let server = tokio::spawn(async move {
            // It ends only with the task.
            let _ = axum::serve(socket, routes).await;
        });
        Ok(Self {
            port,
            shared,
            ids: Mutex::new(Rng::new(u64::from(port))),
            server,
        })
    }

    /// The environment variables that Lambda sets for a function.
    pub fn env(&self) -> [(&'static str, String); 4] {
        [
            ("AWS_LAMBDA_RUNTIME_API", format!("127.0.0.1:{}", self.port)),
            ("AWS_LAMBDA_FUNCTION_NAME", "schedule".to_owned()),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512".to_owned()),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned()),
        ]
    }

    /// Passes an event to the function. The receiver gets its response, `None` for an error that the function reports, and ends
    /// without a value if the process was killed.
    pub fn invoke(&self, payload: &Value, timeout_ms: u64) -> oneshot::Receiver<Option<Value>> {
        let id: Uuid = lock(&self.ids).uuid();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let deadline = now.unwrap_or_default() + Duration::from_millis(timeout_ms);
        let (sender, receiver) = oneshot::channel();
        lock(&self.shared.answers).insert(id.to_string(), sender);
        lock(&self.shared.waiting).push_back(Event {
            id: id.to_string(),
            payload: payload.to_string(),
            deadline_ms: deadline.as_millis(),
        });
        self.shared.arrived.notify_one();
        receiver
    }

    /// Forgets all invocations: the process that worked on them is gone.
    pub fn forget(&self) {
        lock(&self.shared.waiting).clear();
        lock(&self.shared.answers).clear();
    }
}

impl Drop for RuntimeApi {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn next(State(shared): State<Arc<Shared>>) -> Response<Body> {
    let event = loop {
        let event = lock(&shared.waiting).pop_front();
        match event {
            Some(event) => break event,
            None => shared.arrived.notified().await,
        }
    };
    let response = Response::builder()
        .header("Lambda-Runtime-Aws-Request-Id", event.id)
        .header("Lambda-Runtime-Deadline-Ms", event.deadline_ms.to_string())
        .header(
            "Lambda-Runtime-Invoked-Function-Arn",
            "arn:aws:lambda:eu-central-1:123456789012:function:schedule",
        )
        .header(
            "Lambda-Runtime-Trace-Id",
            "Root=1-5c536348-3d683b8b04734faae651f476",
        )
        .body(event.payload.into());
    response.unwrap_or_default()
}

async fn answered(
    State(shared): State<Arc<Shared>>,
    Path((id, how)): Path<(String, String)>,
    body: Bytes,
) -> StatusCode {
    if let Some(sender) = lock(&shared.answers).remove(&id) {
        let answer = serde_json::from_slice(&body).ok();
        // The client may have stopped waiting.
        let _ = sender.send(answer.filter(|_| how == "response"));
    }
    StatusCode::ACCEPTED
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
