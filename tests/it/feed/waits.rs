//! Long polls of the feed.

use std::future::{IntoFuture as _, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use foldlog::Foldlog;
use foldlog::db::Pool;
use foldlog::http::{self, AppState, Auth, Operations};
use foldlog::query::FeedCursor;
use foldlog::store::{FeedPlace, FeedWatch};
use foldlog::view::Inline;
use futures_util::future::join_all;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{ids, next};
use crate::support::TestDb;
use crate::support::app::App;
use crate::support::db::DOMAINS;
use crate::support::events::{append, opened};
use crate::support::json::created;
use crate::support::locks::Held;
use crate::support::poll::wait_until;

/// Longer than any test takes that does not fail.
const LONG_TIMEOUT: Duration = Duration::from_mins(1);
/// More readers than a pool has connections.
const READER_COUNT: usize = 1000;
/// The time between the ends of two readers: less than the shortest pause between two questions.
const END_INTERVAL: Duration = Duration::from_millis(20);

/// A database whose host uses no pooler. Behind one, the activity of a session shows the statement of a reader for a moment only, so that
/// a test could notice it after the reader's time.
async fn new_db() -> TestDb {
    let mut db = TestDb::new().await;
    let pool = Pool::new(db.options.clone(), 4);
    let builder = Foldlog::builder().domains(DOMAINS);
    db.foldlog = builder.build(pool).unwrap();
    db
}

/// Waits until a reader has asked for the end of the feed: it has found no event, and waits for one.
async fn until_a_reader_waits(db: &TestDb) {
    let asks = "select count(*) from pg_stat_activity where datname = current_database() \
                and query like '%The newest event that the feed shows%' and pid <> pg_backend_pid()";
    wait_until("a reader asks", async || db.count(asks).await > 0).await;
}

// Fails when a request that waits does not return with the next event, or returns without one before its time.
#[tokio::test]
async fn a_long_poll_returns_with_the_next_event() {
    let app = App::with_db(new_db().await).await;
    let start = app.read("/events?wait=0").await.body;
    let path = format!("/events?wait=20&after={}", next(&start));
    let event = created(Uuid::now_v7(), "ada");
    let append = async {
        until_a_reader_waits(&app.db).await;
        app.append("/users", &event).await
    };
    let (page, _) = tokio::join!(app.read(&path), append);
    assert_eq!(ids(&page.body), [event["id"].as_str().unwrap()]);
    // Events that are there are returned at once.
    assert_eq!(ids(&app.read("/events?wait=20").await.body).len(), 1);
    let path = format!("/events?wait=1&after={}", next(&page.body));
    let empty = app.read(&path).await.body;
    assert_eq!((ids(&empty), next(&empty)), (vec![], next(&page.body)));
}

// Fails when requests that wait hold connections, or when not all of them are woken.
#[tokio::test]
async fn a_thousand_waiting_readers_share_one_connection() {
    let db = new_db().await;
    let pool = Pool::new(db.options.clone(), 1);
    let foldlog = Foldlog::new(pool, DOMAINS, Inline::new()).unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let readers: Vec<_> = (0..READER_COUNT)
        .map(|_| {
            let (foldlog, asked) = (foldlog.clone(), Arc::clone(&asked));
            tokio::spawn(async move {
                let mut page = pin!(foldlog.feed().wait(LONG_TIMEOUT).into_future());
                // A reader asks for the connection when it is polled first.
                let first = poll_fn(|context| Poll::Ready(page.as_mut().poll(context))).await;
                assert!(first.is_pending());
                asked.fetch_add(1, Ordering::SeqCst);
                page.await.unwrap()
            })
        })
        .collect();
    wait_until("each reader has asked for the connection", async || {
        asked.load(Ordering::SeqCst) == READER_COUNT
    })
    .await;
    // The connection goes to those who want it in their order, so this read comes after the first one of each reader.
    assert!(foldlog.feed().await.unwrap().events.is_empty());
    until_a_reader_waits(&db).await;
    let event = opened(Uuid::now_v7());
    append(&foldlog, std::slice::from_ref(&event)).await;
    for page in join_all(readers).await {
        let page = page.unwrap();
        let seen: Vec<_> = page.events.iter().map(|shown| shown.id).collect();
        assert_eq!(seen, [event.id]);
    }
}

// Fails when readers that each wait for a shorter time than a pause takes put the next question off again and again.
#[tokio::test]
async fn readers_that_come_and_go_do_not_delay_the_others() {
    let db = new_db().await;
    let (watch, start) = (FeedWatch::default(), Instant::now());
    // One of them ends after the other, until the time of the last one is up, too.
    let ends = (1..).map(|number| start + END_INTERVAL * number);
    let mut readers: Vec<_> = ends
        .take_while(|end| *end <= start + LONG_TIMEOUT)
        .map(|deadline| {
            let (watch, pool) = (watch.clone(), db.pool().clone());
            let seen = FeedPlace::default();
            tokio::spawn(async move { watch.wait(&pool, seen, deadline).await.unwrap() })
        })
        .collect();
    let last = readers.pop().unwrap();
    until_a_reader_waits(&db).await;
    append(&db.foldlog, &[opened(Uuid::now_v7())]).await;
    assert!(last.await.unwrap().is_some());
}

// Fails when a reader waits for ever because the one that asked Postgres for all of them has gone.
#[tokio::test]
async fn a_reader_that_goes_away_leaves_no_reader_behind() {
    let db = new_db().await;
    let foldlog = db.foldlog.clone();
    let waiting = |foldlog: Foldlog| {
        tokio::spawn(async move { foldlog.feed().wait(LONG_TIMEOUT).await.unwrap() })
    };
    let gone: Vec<_> = (0..10).map(|_| waiting(foldlog.clone())).collect();
    until_a_reader_waits(&db).await;
    let stays = waiting(foldlog.clone());
    for reader in gone {
        reader.abort();
        assert!(reader.await.unwrap_err().is_cancelled());
    }
    let event = opened(Uuid::now_v7());
    append(&foldlog, std::slice::from_ref(&event)).await;
    let page = stays.await.unwrap();
    assert_eq!(page.events.len(), 1);
}

// Fails when clients that hang up while they wait keep the others from being answered.
#[tokio::test]
async fn clients_that_hang_up_leave_no_reader_behind() {
    let app = App::with_db(new_db().await).await;
    let address = app.url.strip_prefix("http://").unwrap();
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = TcpStream::connect(address).await.unwrap();
        let request = "GET /events?wait=20 HTTP/1.1\r\nhost: x\r\n\r\n";
        client.write_all(request.as_bytes()).await.unwrap();
        clients.push(client);
    }
    until_a_reader_waits(&app.db).await;
    let event = created(Uuid::now_v7(), "ada");
    let hang_up = async {
        drop(clients);
        app.append("/users", &event).await
    };
    let (page, _) = tokio::join!(app.read("/events?wait=20"), hang_up);
    assert_eq!(ids(&page.body), [event["id"].as_str().unwrap()]);
}

// Fails when a reader that waits is woken by an event that the feed does not show yet, and answers without it for good, or when it
// is not woken once the feed shows it.
#[tokio::test]
async fn a_long_poll_waits_for_a_transaction_that_is_still_open() {
    let db = new_db().await;
    let held = Held::open(&db, "select pg_current_xact_id()").await;
    append(&db.foldlog, &[opened(Uuid::now_v7())]).await;
    let foldlog = db.foldlog.clone();
    let reader = tokio::spawn(async move { foldlog.feed().wait(LONG_TIMEOUT).await.unwrap() });
    until_a_reader_waits(&db).await;
    let page = db.foldlog.feed().wait(Duration::from_millis(200)).await;
    let page = page.unwrap();
    assert!(page.events.is_empty());
    assert_eq!(page.waiting.unwrap().events, 1);
    assert_eq!(page.next, Some(FeedCursor::BEGINNING));
    held.release().await;
    assert_eq!(reader.await.unwrap().events.len(), 1);
}

// Fails when a filtered reader is woken by other events and answers without an event, or spins until its time is up.
#[tokio::test]
async fn a_filtered_long_poll_waits_for_its_own_events() {
    let app = App::with_db(new_db().await).await;
    let path = "/events?wait=20&domain=accounts";
    let events = async {
        until_a_reader_waits(&app.db).await;
        for _ in 0..5 {
            app.append("/users", &created(Uuid::now_v7(), "ada")).await;
        }
        let event = crate::support::json::opened(Uuid::now_v7(), "ada");
        app.append("/accounts", &event).await;
        event
    };
    let (page, event) = tokio::join!(app.read(path), events);
    assert_eq!(json!(ids(&page.body)), json!([event["id"]]));
}

// Fails when a server that stops keeps its readers waiting, which delays the stop and leaves them without an answer.
#[tokio::test]
async fn a_stop_answers_the_readers_that_wait() {
    let app = App::with_db(new_db().await).await;
    let state = AppState {
        foldlog: app.db.foldlog.clone(),
        cors_origins: [].into(),
        auth: Auth::None,
        operations: Operations::None,
    };
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/events?wait=20", socket.local_addr().unwrap());
    let stop = CancellationToken::new();
    let router = http::router(state.clone(), state);
    let server = tokio::spawn(http::serve(socket, router, stop.clone()));
    // A reader of another server, which goes on. Its time is up first.
    let other = App::with_db(new_db().await).await;
    let goes_on = other.read("/events?wait=15");
    let stopped = async {
        let reader = app.client.get(url).send();
        let stop = async {
            until_a_reader_waits(&app.db).await;
            stop.cancel();
        };
        let (answer, ()) = tokio::join!(reader, stop);
        server.await.unwrap();
        answer.unwrap()
    };
    tokio::select! {
        answer = stopped => assert_eq!(answer.status(), 200),
        _ = goes_on => panic!("the reader was not answered before its time"),
    }
}
