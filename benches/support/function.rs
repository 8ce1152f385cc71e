//! Functions as processes, under a Runtime API server that hands out one event at a time.
//!
//! The protocol is two requests an invocation: the function asks for the next event and waits, and it posts its answer.
//! The server is written with the same hyper and axum as the routes are served with, so that neither has the advantage.

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

/// How long to wait for a function that does nothing.
const WITHIN: Duration = Duration::from_mins(5);
/// The longest that Lambda runs anything.
const LONGEST: Duration = Duration::from_mins(15);

/// A function's process with a Runtime API of its own. Both end with the value.
pub struct Function {
    process: Child,
    server: tokio::task::JoinHandle<()>,
    begun: Instant,
    name: String,
    /// Who has asked for the next event.
    waiting: mpsc::UnboundedReceiver<oneshot::Sender<Bytes>>,
    /// When the answers were there, and how the function called them.
    answers: mpsc::UnboundedReceiver<(Instant, String, Bytes)>,
}

/// An answer, and how long it took until all of it was there.
pub struct Answered {
    /// Since the event was handed out.
    pub after: Duration,
    /// Since the process was started.
    pub since_start: Duration,
    pub answer: Value,
}

impl Answered {
    /// What the answer to a request has to be.
    pub fn expect(&self, status: u16) {
        assert_eq!(self.answer["statusCode"], status, "{}", self.answer);
    }
}

struct Shared {
    waiting: mpsc::UnboundedSender<oneshot::Sender<Bytes>>,
    answers: mpsc::UnboundedSender<(Instant, String, Bytes)>,
}

impl Function {
    /// Starts a program as Lambda does, with nothing else in its environment than the database.
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
            .envs(super::direct::passed_on());
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

    /// Hands out an event once the function waits for one, and takes the answer.
    pub async fn invoke(&mut self, event: Bytes) -> Answered {
        let Ok(waiting) = timeout(WITHIN, self.waiting.recv()).await else {
            panic!("{} does not ask for an event", self.name);
        };
        let handed_out = Instant::now();
        // One that has ended meanwhile gets nothing, and answers nothing.
        let _ = waiting.unwrap().send(event);
        let Ok(answer) = timeout(WITHIN, self.answers.recv()).await else {
            panic!("{} does not answer", self.name);
        };
        let (at, how, answer) = answer.unwrap();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(how, "response", "{} answers {answer}", self.name);
        Answered {
            after: at - handed_out,
            since_start: at - self.begun,
            answer,
        }
    }

    /// Ends the process, and waits until it is gone: what is measured next has the machine for itself.
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
    let deadline = SystemTime::now() + LONGEST;
    let deadline = deadline.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    // The function may end while it waits; then nobody reads this.
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
    // Whoever invoked may have given up.
    let _ = shared.answers.send((Instant::now(), how, body));
    StatusCode::ACCEPTED
}

/// What an HTTP API's gateway makes of requests that differ in their bodies only. Made once: it is not to be measured.
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

/// What asks the catch-up function for a catch-up.
pub fn catch_up() -> Bytes {
    json!({}).to_string().into()
}

/// The example, built with the profile that this program was built with: cargo builds the programs of `bin/` for a
/// benchmark, but no examples.
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
