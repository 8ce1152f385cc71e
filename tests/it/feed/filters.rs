//! Filters, access and limits of the feed.

use std::convert::Infallible;

use foldlog::Foldlog;
use foldlog::db::Pool;
use foldlog::domain::prelude::*;
use foldlog::domains::users::Users;
use foldlog::query::{FeedCursor, QueryError};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{ids, log_order, next, read_all, with_events};
use crate::support::TestDb;
use crate::support::app::App;
use crate::support::json::{created, opened};

/// Inserts events of a type as foreign SQL could, each of its own aggregate.
async fn insert(db: &TestDb, events: i64, type_id: i64, payload: &str) {
    db.run(&format!(
        "insert into events (id, aggregate_id, version, type_id, payload) \
         select gen_random_uuid(), gen_random_uuid(), 1, {type_id}, '{payload}' from generate_series(1, {events})"
    ))
    .await;
}

// Fails when a filter leaves out an event that matches, or shows one that does not.
#[tokio::test]
async fn the_feed_filters_by_domain_and_type() {
    let app = with_events().await;
    for (filter, condition) in [
        ("domain=users", "type_id between 1000 and 1999"),
        ("domain=accounts", "type_id between 2000 and 2999"),
        ("type=Created", "type_id = 1000"),
        ("type=Created,Deposited", "type_id in (1000, 2001)"),
        ("type=1004", "type_id = 1004"),
        ("type=Opened&domain=accounts", "type_id = 2000"),
        ("type=UsernameChanged", "type_id = 1002"),
    ] {
        let sql = format!("select id from events where {condition} order by txid, position");
        let expected: Vec<Uuid> = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
            .fetch_all(&mut app.db.connect().await)
            .await
            .unwrap();
        let expected: Vec<String> = expected.iter().map(Uuid::to_string).collect();
        for limit in ["limit=1", "limit=2", "limit=1000"] {
            assert_eq!(
                read_all(&app, &format!("{filter}&{limit}")).await,
                expected,
                "{filter}"
            );
        }
        let backward = app.read(&format!("/events?{filter}&order=desc")).await.body;
        let forward: Vec<String> = ids(&backward).into_iter().rev().collect();
        assert_eq!(forward, expected, "{filter}");
    }
}

// Fails when one request looks for a rare event through the whole log, or when a page that found none does not move on.
#[tokio::test]
async fn a_filter_looks_at_a_bounded_number_of_events_per_request() {
    let app = App::new().await;
    insert(&app.db, 25_000, 1002, r#"{"username": "ada"}"#).await;
    let rare = opened(Uuid::now_v7(), "ada");
    app.append("/accounts", &rare).await;
    insert(&app.db, 25_000, 1002, r#"{"username": "ada"}"#).await;
    let rare = rare["id"].as_str().unwrap();
    let (mut sizes, mut after) = (Vec::new(), String::new());
    for _ in 0..7 {
        let page = app
            .read(&format!("/events?domain=accounts{after}"))
            .await
            .body;
        sizes.push(ids(&page).len());
        assert!(ids(&page).iter().all(|id| id == rare));
        after = format!("&after={}", next(&page));
    }
    assert_eq!(sizes, [0, 0, 1, 0, 0, 0, 0]);
    let (mut sizes, mut before) = (Vec::new(), "&order=desc".to_owned());
    loop {
        let page = app
            .read(&format!("/events?domain=accounts{before}"))
            .await
            .body;
        sizes.push(ids(&page).len());
        match page["next"].as_str() {
            Some(next) => before = format!("&before={next}"),
            None => break,
        }
    }
    assert_eq!(sizes, [0, 0, 1, 0, 0, 0]);
    // A request that waits looks on by itself.
    let found = app.read("/events?domain=accounts&wait=20").await.body;
    assert_eq!(ids(&found), [rare]);
}

// Fails when the feed shows anything of an event whose domain the process does not serve, or stops at one; or when it hides an event
// of a served domain whose type the build does not know.
#[tokio::test]
async fn events_of_domains_that_are_not_served_are_left_out() {
    let app = App::new().await;
    let foldlog = Foldlog::builder()
        .domain::<Users>()
        .build(Pool::new(app.db.options.clone(), 2))
        .unwrap();
    app.append("/accounts", &opened(Uuid::now_v7(), "ada"))
        .await;
    insert(&app.db, 3, 9000, r#"{"owner": "ada"}"#).await;
    insert(&app.db, 1, 1999, r#"{"later": "secret"}"#).await;
    app.append("/users", &created(Uuid::now_v7(), "ada")).await;
    let page = foldlog.feed().await.unwrap();
    let shown = json!(page.events);
    let types: Vec<&Value> = (0..2).map(|at| &shown[at]["type_id"]).collect();
    assert_eq!(
        (page.events.len(), types),
        (2, vec![&json!(1999), &json!(1000)])
    );
    assert_eq!(shown[0]["payload"], Value::Null);
    assert_eq!(shown[0]["type"], Value::Null);
    assert_eq!(shown[0]["domain"], "users");
    // Served with both domains.
    let all = app.db.foldlog.feed().await.unwrap();
    assert_eq!(all.events.len(), 3);
    let rest = foldlog
        .feed()
        .starting_after(page.next.unwrap())
        .await
        .unwrap();
    assert!(rest.events.is_empty());
}

events! {
    /// Events of a domain far from that of the users.
    pub enum FarEvent in 20000..21000 {
        20000 => Opened { owner: String },
        20001 => Broken { number: Fragile },
    }
}

/// A number that is decoded with a panic if it is 13.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(transparent)]
pub struct Fragile(i64);

impl<'de> Deserialize<'de> for Fragile {
    fn deserialize<D: serde::Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        let number = i64::deserialize(json)?;
        assert_ne!(number, 13, "this number panics");
        Ok(Self(number))
    }
}

/// A far row.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct FarRow {
    owner: String,
}

#[derive(Debug)]
struct Far;

impl Domain for Far {
    const NAME: &'static str = "far";
    const VIEW: &'static str =
        "create table far (id uuid primary key, version integer not null, owner text not null)";
    type Event = FarEvent;
    type State = FarRow;
    type Error = Infallible;

    fn check(_: Option<&FarRow>, _: &FarEvent) -> Result<(), Infallible> {
        Ok(())
    }

    fn apply(row: Option<FarRow>, event: &FarEvent) -> Option<FarRow> {
        match event {
            FarEvent::Opened { owner } => Some(FarRow {
                owner: owner.clone(),
            }),
            FarEvent::Broken { .. } => row,
        }
    }
}

// Fails when events between the blocks of two served domains are shown, or take the place of one that is shown so that a reader stops.
#[tokio::test]
async fn events_between_the_blocks_of_two_domains_are_left_out() {
    let app = App::new().await;
    let foldlog = Foldlog::builder()
        .domain::<Users>()
        .domain::<Far>()
        .build(Pool::new(app.db.options.clone(), 2))
        .unwrap();
    app.append("/users", &created(Uuid::now_v7(), "ada")).await;
    insert(&app.db, 3, 2000, r#"{"owner": "ada"}"#).await;
    insert(&app.db, 1, 20000, r#"{"owner": "eve"}"#).await;
    let (mut types, mut cursor, mut pages) = (Vec::new(), FeedCursor::BEGINNING, 0);
    loop {
        let page = foldlog.feed().starting_after(cursor).limit(1).await;
        let page = page.unwrap();
        pages += 1;
        types.extend(page.events.iter().map(|event| event.type_id.0));
        if page.next == Some(cursor) {
            break;
        }
        cursor = page.next.unwrap();
    }
    assert_eq!((types, pages), (vec![1000, 20000], 6));
    let only = foldlog.feed().domain::<Far>().await.unwrap();
    assert_eq!(only.events.len(), 1);
}

// Fails when a payload whose code panics stops the feed or a history, instead of being shown as one that this build cannot decode.
#[tokio::test]
async fn a_payload_whose_code_panics_is_shown_without_it() {
    let app = App::new().await;
    let foldlog = Foldlog::builder()
        .domain::<Far>()
        .build(Pool::new(app.db.options.clone(), 2))
        .unwrap();
    let id = AggregateId(Uuid::now_v7());
    app.db
        .run(&format!(
            "insert into events (id, aggregate_id, version, type_id, payload) values
                 (gen_random_uuid(), '{id}', 1, 20000, '{{\"owner\": \"ada\"}}'),
                 (gen_random_uuid(), '{id}', 2, 20001, '{{\"number\": 13}}'),
                 (gen_random_uuid(), '{id}', 3, 20001, '{{\"number\": 14}}')"
        ))
        .await;
    for page in [
        foldlog.feed().await.unwrap(),
        foldlog.feed().newest_first(None).await.unwrap(),
    ] {
        let shown = |version: i32| {
            let mut events = page.events.iter();
            let event = events.find(|event| event.version == Version(version));
            event.unwrap().payload.as_ref().map(|json| json.get())
        };
        assert_eq!(
            [shown(1), shown(2), shown(3)],
            [Some(r#"{"owner":"ada"}"#), None, Some(r#"{"number":14}"#)]
        );
    }
    let history = foldlog.history::<Far>(id).await.unwrap();
    let decoded: Vec<bool> = history.events.iter().map(|e| e.payload.is_some()).collect();
    assert_eq!(decoded, [true, false, true]);
}

// Fails when the feed of a domain that the process does not serve looks like one without events.
#[tokio::test]
async fn the_feed_of_a_domain_that_is_not_served_is_an_error() {
    let app = App::new().await;
    app.append("/users", &created(Uuid::now_v7(), "ada")).await;
    let feed = app.db.foldlog.feed().domain::<Far>().await;
    assert!(matches!(feed, Err(QueryError::NotServed(_))), "{feed:?}");
}

// Fails when a page of large events exceeds what a host or a gateway can pass on, or when one event that is larger stops a reader.
#[tokio::test]
async fn a_page_of_large_events_ends_early() {
    let app = App::new().await;
    let large = "x".repeat(700_000);
    for _ in 0..12 {
        let event = opened(Uuid::now_v7(), &large);
        assert_eq!(app.append("/accounts", &event).await.status, 201);
    }
    let all = log_order(&app.db).await;
    let page = app.read("/events?limit=1000").await.body;
    assert!(page.to_string().len() < 5 * 1024 * 1024 + 4096);
    assert_eq!(ids(&page), all[..7]);
    assert_eq!(read_all(&app, "limit=1000").await, all);
    let backward = app.read("/events?order=desc").await.body;
    assert_eq!(ids(&backward).len(), 7);
    insert(
        &app.db,
        1,
        2000,
        &format!(r#"{{"owner": "{}"}}"#, "y".repeat(6_000_000)),
    )
    .await;
    assert_eq!(read_all(&app, "limit=1000").await.len(), 13);
}

// Fails when a filter by type misses an old revision that is shown as that type, or shows it under its old name.
#[tokio::test]
async fn a_filter_by_type_finds_old_revisions_of_the_type() {
    let app = App::new().await;
    insert(&app.db, 1, 1005, r#"{"name": "ada"}"#).await;
    insert(&app.db, 1, 1002, r#"{"username": "bob"}"#).await;
    insert(&app.db, 1, 1003, r#"{"email": "ada@example.org"}"#).await;
    for name in ["UsernameChanged", "1002"] {
        let page = app.read(&format!("/events?type={name}")).await.body;
        let events = page["result"].as_array().unwrap();
        let shown: Vec<Value> = events
            .iter()
            .map(|event| json!([event["type_id"], event["type"], event["payload"]]))
            .collect();
        let renamed = |name: &str| json!([1002, "UsernameChanged", {"username": name}]);
        assert_eq!(shown, [renamed("ada"), renamed("bob")]);
    }
}
