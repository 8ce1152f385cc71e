//! `GET /events`: the feed.

mod activity;
mod cursors;
mod filters;
mod readers;
mod waits;

use foldlog::Foldlog;
use foldlog::db::Session;
use foldlog::query::{FeedCursor, FeedPage};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::TestDb;
use crate::support::app::App;
use crate::support::db::run;
use crate::support::json::{created, deleted, deposited, opened, password_changed};
use crate::support::locks::Held;
use crate::support::workers::append_in;

/// The ids of a response's events, in their order.
fn ids(body: &Value) -> Vec<String> {
    let events = body["result"].as_array().unwrap().iter();
    events
        .map(|event| event["id"].as_str().unwrap().to_owned())
        .collect()
}

fn next(body: &Value) -> String {
    body["next"].as_str().unwrap().to_owned()
}

/// The ids of all events in log order.
async fn log_order(db: &TestDb) -> Vec<String> {
    let ids: Vec<Uuid> = sqlx::query_scalar("select id from events order by txid, position")
        .fetch_all(&mut db.connect().await)
        .await
        .unwrap();
    ids.iter().map(Uuid::to_string).collect()
}

/// Reads the feed to its end, a page at a time.
async fn read_all(app: &App, parameters: &str) -> Vec<String> {
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = app.read(&format!("/events?{parameters}{after}")).await;
        assert_eq!(page.status, 200, "{page:?}");
        let (events, cursor) = (ids(&page.body), next(&page.body));
        let is_end = events.is_empty() && after == format!("&after={cursor}");
        seen.extend(events);
        after = format!("&after={cursor}");
        if is_end {
            return seen;
        }
    }
}

async fn page_after(foldlog: &Foldlog, cursor: FeedCursor) -> FeedPage {
    foldlog
        .feed()
        .starting_after(cursor)
        .limit(1000)
        .await
        .unwrap()
}

/// An app with users and accounts, and a number of events.
async fn with_events() -> App {
    let app = App::new().await;
    for _ in 0..5 {
        let (user, account) = (Uuid::now_v7(), Uuid::now_v7());
        let several = json!([created(user, "ada"), opened(account, "ada")]);
        assert_eq!(app.append("/events", &several).await.status, 201);
        app.append("/accounts", &deposited(account, 5)).await;
        app.append("/users", &deleted(user)).await;
    }
    app
}

// Fails when a page omits, repeats or reorders an event, in either direction, or when a cursor is not where the page ends.
#[tokio::test]
async fn the_feed_has_every_event_once_in_log_order() {
    let app = with_events().await;
    let all = log_order(&app.db).await;
    assert_eq!(all.len(), 20);
    for limit in ["limit=1", "limit=3", "limit=20", "limit=1000", "order=asc"] {
        assert_eq!(read_all(&app, limit).await, all, "{limit}");
    }
    let backward: Vec<String> = all.iter().rev().cloned().collect();
    for limit in [1, 3, 20, 1000] {
        let (mut seen, mut before) = (Vec::new(), "&order=desc".to_owned());
        loop {
            let page = app.read(&format!("/events?limit={limit}{before}")).await;
            seen.extend(ids(&page.body));
            match page.body["next"].as_str() {
                Some(next) => before = format!("&before={next}"),
                None => break,
            }
        }
        assert_eq!(seen, backward, "{limit}");
    }
    // From the newest event on, forward.
    let newest = app.read("/events?order=desc&limit=1").await.body;
    let after = newest["newest"].as_str().unwrap();
    let user = Uuid::now_v7();
    let event = created(user, "grace");
    app.append("/users", &event).await;
    let page = app.read(&format!("/events?after={after}")).await.body;
    assert_eq!(ids(&page), [event["id"].as_str().unwrap()]);
    // An event is a cursor in both directions.
    let cursor = next(&page);
    let before = app.read(&format!("/events?before={cursor}&limit=20")).await;
    assert_eq!(ids(&before.body), backward);
}

// Fails when an event in the feed lacks a member, or contains a secret.
#[tokio::test]
async fn an_event_of_the_feed_has_every_member_and_no_secret() {
    let app = App::new().await;
    let user = Uuid::now_v7();
    let mut change = password_changed(user, "correct horse");
    change["metadata"] = json!({"reason": "forgotten", "number": 18_446_744_073_709_551_615_u64});
    let mut create = created(user, "ada");
    create["payload"]["password"] = json!("hunter22");
    app.append("/users", &json!([create, change])).await;
    let page = app.read("/events").await.body;
    let text = page.to_string();
    assert!(
        !text.contains("argon2") && !text.contains("password"),
        "{text}"
    );
    let events = page["result"].as_array().unwrap();
    let position = events[0]["position"].as_i64().unwrap();
    for (event, sent, version, name, payload) in [
        (
            &events[0],
            &create,
            1,
            "Created",
            json!({"id": user, "username": "ada", "email": format!("{user}@example.org")}),
        ),
        (&events[1], &change, 2, "PasswordChanged", json!({})),
    ] {
        let mut event = event.clone();
        let created_at = event.as_object_mut().unwrap().remove("created_at");
        assert!(created_at.unwrap().as_str().unwrap().ends_with('Z'));
        let metadata = sent.get("metadata").cloned().unwrap_or_else(|| json!({}));
        assert_eq!(
            event,
            json!({
                "id": sent["id"], "type_id": sent["type_id"], "type": name, "domain": "users", "aggregate_id": user,
                "version": version, "position": position + version - 1, "payload": payload, "metadata": metadata,
            })
        );
    }
}

// Fails when an empty feed has no cursor to continue from, or the cursor skips the first event.
#[tokio::test]
async fn an_empty_feed_has_a_cursor_from_which_the_first_event_is_found() {
    let app = App::new().await;
    let empty = app.read("/events").await;
    assert_eq!(
        (empty.status, ids(&empty.body), &empty.body["waiting"]),
        (200, vec![], &Value::Null)
    );
    assert_eq!(empty.header("cache-control"), "no-cache");
    let backward = app.read("/events?order=desc").await.body;
    assert_eq!(backward["next"], Value::Null);
    assert_eq!(backward["newest"], empty.body["next"]);
    let event = created(Uuid::now_v7(), "ada");
    app.append("/users", &event).await;
    let path = format!("/events?after={}", next(&empty.body));
    let page = app.read(&path).await.body;
    assert_eq!(ids(&page), [event["id"].as_str().unwrap()]);
    let before = format!("/events?before={}", next(&empty.body));
    let none = app.read(&before).await.body;
    assert_eq!((ids(&none), &none["next"]), (vec![], &Value::Null));
}

// Fails when the feed shows an event behind a transaction that is still open, skips that transaction's events later, or does not
// say that it waits.
#[tokio::test]
async fn a_late_commit_delays_the_feed_and_is_not_skipped() {
    for commits in [true, false] {
        let app = App::new().await;
        let first = created(Uuid::now_v7(), "ada");
        app.append("/users", &first).await;
        let mut slow = Held::open(&app.db, "select pg_current_xact_id()").await;
        let late = crate::support::events::opened(Uuid::now_v7());
        let (second, third) = (
            created(Uuid::now_v7(), "bob"),
            created(Uuid::now_v7(), "eve"),
        );
        app.append("/users", &second).await;
        append_in(slow.connection(), std::slice::from_ref(&late)).await;
        app.append("/users", &third).await;
        let id = |event: &Value| event["id"].as_str().unwrap().to_owned();

        let page = app.read("/events").await.body;
        assert_eq!(ids(&page), [id(&first)]);
        assert_eq!(page["waiting"]["events"], 2);
        let recorded: String = sqlx::query_scalar(
            "select to_json(created_at at time zone 'utc')#>>'{}' from events where id = $1::uuid",
        )
        .bind(id(&second).parse::<Uuid>().unwrap())
        .fetch_one(&mut app.db.connect().await)
        .await
        .unwrap();
        let since = page["waiting"]["since"].as_str().unwrap();
        let trim = |text: &str| text.trim_end_matches(['Z', '0']).to_owned();
        assert_eq!(trim(since), trim(&recorded));
        let backward = app.read("/events?order=desc").await.body;
        assert_eq!(ids(&backward), [id(&first)]);
        assert_eq!(backward["waiting"]["events"], 2);
        // Nothing of this domain waits.
        let accounts = app.read("/events?domain=accounts").await.body;
        assert_eq!(accounts["waiting"], Value::Null);

        let mut rest = vec![id(&second), id(&third)];
        if commits {
            slow.commit().await;
            rest.insert(0, late.id.to_string());
        } else {
            slow.release().await;
        }
        let path = format!("/events?after={}", next(&page));
        let page = app.read(&path).await.body;
        assert_eq!((ids(&page), &page["waiting"]), (rest, &Value::Null));
    }
}

// Fails when a transaction in another database of the cluster, which cannot append, holds the feed back; also for the role of the
// query hosts, which may not see what other sessions do.
#[tokio::test]
async fn a_transaction_of_another_database_does_not_delay_the_feed() {
    let (db, other) = (TestDb::new().await, TestDb::new().await);
    let slow = Held::open(&other, "select pg_current_xact_id()").await;
    let event = crate::support::events::opened(Uuid::now_v7());
    crate::support::events::append(&db.foldlog, std::slice::from_ref(&event)).await;
    let page = page_after(&db.foldlog, FeedCursor::BEGINNING).await;
    assert_eq!(page.events.len(), 1);
    assert_eq!(page.waiting, None);
    let mut session: Session<'static> = db.connect().await.into();
    run(&mut session, "set role foldlog_query").await;
    let shown: bool = sqlx::query_scalar(
        "select (select max(txid::text::bigint) from foldlog.events) < foldlog.feed_horizon()::text::bigint",
    )
    .fetch_one(&mut session)
    .await
    .unwrap();
    assert!(shown);
    slow.release().await;
}
