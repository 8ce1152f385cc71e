//! Lambda's Runtime API: a server that hands events to a function and takes its answers, as the service does.

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

/// The largest answer that Lambda takes: 6 MB, and a little.
const LIMIT: usize = 6_291_556;

/// The server; a function's process is started with [`Self::env`].
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
    /// Who waits for an answer, and until when it may come; after that Lambda has ended the function.
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

    /// What Lambda tells a function.
    pub fn env(&self) -> [(&str, &str); 4] {
        [
            ("AWS_LAMBDA_RUNTIME_API", &self.address),
            ("AWS_LAMBDA_FUNCTION_NAME", "of-a-test"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ]
    }

    /// Invokes and waits for the answer, or for the error that the function reports.
    pub async fn try_invoke(&self, payload: &Value, deadline_ms: u64) -> Result<Value, Value> {
        let (id, payload) = (Uuid::now_v7().to_string(), payload.to_string().into());
        let (sender, answer) = oneshot::channel();
        // A deadline that has passed already is none: `cargo lambda watch` sends such.
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
            panic!("the function does not answer");
        };
        let json = |bytes: Bytes| serde_json::from_slice(&bytes).unwrap();
        answer.unwrap().map(json).map_err(json)
    }

    /// The same with plenty of time, for what has to be answered.
    pub async fn invoke(&self, payload: &Value) -> Value {
        let answer = self.try_invoke(payload, in_ms(60_000)).await;
        answer.unwrap_or_else(|error| panic!("{payload} failed: {error}"))
    }

    /// What functions reported before their first event.
    pub fn init_errors(&self) -> usize {
        self.shared.init_errors.lock().unwrap().len()
    }
}

/// A deadline so far from now.
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
        panic!("an invocation is answered twice");
    };
    let answer = match how.as_str() {
        _ if body.len() > LIMIT => {
            Err(r#"{"errorMessage":"Response payload size exceeded"}"#.into())
        }
        _ if in_ms(0) > last => Err(r#"{"errorMessage":"Task timed out"}"#.into()),
        "response" => Ok(body),
        _ => Err(body),
    };
    // Whoever invoked may have given up.
    let _ = waiting.send(answer);
    (StatusCode::ACCEPTED, Json(json!({"status": "OK"})))
}

async fn init_error(State(shared): State<Arc<Shared>>, body: Bytes) -> (StatusCode, Json<Value>) {
    shared.init_errors.lock().unwrap().push(body);
    (StatusCode::ACCEPTED, Json(json!({"status": "OK"})))
}
