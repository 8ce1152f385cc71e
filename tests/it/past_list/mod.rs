//! `GET /{domain}?as_of=`: lists of the past.

mod model;

use std::time::Instant;

use foldlog::event::{AggregateId, Version};
use foldlog::state::{self, PastBudget};
use foldlog::view::PageCursor;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use crate::support::TestDb;
use crate::support::app::{Answer, App};
use crate::support::json::{created, deleted, opened, password_changed, renamed};

/// Appends one event; returns when it was recorded.
async fn append(app: &App, path: &str, event: &Value) -> OffsetDateTime {
    let answer = app.append(path, event).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    recorded_at(&app.db, event["id"].as_str().unwrap()).await
}

async fn recorded_at(db: &TestDb, event: &str) -> OffsetDateTime {
    let sql = format!("select created_at from events where id = '{event}'");
    sqlx::query_scalar(AssertSqlSafe(sql))
        .fetch_one(&mut db.connect().await)
        .await
        .unwrap()
}

fn text(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).unwrap()
}

async fn list(app: &App, time: &str, parameters: &str) -> Answer {
    let time = time.replace('+', "%2B");
    app.read(&format!("/users?as_of={time}{parameters}")).await
}

async fn names(app: &App, time: &str) -> Vec<String> {
    let page = list(app, time, "").await;
    assert_eq!(page.status, 200, "{page:?}");
    assert_eq!(page.body["next"], Value::Null);
    let rows = page.body["result"].as_array().unwrap().iter();
    rows.map(|row| row["username"].as_str().unwrap().to_owned())
        .collect()
}

const MICROSECOND: time::Duration = time::Duration::microseconds(1);

// Fails when a list does not have the rows as of its time: one is too new, missing because it was deleted later, or not folded up to
// the last event at that time; or when a past row shows a secret.
#[tokio::test]
async fn a_list_as_of_a_time_has_the_rows_of_that_time() {
    let app = App::new().await;
    let (ada, bob) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let first = append(&app, "/users", &created(ada, "ada")).await;
    append(&app, "/accounts", &opened(Uuid::from_u128(3), "ada")).await;
    let second = append(&app, "/users", &created(bob, "bob")).await;
    append(&app, "/users", &password_changed(bob, "correct horse")).await;
    let third = append(&app, "/users", &renamed(ada, "countess")).await;
    let fourth = append(&app, "/users", &deleted(ada)).await;
    // Projected or not makes no difference.
    for _ in 0..2 {
        for (time, expected) in [
            (first - MICROSECOND, &[][..]),
            (first, &["ada"]),
            (second - MICROSECOND, &["ada"]),
            (second, &["ada", "bob"]),
            (third, &["countess", "bob"]),
            (fourth - MICROSECOND, &["countess", "bob"]),
            (fourth, &["bob"]),
            (fourth + time::Duration::days(365_000), &["bob"]),
        ] {
            assert_eq!(names(&app, &text(time)).await, expected, "{time}");
        }
        app.db.catch_up("users").await;
    }
    let page = list(&app, &text(fourth), "").await.body;
    let bob =
        json!({"id": bob, "username": "bob", "email": format!("{bob}@example.org"), "version": 2});
    assert_eq!(page["result"], json!([bob]));
}

// Fails when a time is compared in another offset than its own, or rounded instead of cut to the microseconds of events.
#[tokio::test]
async fn as_of_accepts_any_offset_and_precision() {
    let app = App::new().await;
    let first = append(&app, "/users", &created(Uuid::from_u128(1), "ada")).await;
    let cut = text(first - MICROSECOND);
    let cut = cut.trim_end_matches('Z');
    let digits = cut.split('.').nth(1).unwrap_or_default().len();
    let fill = if digits == 0 { "." } else { "" };
    let nines = format!("{cut}{fill}{}999Z", "0".repeat(6 - digits));
    let minus = time::UtcOffset::from_hms(-11, -30, 0).unwrap();
    for (time, found) in [
        (text(first.to_offset(minus)), 1),
        (text((first - MICROSECOND).to_offset(minus)), 0),
        (nines, 0),
        ("0000-01-01T00:00:00Z".to_owned(), 0),
        ("0001-01-01T00:00:00+23:59".to_owned(), 0),
        ("1969-12-31T23:59:59.9999999Z".to_owned(), 0),
        ("9999-12-31T23:59:59.999999999Z".to_owned(), 1),
        ("9999-12-31T23:59:59-23:59".to_owned(), 1),
        ("2999-01-01t00:00:00z".to_owned(), 1),
    ] {
        assert_eq!(names(&app, &time).await.len(), found, "{time}");
    }
}

// Fails when a hostile value of `as_of` or `consistency` is accepted, or returns anything but a sentence that says what to send.
#[tokio::test]
async fn hostile_list_parameters_return_400_and_say_what_to_send() {
    let app = App::new().await;
    let now = "2026-01-01T00:00:00Z";
    for (query, hint) in [
        ("as_of=", "RFC 3339"),
        ("as_of=yesterday", "RFC 3339"),
        ("as_of=2026-01-01", "RFC 3339"),
        ("as_of=2026-01-01T00:00:00", "RFC 3339"),
        ("as_of=2026-02-30T00:00:00Z", "RFC 3339"),
        ("as_of=10000-01-01T00:00:00Z", "RFC 3339"),
        ("as_of=infinity", "RFC 3339"),
        ("as_of=1767225600", "RFC 3339"),
        ("as_of=2026-01-01T00:00:00%2B99:00", "RFC 3339"),
        ("as_of=2026-01-01T00:00:00Z%00", "RFC 3339"),
        ("consistency=", "`eventual` or `strong`"),
        ("consistency=STRONG", "`eventual` or `strong`"),
        (&format!("as_of={now}&as_of={now}"), "send it once"),
        (&format!("as_of={now}&consistency=strong"), "leave it out"),
        (
            &format!("as_of={now}&consistency=x"),
            "`eventual` or `strong`",
        ),
        (&format!("as_of={now}&password_hash=x"), "can filter by"),
        ("consistency=strong&password_hash=x", "can filter by"),
        (&format!("as_of={now}&limit=0"), "1 to 1000"),
        (&format!("as_of={now}&after=!"), "unchanged `next`"),
        (&format!("as_of={now}&username=a%00b"), "NUL"),
        (&format!("as_of={now}&min_version=1"), "can filter by"),
    ] {
        let answer = app.read(&format!("/users?{query}")).await;
        assert_eq!(answer.status, 400, "{query}");
        let detail = answer.problem(400, "malformed");
        assert!(detail.contains(hint), "{query}: {detail}");
    }
    for moment in [format!("as_of={now}"), "consistency=strong".to_owned()] {
        // More often than Postgres plans a statement anew.
        for _ in 0..8 {
            let answer = app
                .read(&format!("/accounts?{moment}&balance_cents=abc"))
                .await;
            let detail = answer.problem(400, "malformed");
            assert!(detail.contains("check balance_cents"), "{detail}");
        }
    }
}

// Fails when an aggregate with many events is held in memory as a whole, or is folded only in part.
#[tokio::test]
async fn an_aggregate_with_many_events_is_folded_to_its_last_event_at_that_time() {
    let app = App::new().await;
    insert_account(&app.db, Uuid::from_u128(7), 5000).await;
    for (seconds, version) in [
        (1, 1),
        (999, 999),
        (1000, 1000),
        (1001, 1001),
        (2500, 2500),
        (5001, 5000),
    ] {
        let time = OffsetDateTime::parse("2026-01-01T00:00:00Z", &Rfc3339).unwrap();
        let time = text(time + time::Duration::seconds(seconds));
        let page = app.read(&format!("/accounts?as_of={time}")).await.body;
        let row = &page["result"][0];
        assert_eq!(
            (&row["version"], &row["balance_cents"]),
            (&json!(version), &json!(version - 1))
        );
    }
}

// Fails when a page of a domain with few aggregates among many of another domain is wrong, or has no end.
#[tokio::test]
async fn aggregates_of_other_domains_do_not_end_a_page() {
    let app = App::new().await;
    app.db
        .run(
            "insert into events (id, aggregate_id, version, type_id, payload) \
             select gen_random_uuid(), lpad(to_hex(n), 32, '0')::uuid, 1, 2000, '{\"owner\": \"ada\"}' \
             from generate_series(10, 25000) n",
        )
        .await;
    for id in [1, 12_000_000, u128::MAX] {
        app.append("/users", &created(Uuid::from_u128(id), "ada"))
            .await;
    }
    let now = text(OffsetDateTime::now_utc() + time::Duration::days(1));
    let page = list(&app, &now, "").await.body;
    assert_eq!(page["result"].as_array().unwrap().len(), 3);
    assert_eq!(page["next"], Value::Null);
}

// Fails when a row that cannot be folded is left out, or shown as of an earlier event.
#[tokio::test]
async fn an_aggregate_that_cannot_be_folded_fails_its_page_with_503() {
    let app = App::new().await;
    let user = Uuid::from_u128(5);
    append(&app, "/users", &created(user, "ada")).await;
    app.db
        .run(&format!(
            "insert into events (id, aggregate_id, version, type_id, payload) \
             values (gen_random_uuid(), '{user}', 2, 1002, '{{\"surname\": 1}}')"
        ))
        .await;
    let now = text(OffsetDateTime::now_utc() + time::Duration::days(1));
    let page = list(&app, &now, "").await;
    let detail = page.problem(503, "unavailable");
    assert!(detail.contains("cannot be folded"), "{detail}");
    // A page that ends before it has nothing to do with it.
    for number in [1, 2, 3, 8] {
        append(&app, "/users", &created(Uuid::from_u128(number), "ada")).await;
    }
    let mut after = String::new();
    for limit in ["limit=1", "limit=2&username=ada"] {
        let page = list(&app, &now, &format!("&{limit}{after}")).await;
        assert_eq!(page.status, 200, "{page:?}");
        after = format!("&after={}", page.body["next"].as_str().unwrap());
    }
    list(&app, &now, &format!("&limit=1{after}"))
        .await
        .problem(503, "unavailable");
    let behind = PageCursor::decode("AAAAAAAAAAAAAAAAAAAABQ").unwrap();
    let rest = list(&app, &now, &format!("&after={}", behind.encode())).await;
    assert_eq!(rest.body["result"].as_array().unwrap().len(), 1);
}

/// Inserts an account with this number of events.
async fn insert_account(db: &TestDb, account: Uuid, events: i64) {
    db.run(&format!(
        "insert into events (id, aggregate_id, version, type_id, payload, created_at) \
         select gen_random_uuid(), '{account}', n, case n when 1 then 2000 else 2001 end, \
             case n when 1 then '{{\"owner\": \"ada\"}}'::jsonb else '{{\"cents\": 1}}' end, \
             timestamptz '2026-01-01T00:00:00Z' + n * interval '1 s' \
         from generate_series(1, {events}) n"
    ))
    .await;
}

// Fails when a page folds further aggregates after its share of work is done, stops within one, or never gets past one that is larger
// than the share.
#[tokio::test]
async fn a_page_ends_before_the_aggregate_that_exceeds_its_share_of_work() {
    let app = App::new().await;
    for number in 1..=4 {
        insert_account(&app.db, Uuid::from_u128(number), 2500).await;
    }
    let foldlog = &app.db.foldlog;
    let view = foldlog.view("accounts").unwrap();
    let mut connection = foldlog.pool.acquire().await.unwrap();
    let budget = |events, folds_first| PastBudget {
        states: 10,
        events,
        deadline: Instant::now() + std::time::Duration::from_mins(1),
        folds_first,
    };
    let time = OffsetDateTime::now_utc();
    let past = PastBudget {
        deadline: Instant::now(),
        ..budget(usize::MAX, true)
    };
    for (budget, after, numbers, is_cut) in [
        // The statement reads the first thousand events of each.
        (budget(4000 + 1500 + 1500, true), None, vec![1, 2], true),
        (budget(4000 + 1500 + 1499, true), None, vec![1], true),
        (budget(1, true), None, vec![1], true),
        (past, None, vec![1], true),
        (budget(1, true), Some(1), vec![2], true),
        (budget(1, false), Some(1), vec![], true),
        (budget(usize::MAX, false), Some(1), vec![2, 3, 4], false),
    ] {
        let after = after.map(|number| AggregateId(Uuid::from_u128(number)));
        let page = state::load_past_page(&mut connection, view, after, time, budget).await;
        let page = page.unwrap();
        let ids = page.states.iter().map(|(id, _)| id.0.as_u128());
        assert_eq!((ids.collect::<Vec<_>>(), page.is_cut), (numbers, is_cut));
        let last = page.states.last().map(|(id, _)| *id).or(after);
        assert!(!is_cut || page.last == last);
        for (_, state) in page.states {
            assert_eq!(state.version, Version(2500));
        }
    }
}
