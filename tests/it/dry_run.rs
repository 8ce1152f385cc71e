//! Dry runs: they say what an append would do, and store nothing.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use uuid::Uuid;

use foldlog::domains::users::{User, UserEvent, Users};
use foldlog::event::{AggregateId, Password, Version};

use crate::support::TestDb;
use crate::support::app::{Answer, App};
use crate::support::json::{created, deleted, deposited, event, opened, password_changed, renamed};

/// Everything that an append could write.
async fn contents(app: &App) -> Vec<i64> {
    let mut counts = Vec::new();
    for table in ["events", "locker", "parked", "settled", "users", "accounts"] {
        let rows =
            format!("select coalesce(sum(hashtext(t::text)::bigint), 0)::bigint from {table} t");
        counts.push(app.db.count(&rows).await);
    }
    counts
}

async fn dry_run(app: &App, path: &str, body: &Value) -> Answer {
    let before = contents(app).await;
    let answer = app.append(&format!("{path}?dry_run=true"), body).await;
    assert_eq!(contents(app).await, before, "{body}");
    answer
}

/// Asserts that the answer to the append is what the dry run has said.
async fn assert_agrees(app: &App, planned: &Answer, done: &Answer, sent: &Value) {
    if done.status >= 400 {
        let kept = |answer: &Answer| {
            let mut body = answer.body.clone();
            body.as_object_mut().unwrap().remove("detail");
            (answer.status, body)
        };
        assert_eq!(kept(planned), kept(done), "{sent}");
        return;
    }
    assert_eq!(planned.status, 200, "{planned:?}: {sent}");
    assert_eq!(planned.body["result"], "Dry run");
    assert_eq!(planned.body["duplicate"], done.status == 200, "{sent}");
    for aggregate in planned.body["aggregates"].as_array().unwrap() {
        let id = aggregate["aggregate_id"].as_str().unwrap();
        let mut found = None;
        for domain in ["users", "accounts"] {
            let path = format!("/{domain}/{id}?consistency=strong");
            let answer = app.read(&path).await;
            if answer.status != 404 {
                found = Some(answer);
            }
        }
        let now = found.unwrap();
        if now.status == 410 {
            assert_eq!(aggregate["state"], json!(null), "{sent}");
        } else {
            assert_eq!(aggregate["state"], now.body, "{sent}");
            assert_eq!(aggregate["version"], now.body["version"]);
        }
    }
}

/// A request that may be accepted or rejected in any way.
fn random_request(random: &mut StdRng, users: &[Uuid], accounts: &[Uuid], sent: &[Value]) -> Value {
    let user = users[random.random_range(0..users.len())];
    let account = accounts[random.random_range(0..accounts.len())];
    let email = format!("{}@example.org", random.random_range(0..4));
    let name = ["ada", "eve", "bob", ""][random.random_range(0..4)];
    let pairs = random.random_range(0..3) == 0;
    let mut one = || match random.random_range(0..12) {
        0 | 1 => event(
            user,
            1000,
            json!({"id": user, "username": "ada", "email": email}),
        ),
        2 | 3 => renamed(user, name),
        4 => event(user, 1003, json!({"email": email})),
        5 => deleted(user),
        6 => event(user, 1006, json!({"username": "back", "email": email})),
        7 => password_changed(user, "secret"),
        8 => opened(account, "ada"),
        9 => deposited(account, random.random_range(0..20)),
        10 if !sent.is_empty() => sent[random.random_range(0..sent.len())].clone(),
        _ => deposited(user, 1),
    };
    let first = one();
    if !pairs || first.is_array() {
        return first;
    }
    let second = one();
    if second.is_array() {
        second
    } else {
        json!([first, second])
    }
}

// Fails when a dry run and the append that follows it disagree: in the status, the problem, or the state of an aggregate; or
// when a dry run changes a row of any table.
#[tokio::test]
async fn a_dry_run_agrees_with_the_append_and_stores_nothing() {
    for (seed, inline) in [(1, &[][..]), (2, &["users", "accounts"][..])] {
        let app = App::with_db(TestDb::with_inline(inline).await).await;
        let mut random = StdRng::seed_from_u64(seed);
        let users: Vec<Uuid> = (0..4).map(|_| Uuid::now_v7()).collect();
        let accounts: Vec<Uuid> = (0..2).map(|_| Uuid::now_v7()).collect();
        let (mut sent, mut accepted): (Vec<Value>, usize) = (Vec::new(), 0);
        for step in 0..150 {
            let body = random_request(&mut random, &users, &accounts, &sent);
            let planned = dry_run(&app, "/events", &body).await;
            let done = app.append("/events", &body).await;
            assert_agrees(&app, &planned, &done, &body).await;
            accepted += usize::from(done.status == 201);
            sent.push(body);
            if step % 40 == 39 && inline.is_empty() {
                app.db.catch_up("users").await;
                app.db.catch_up("accounts").await;
            }
        }
        assert!(
            (15..140).contains(&accepted),
            "{accepted} of 150 were accepted"
        );
    }
}

// Fails when the same holds for reverts no longer.
#[tokio::test]
async fn a_dry_run_of_a_revert_agrees_with_the_revert() {
    for (seed, inline) in [(3, &[][..]), (4, &["users"][..])] {
        let app = App::with_db(TestDb::with_inline(inline).await).await;
        let mut random = StdRng::seed_from_u64(seed);
        let user = Uuid::now_v7();
        app.append("/users", &created(user, "ada")).await;
        for _ in 0..40 {
            let change = match random.random_range(0..5) {
                0 => deleted(user),
                1 => password_changed(user, "secret"),
                2 => event(user, 1003, json!({"email": "new@example.org"})),
                _ => renamed(user, ["eve", "bob"][random.random_range(0..2)]),
            };
            app.append("/users", &change).await;
            let mut body = json!({"id": Uuid::now_v7(), "to_version": random.random_range(1..12)});
            if random.random_range(0..2) == 0 {
                body["except"] = json!(["email"]);
            }
            let path = format!("/users/{user}/revert");
            let planned = dry_run(&app, &path, &body).await;
            let done = app.append(&path, &body).await;
            if done.status == 201 || done.status >= 400 {
                assert_agrees(&app, &planned, &done, &body).await;
            }
            if done.status < 400 {
                assert_eq!(planned.body["not_restored"], done.body["not_restored"]);
                let aggregate = &planned.body["aggregates"][0];
                for name in ["version", "changes"] {
                    assert_eq!(aggregate[name], done.body[name], "{body}");
                }
            }
        }
    }
}

// Fails when the changes of a dry run are not those of the events, or a password is in them.
#[tokio::test]
async fn a_dry_run_says_what_would_change() {
    let app = App::new().await;
    let user = Uuid::now_v7();
    let first = dry_run(&app, "/users", &created(user, "ada")).await;
    let email = format!("{user}@example.org");
    assert_eq!(
        first.body["aggregates"],
        json!([{
            "aggregate_id": user,
            "version": 1,
            "state": {"id": user, "username": "ada", "email": email, "version": 1},
            "changes": {"username": [null, "ada"], "email": [null, email]},
        }])
    );
    app.append("/users", &created(user, "ada")).await;
    let events = json!([
        renamed(user, "eve"),
        renamed(user, "bob"),
        password_changed(user, "secret")
    ]);
    let next = dry_run(&app, "/users", &events).await;
    let aggregate = &next.body["aggregates"][0];
    assert_eq!(aggregate["version"], 4);
    assert_eq!(aggregate["changes"], json!({"username": ["ada", "bob"]}));
    let last = dry_run(&app, "/users", &deleted(user)).await;
    let aggregate = &last.body["aggregates"][0];
    assert_eq!(aggregate["state"], json!(null));
    assert_eq!(aggregate["changes"]["username"], json!(["ada", null]));
}

// Fails when the parameter is misread as an append, or as a dry run.
#[tokio::test]
async fn only_true_is_a_dry_run() {
    let app = App::new().await;
    let event = created(Uuid::now_v7(), "ada");
    for query in [
        "dry_run",
        "dry_run=",
        "dry_run=1",
        "dry_run=TRUE",
        "dry_run=true&dry_run=true",
    ] {
        let answer = app.append(&format!("/users?{query}"), &event).await;
        let detail = answer.problem(400, "malformed");
        assert!(detail.contains("dry_run"), "{detail}");
    }
    assert_eq!(app.stored().await, 0);
    let answer = app.append("/users?dry_run=false", &event).await;
    assert_eq!(answer.status, 201);
}

// Fails when a typed dry run stores something, in a transaction of the caller or alone, or leaves the transaction unusable.
#[tokio::test]
async fn a_typed_dry_run_stores_nothing() {
    for inline in [&[][..], &["users"][..]] {
        let app = App::with_db(TestDb::with_inline(inline).await).await;
        let (foldlog, id) = (&app.db.foldlog, AggregateId(Uuid::now_v7()));
        let created = || UserEvent::Created {
            id: id.0,
            username: "ada".to_owned(),
            email: "ada@example.org".to_owned(),
            password: Some(Password::new("secret".to_owned())),
        };
        let mut connection = app.db.connect().await;
        let mut transaction = sqlx::Connection::begin(&mut connection).await.unwrap();
        let append = foldlog.append::<Users>(id, [created()]);
        let planned = append
            .in_transaction(&mut transaction)
            .dry_run()
            .await
            .unwrap();
        assert_eq!(planned.aggregates[0].version, Version(1));
        let user: Option<User> = planned.aggregates[0].decode().unwrap();
        assert!(user.is_some());
        transaction.commit().await.unwrap();
        assert_eq!(app.stored().await, 0);
        foldlog
            .append::<Users>(id, [created()])
            .dry_run()
            .await
            .unwrap();
        assert_eq!(app.stored().await, 0);
        foldlog.append::<Users>(id, [created()]).await.unwrap();
    }
}
