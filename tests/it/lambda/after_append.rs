//! `AFTER_APPEND`: what a command function does for the views.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use futures_util::future::join_all;
use serde_json::Value;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::function::{COMMAND, Function};
use super::wire::{Gateway, Request};
use crate::bins::program::PASSWORD;
use crate::support::TestDb;
use crate::support::json::created;
use crate::support::locks::wait_until_true;
use crate::support::poll::wait_until;

fn append() -> Value {
    let event = created(Uuid::now_v7(), "ada");
    let request = Request::new("POST", "/users").with_header("content-type", "application/json");
    request.sending(event.to_string()).event(Gateway::HttpApi)
}

/// A server for the part of Lambda's API that the function calls.
struct Lambda {
    url: String,
    seen: Arc<Seen>,
}

struct Seen {
    database: PgConnectOptions,
    /// What was asked for, with how many events were committed then.
    asked: Mutex<Vec<(String, i64)>>,
    in_flight: AtomicU64,
    most_in_flight: AtomicU64,
    /// A permit for each invocation that may be answered.
    may_answer: Semaphore,
    status: StatusCode,
}

impl Lambda {
    async fn start(db: &TestDb, status: StatusCode) -> Self {
        let seen = Arc::new(Seen {
            database: db.options.clone(),
            asked: Mutex::default(),
            in_flight: AtomicU64::default(),
            most_in_flight: AtomicU64::default(),
            may_answer: Semaphore::new(0),
            status,
        });
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", socket.local_addr().unwrap());
        let routes = Router::new()
            .fallback(invoked)
            .with_state(Arc::clone(&seen));
        tokio::spawn(async move { axum::serve(socket, routes).await.unwrap() });
        Self { url, seen }
    }

    fn env(&self) -> [(&str, &str); 7] {
        [
            ("AFTER_APPEND", "invoke"),
            (
                "CATCH_UP_FUNCTION",
                "arn:aws:lambda:eu-central-1:1:function:catch-up",
            ),
            ("AWS_ENDPOINT_URL", &self.url),
            ("AWS_REGION", "eu-central-1"),
            ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
            ("AWS_SECRET_ACCESS_KEY", PASSWORD),
            ("AWS_LAMBDA_MAX_CONCURRENCY", "8"),
        ]
    }

    async fn until_asked(&self, times: usize) {
        let asked = async || self.seen.asked.lock().unwrap().len() >= times;
        wait_until("catch-up is invoked", asked).await;
    }
}

/// Counts an invocation as under way until it is answered, or given up.
struct InFlight<'a>(&'a Seen);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn invoked(
    State(seen): State<Arc<Seen>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> StatusCode {
    let under_way = seen.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
    let _in_flight = InFlight(&seen);
    seen.most_in_flight.fetch_max(under_way, Ordering::SeqCst);
    let header = |name| headers[name].to_str().unwrap().to_owned();
    let asked = format!("{} {} {}", method, uri, header("x-amz-invocation-type"));
    assert!(header("authorization").starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"));
    let mut connection = PgConnection::connect_with(&seen.database).await.unwrap();
    let committed: i64 = sqlx::query_scalar("select count(*) from events")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    seen.asked.lock().unwrap().push((asked, committed));
    seen.may_answer.acquire().await.unwrap().forget();
    seen.status
}

/// Fails when `AFTER_APPEND=catch_up` responds before the view is current.
#[tokio::test]
async fn after_append_catch_up_makes_the_view_current_before_the_response() {
    let db = TestDb::new().await;
    let function = Function::start(&db.options, COMMAND, &[("AFTER_APPEND", "catch_up")]).await;
    for count in 1..=3 {
        let event = append();
        assert_eq!(function.invoke(&event).await["statusCode"], 201);
        assert_eq!(db.count("select count(*) from users").await, count);
        assert_eq!(function.invoke(&event).await["statusCode"], 200);
    }
    db.assert_views_equal_a_fold_from_scratch().await;
    function.end().await;
}

/// Fails when `none` does anything.
#[tokio::test]
async fn without_after_append_no_catch_up_follows_an_append() {
    let db = TestDb::new().await;
    let function = Function::start(&db.options, COMMAND, &[]).await;
    assert_eq!(function.invoke(&append()).await["statusCode"], 201);
    assert_eq!(db.count("select count(*) from locker").await, 0);
    function.end().await;
}

/// Fails when each of many appends invokes catch-up, when two invocations are under way at once, or when an append that
/// came during one is not followed by another.
#[tokio::test]
async fn concurrent_appends_share_one_catch_up_invocation() {
    let db = TestDb::new().await;
    let lambda = Lambda::start(&db, StatusCode::ACCEPTED).await;
    let function = Function::start(&db.options, COMMAND, &lambda.env()).await;
    let first = append();
    let first = function.invoke(&first);
    let rest: Vec<_> = (0..6).map(|_| append()).collect();
    let rest = async {
        lambda.until_asked(1).await;
        let answers = join_all(rest.iter().map(|event| function.invoke(event)));
        let committed = async {
            wait_until_true(&db, "select count(*) = 7 from events").await;
            lambda.seen.may_answer.add_permits(100);
        };
        tokio::join!(answers, committed).0
    };
    let (first, rest) = tokio::join!(first, rest);
    for answer in rest.iter().chain([&first]) {
        assert_eq!(answer["statusCode"], 201, "{answer}");
    }
    let asked = lambda.seen.asked.lock().unwrap().clone();
    // Two, unless the machine is so slow that the first was given up.
    assert!((2..=4).contains(&asked.len()), "{asked:?}");
    assert_eq!(lambda.seen.most_in_flight.load(Ordering::SeqCst), 1);
    let path = "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aeu-central-1%3A1%3Afunction%3Acatch-up/invocations";
    assert_eq!(asked[0].0, format!("POST {path} Event"));
    assert_eq!(asked.last().unwrap().1, 7, "{asked:?}");
    function.end().await;
}

/// Fails when an append returns an error because catch-up could not be invoked, when that is not logged, or when a duplicate event
/// invokes catch-up, too.
#[tokio::test]
async fn a_failed_catch_up_invocation_does_not_fail_the_append() {
    let db = TestDb::new().await;
    let lambda = Lambda::start(&db, StatusCode::FORBIDDEN).await;
    lambda.seen.may_answer.add_permits(100);
    let mut function = Function::start(&db.options, COMMAND, &lambda.env()).await;
    let append = append();
    assert_eq!(function.invoke(&append).await["statusCode"], 201);
    assert_eq!(function.invoke(&append).await["statusCode"], 200);
    function
        .program
        .until_it_says("catch-up was not invoked: lambda answered 403")
        .await;
    function.end().await;
    assert_eq!(lambda.seen.asked.lock().unwrap().len(), 1);
}
