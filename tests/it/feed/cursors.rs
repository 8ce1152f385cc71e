//! Cursors of the feed: hostile ones, those of another log, and those of a log that has moved.

use foldlog::Foldlog;
use foldlog::db::Pool;
use foldlog::query::{FeedCursor, QueryError};
use serde_json::Value;
use uuid::Uuid;

use super::{ids, log_order, next, page_after, with_events};
use crate::restored::{age, dump_into_new_cluster, host};
use crate::support::TestDb;
use crate::support::app::App;
use crate::support::db::DOMAINS;
use crate::support::events::{append, deposited, opened};
use crate::support::json::created;
use crate::support::locks::Held;

// Fails when a malformed parameter is ignored, or its problem does not say what to send.
#[tokio::test]
async fn hostile_parameters_of_the_feed_return_400_and_say_what_to_send() {
    let app = with_events().await;
    let cursor = next(&app.read("/events?limit=1").await.body);
    let cut = &cursor[..26];
    for (query, hint) in [
        ("after=".to_owned(), "after must be the unchanged `next`"),
        ("after=!".to_owned(), "unchanged `next`"),
        (format!("after={cut}"), "unchanged `next`"),
        (format!("after={cursor}A"), "unchanged `next`"),
        (format!("after={cut}B"), "unchanged `next`"),
        (format!("after={cursor}%3D"), "unchanged `next`"),
        (format!("after=%20{cursor}"), "unchanged `next`"),
        (format!("after={}", Uuid::now_v7()), "unchanged `next`"),
        ("before=0".to_owned(), "before must be the unchanged `next`"),
        (
            format!("after={cursor}&before={cursor}"),
            "send one of them",
        ),
        (format!("after={cursor}&order=desc"), "send one of them"),
        (format!("before={cursor}&order=asc"), "send one of them"),
        ("order=DESC".to_owned(), "`asc` or `desc`"),
        ("order=".to_owned(), "`asc` or `desc`"),
        ("limit=0".to_owned(), "1 to 1000"),
        ("limit=1001".to_owned(), "1 to 1000"),
        ("wait=21".to_owned(), "0 to 20"),
        ("wait=-1".to_owned(), "0 to 20"),
        ("wait=1.5".to_owned(), "0 to 20"),
        ("wait=99999999999999999999".to_owned(), "0 to 20"),
        ("wait=1&order=desc".to_owned(), "order `asc`"),
        ("domain=nobody".to_owned(), "users, accounts"),
        ("domain=".to_owned(), "users, accounts"),
        ("domain=users&domain=accounts".to_owned(), "send it once"),
        ("type=Nothing".to_owned(), "`Nothing` is not an event type"),
        ("type=".to_owned(), "is not an event type"),
        ("type=Created,".to_owned(), "is not an event type"),
        ("type=9999".to_owned(), "is not an event type"),
        ("type=01000".to_owned(), "is not an event type"),
        (
            "type=Opened&domain=users".to_owned(),
            "`Opened` is not an event type",
        ),
        ("type=%00".to_owned(), "is not an event type"),
        ("type=Créated".to_owned(), "`Créated` is not an event type"),
        (
            format!("type={}", "x".repeat(60_000)),
            "is not an event type",
        ),
        ("domain=%FF".to_owned(), "percent-encoded UTF-8"),
        ("since=1".to_owned(), "unknown parameter `since`"),
        ("username=ada".to_owned(), "unknown parameter"),
    ] {
        let answer = app.read(&format!("/events?{query}")).await;
        let detail = answer.problem(400, "malformed");
        assert!(detail.contains(hint), "{query}: {detail}");
    }
}

// Fails when a long parameter is refused although each of its parts is right, or when many parameters are compared each with each other
// one, which takes minutes.
#[tokio::test]
async fn long_query_strings_are_read_as_a_whole() {
    let app = with_events().await;
    let short = app.read("/events?type=Created,Deleted").await.body;
    let names = vec!["Created,Deleted"; 3000].join(",");
    let long = app.read(&format!("/events?type={names}")).await;
    assert_eq!((long.status, ids(&long.body)), (200, ids(&short)));
    let many: Vec<String> = (0..9000).map(|number| format!("{number}=")).collect();
    let answer = app.read(&format!("/events?{}", many.join("&"))).await;
    let detail = answer.problem(400, "malformed");
    assert!(detail.contains("unknown parameter"), "{detail}");
}

// Fails when a cursor whose event is not in the log is accepted: after a restore from an older dump it would skip the events that
// took the place of the lost ones.
#[tokio::test]
async fn a_cursor_of_lost_events_is_refused() {
    let (app, other) = (with_events().await, App::new().await);
    let foreign = next(&app.read("/events?limit=7").await.body);
    other
        .append("/users", &created(Uuid::now_v7(), "ada"))
        .await;
    for name in ["after", "before"] {
        let answer = other.read(&format!("/events?{name}={foreign}")).await;
        let detail = answer.problem(400, "malformed");
        assert!(
            detail.contains("read the feed from its beginning"),
            "{detail}"
        );
    }
    // Another event at the same place.
    app.db
        .run(
            "alter table events disable trigger events_immutable; \
             update events set id = gen_random_uuid() where position = (select position from events order by txid, position offset 6 limit 1); \
             alter table events enable trigger events_immutable",
        )
        .await;
    let answer = app.read(&format!("/events?after={foreign}")).await;
    answer.problem(400, "malformed");
}

// Fails when a restored log hides its events until the first append, or shows them in another order.
#[tokio::test]
async fn the_feed_of_a_restored_log_shows_all_events_before_it_is_healed() {
    let app = with_events().await;
    let order = log_order(&app.db).await;
    let cursor = next(&app.read("/events?limit=3").await.body);
    let cursor = FeedCursor::decode(&cursor).unwrap();
    let behind = page_after(&app.db.foldlog, cursor).await;
    assert_eq!(behind.events.len(), order.len() - 3);
    age(&app.db, 1_000_000).await;
    // A connection that was open before, which does not look whether the log is behind.
    assert_eq!(ids(&app.read("/events").await.body), order);
    assert_eq!(app.db.count("select txid_offset from log").await, 0);
    let user = created(Uuid::now_v7(), "ada");
    app.append("/users", &user).await;
    let mut order = order;
    order.push(user["id"].as_str().unwrap().to_owned());
    assert_eq!(ids(&app.read("/events").await.body), order);
}

// Fails when a reader with an old cursor misses an event, or sees one twice, after a dump was restored into a cluster whose
// transaction counter is lower, and where the old cluster's counter was far above its newest event.
#[tokio::test]
async fn a_cursor_continues_on_a_dump_restored_into_a_new_cluster() {
    let db = TestDb::new().await;
    let account = Uuid::now_v7();
    append(&db.foldlog, &[opened(account), deposited(account, 1)]).await;
    age(&db, 1_000_000).await;
    drop(host(&db.options).pool.acquire().await.unwrap());
    append(&db.foldlog, &[deposited(account, 2)]).await;
    let early = db.foldlog.feed().limit(1).await.unwrap().next.unwrap();
    // Transactions that append nothing raise the counter.
    db.run(
        "do $$ begin for n in 1..50 loop perform pg_current_xact_id(); commit; end loop; end $$",
    )
    .await;
    let end = page_after(&db.foldlog, FeedCursor::BEGINNING).await;
    assert_eq!(end.events.len(), 3);
    let end = page_after(&db.foldlog, end.next.unwrap())
        .await
        .next
        .unwrap();
    append(&db.foldlog, &[deposited(account, 3)]).await;

    let cluster = dump_into_new_cluster(&db).await;
    let foldlog: Foldlog = Foldlog::new(
        Pool::new(cluster.options(), 4),
        DOMAINS,
        foldlog::view::Inline::new(),
    )
    .unwrap();
    let new = deposited(account, 4);
    append(&foldlog, std::slice::from_ref(&new)).await;
    let page = page_after(&foldlog, end).await;
    let payloads: Vec<&str> = page
        .events
        .iter()
        .map(|event| event.payload.as_ref().unwrap().get())
        .collect();
    assert_eq!(payloads, [r#"{"cents":3}"#, r#"{"cents":4}"#]);
    assert_eq!(page_after(&foldlog, early).await.events.len(), 4);
    foldlog.pool.close();
    cluster.stop().await;
}

// Fails when the last event before an open transaction cannot be a cursor, or a page at the horizon moves the cursor beyond an event.
#[tokio::test]
async fn a_cursor_is_always_the_place_of_an_event() {
    let db = TestDb::new().await;
    let account = Uuid::now_v7();
    append(&db.foldlog, &[opened(account)]).await;
    let held = Held::open(&db, "select pg_current_xact_id()").await;
    append(&db.foldlog, &[deposited(account, 1)]).await;
    let page = page_after(&db.foldlog, FeedCursor::BEGINNING).await;
    let again = page_after(&db.foldlog, page.next.unwrap()).await;
    assert_eq!(again.next, page.next);
    held.release().await;
    let rest = page_after(&db.foldlog, page.next.unwrap()).await;
    assert_eq!(rest.events.len(), 1);
    let unknown = TestDb::new().await;
    let refused = unknown
        .foldlog
        .feed()
        .starting_after(rest.next.unwrap())
        .await;
    assert!(
        matches!(refused, Err(QueryError::UnknownCursor)),
        "{refused:?}"
    );
    assert_eq!(Value::Null, serde_json::json!(rest.waiting));
}
