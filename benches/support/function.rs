//! Functions as processes, with a Runtime API server that sends one event at a time.
//!
//! The protocol has two requests per invocation: the function asks for the next event and waits, and it posts its response. The server
//! uses the same hyper and axum as the baseline, so that neither has an advantage.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{self, State};
use axum::http::{Response, StatusCode};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// A function that is silent for this long has failed.
const RESPONSE_TIMEOUT: Duration = Duration::from_mins(5);
/// The longest time for which Lambda runs an invocation.
const MAX_INVOCATION_TIME: Duration = Duration::from_mins(15);

/// A function's process with its own Runtime API server. Both end when this value is dropped.
pub struct Function {
    process: Child,
    server: tokio::task::JoinHandle<()>,
    begun: Instant,
    name: String,
    /// The requests for the next event.
    waiting: mpsc::UnboundedReceiver<oneshot::Sender<Bytes>>,
    /// The responses: when they arrived, and whether they are a response or an error.
    answers: mpsc::UnboundedReceiver<(Instant, String, Bytes)>,
}

/// A response, and how long it took to arrive.
pub struct Answered {
    /// Since the event was sent.
    pub after: Duration,
    /// Since the process was started.
    pub since_start: Duration,
    pub answer: Value,
}

impl Answered {
    /// Asserts the HTTP status of the response.
    pub fn expect(&self, status: u16) {
        assert_eq!(self.answer["statusCode"], status, "{}", self.answer);
    }
}

struct Shared {
    waiting: mpsc::UnboundedSender<oneshot::Sender<Bytes>>,
    answers: mpsc::UnboundedSender<(Instant, String, Bytes)>,
}

impl Function {
    /// Starts a program as Lambda does, with only the database and Lambda's own variables in its environment.
    pub async fn start(program: &Path, database_url: &str) -> Self {
        let (asked, waiting) = mpsc::unbounded_channel();
        let (answered, answers) = mpsc::unbounded_channel();
        let routes = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/{how}", post(answer))
            .with_state(Arc::new(Shared {
                waiting: asked,
                answers: answered,
            }));
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap().to_string();
        let server = tokio::spawn(async move { axum::serve(socket, routes).await.unwrap() });
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("DATABASE_URL", database_url)
            .env("AWS_LAMBDA_RUNTIME_API", address)
            .env("AWS_LAMBDA_FUNCTION_NAME", "of-a-benchmark")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .envs(super::direct::inherited_env());
        let begun = Instant::now();
        Self {
            process: command.spawn().unwrap(),
            server,
            begun,
            name: program.display().to_string(),
            waiting,
            answers,
        }
    }

    /// Sends an event as soon as the function waits for one, and receives the response.
    pub async fn invoke(&mut self, event: Bytes) -> Answered {
        let Ok(waiting) = timeout(RESPONSE_TIMEOUT, self.waiting.recv()).await else {
            panic!("{} does not ask for an event", self.name);
        };
        let sent_at = Instant::now();
        // If the function has ended in the meantime, waiting for its response fails below.
        let _ = waiting.unwrap().send(event);
        let Ok(answer) = timeout(RESPONSE_TIMEOUT, self.answers.recv()).await else {
            panic!("{} does not answer", self.name);
        };
        let (at, how, answer) = answer.unwrap();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(how, "response", "{} answers {answer}", self.name);
        Answered {
            after: at - sent_at,
            since_start: at - self.begun,
            answer,
        }
    }

    /// Kills the process and waits until it has ended, so that it does not disturb the next measurement.
    pub async fn end(mut self) {
        self.process.kill().await.unwrap();
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn next(State(shared): State<Arc<Shared>>) -> Response<Body> {
    let (sender, event) = oneshot::channel();
    shared.waiting.send(sender).unwrap();
    let deadline = SystemTime::now() + MAX_INVOCATION_TIME;
    let deadline = deadline.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    // The function may end while it waits; the empty event is then never read.
    let event = event.await.unwrap_or_default();
    Response::builder()
        .header("Lambda-Runtime-Aws-Request-Id", "of-a-benchmark")
        .header(
            "Lambda-Runtime-Deadline-Ms",
            deadline.as_millis().to_string(),
        )
        .header(
            "Lambda-Runtime-Invoked-Function-Arn",
            "arn:aws:lambda:eu-central-1:123456789012:function:of-a-benchmark",
        )
        .header(
            "Lambda-Runtime-Trace-Id",
            "Root=1-5c536348-3d683b8b04734faae651f476",
        )
        .body(event.into())
        .unwrap()
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    extract::Path((_, how)): extract::Path<(String, String)>,
    body: Bytes,
) -> StatusCode {
    // The benchmark may have stopped waiting.
    let _ = shared.answers.send((Instant::now(), how, body));
    StatusCode::ACCEPTED
}

/// The event that API Gateway makes of an HTTP request, prepared once for requests that differ only in their bodies.
pub struct Gateway {
    before: String,
    after: String,
}

impl Gateway {
    pub fn new(method: &str, path: &str) -> Self {
        let recorded = match method {
            "POST" => include_str!("../../events/apigw-v2-append.json"),
            _ => include_str!("../../events/apigw-v2-list.json"),
        };
        let mut event: Value = serde_json::from_str(recorded).unwrap();
        let fields = event.as_object_mut().unwrap();
        fields.insert("rawPath".into(), path.into());
        fields.insert("rawQueryString".into(), "".into());
        fields.remove("queryStringParameters");
        fields["requestContext"]["http"]["path"] = path.into();
        fields.insert("body".into(), "the body".into());
        let event = event.to_string();
        let (before, after) = event.split_once("\"the body\"").unwrap();
        Self {
            before: before.to_owned(),
            after: after.to_owned(),
        }
    }

    pub fn event(&self, body: Option<&str>) -> Bytes {
        let body = json!(body);
        format!("{}{body}{}", self.before, self.after).into()
    }
}

/// The event that invokes a catch-up.
pub fn catch_up() -> Bytes {
    json!({}).to_string().into()
}

/// Builds the example `hello_function` with the profile of this program and returns its path; for a benchmark cargo builds the
/// binaries but not the examples.
pub fn hello() -> PathBuf {
    let this = std::env::current_exe().unwrap();
    let folder = this.parent().and_then(Path::parent).unwrap();
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let built = std::process::Command::new(env!("CARGO"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["build", "--quiet", "--features", "lambda"])
        .args(["--example", "hello_function", "--profile", profile])
        .arg("--target-dir")
        .arg(folder.parent().unwrap())
        .status()
        .unwrap();
    assert!(built.success(), "the example hello_function does not build");
    folder.join("examples/hello_function")
}
