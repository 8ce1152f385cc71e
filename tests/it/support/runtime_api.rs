//! A server that implements Lambda's Runtime API: it passes events to a function and receives its responses.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{Response, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use uuid::Uuid;

use super::poll::POLL_TIMEOUT;

/// The largest response that Lambda accepts: 6 MB and some overhead.
const MAX_RESPONSE_BYTES: usize = 6_291_556;

/// The server. Start a function's process with [`Self::env`].
pub struct RuntimeApi {
    address: String,
    events: mpsc::UnboundedSender<Event>,
    shared: Arc<Shared>,
}

struct Event {
    id: String,
    payload: Vec<u8>,
    deadline_ms: u64,
}

type Waiting = oneshot::Sender<Result<Bytes, Bytes>>;

struct Shared {
    waiting: tokio::sync::Mutex<mpsc::UnboundedReceiver<Event>>,
    /// By request id: the deadline, after which Lambda ends the function, and the sender of the response.
    answers: Mutex<HashMap<String, (u64, Waiting)>>,
    init_errors: Mutex<Vec<Bytes>>,
}

impl RuntimeApi {
    pub async fn start() -> Self {
        let (events, waiting) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            waiting: waiting.into(),
            answers: Mutex::default(),
            init_errors: Mutex::default(),
        });
        let routes = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/{how}", post(answered))
            .route("/2018-06-01/runtime/init/error", post(init_error))
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&shared));
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap().to_string();
        tokio::spawn(async move { axum::serve(socket, routes).await.unwrap() });
        Self {
            address,
            events,
            shared,
        }
    }

    /// The environment variables that Lambda sets for a function.
    pub fn env(&self) -> [(&str, &str); 4] {
        [
            ("AWS_LAMBDA_RUNTIME_API", &self.address),
            ("AWS_LAMBDA_FUNCTION_NAME", "of-a-test"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ]
    }

    /// Invokes the function and waits for its response, or for the error that it reports.
    pub async fn try_invoke(&self, payload: &Value, deadline_ms: u64) -> Result<Value, Value> {
        let (id, payload) = (Uuid::now_v7().to_string(), payload.to_string().into());
        let (sender, answer) = oneshot::channel();
        // `cargo lambda watch` sends deadlines in the past; they stand for an unlimited invocation.
        let known = deadline_ms > in_ms(0);
        let last = if known { deadline_ms } else { u64::MAX };
        let waiting = (last, sender);
        self.shared
            .answers
            .lock()
            .unwrap()
            .insert(id.clone(), waiting);
        let event = Event {
            id,
            payload,
            deadline_ms,
        };
        self.events.send(event).unwrap();
        let Ok(answer) = timeout(POLL_TIMEOUT, answer).await else {
            panic!("the function does not respond");
        };
        let json = |bytes: Bytes| serde_json::from_slice(&bytes).unwrap();
        answer.unwrap().map(json).map_err(json)
    }

    /// As [`Self::try_invoke`] with a minute of time; panics if the function reports an error.
    pub async fn invoke(&self, payload: &Value) -> Value {
        let answer = self.try_invoke(payload, in_ms(60_000)).await;
        answer.unwrap_or_else(|error| panic!("{payload} failed: {error}"))
    }

    /// Counts the errors that functions reported before their first event.
    pub fn init_errors(&self) -> usize {
        self.shared.init_errors.lock().unwrap().len()
    }
}

/// Returns the deadline that is this far from now, in milliseconds since the epoch.
pub fn in_ms(ms: u64) -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(now.unwrap().as_millis()).unwrap() + ms
}

async fn next(State(shared): State<Arc<Shared>>) -> Response<Body> {
    let event = shared.waiting.lock().await.recv().await.unwrap();
    Response::builder()
        .header("Lambda-Runtime-Aws-Request-Id", event.id)
        .header("Lambda-Runtime-Deadline-Ms", event.deadline_ms)
        .header(
            "Lambda-Runtime-Invoked-Function-Arn",
            "arn:aws:lambda:eu-central-1:123456789012:function:of-a-test",
        )
        .header(
            "Lambda-Runtime-Trace-Id",
            "Root=1-5c536348-3d683b8b04734faae651f476",
        )
        .body(event.payload.into())
        .unwrap()
}

async fn answered(
    State(shared): State<Arc<Shared>>,
    Path((id, how)): Path<(String, String)>,
    body: Bytes,
) -> (StatusCode, Json<Value>) {
    let waiting = shared.answers.lock().unwrap().remove(&id);
    let Some((last, waiting)) = waiting else {
        panic!("the function responded twice to one invocation");
    };
    let answer = match how.as_str() {
        _ if body.len() > MAX_RESPONSE_BYTES => {
            Err(r#"{"errorMessage":"Response payload size exceeded"}"#.into())
        }
        _ if in_ms(0) > last => Err(r#"{"errorMessage":"Task timed out"}"#.into()),
        "response" => Ok(body),
        _ => Err(body),
    };
    // The test may have stopped waiting.
    let _ = waiting.send(answer);
    (StatusCode::ACCEPTED, Json(json!({"status": "OK"})))
}

async fn init_error(State(shared): State<Arc<Shared>>, body: Bytes) -> (StatusCode, Json<Value>) {
    shared.init_errors.lock().unwrap().push(body);
    (StatusCode::ACCEPTED, Json(json!({"status": "OK"})))
}
