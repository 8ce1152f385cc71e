//! Aggregates with very many events: the cost of a request depends on the events that are not projected.

use serde_json::json;
use uuid::Uuid;

use crate::support::app::App;
use crate::support::json::{created, deleted, opened, renamed};
use crate::support::poll::wait_until;

/// A user with many events, the last of which deletes it. Stored by SQL, because appends would take long.
async fn with_many_events(app: &App, user: Uuid) {
    app.db
        .run(&format!(
            "insert into events (id, aggregate_id, version, type_id, payload)
             select gen_random_uuid(), '{user}', version,
                 case version when 1 then 1000 when 30000 then 1004 else 1002 end,
                 case version when 1 then '{created}'::jsonb when 30000 then '{{}}' else '{{\"username\":\"ada\"}}' end
             from generate_series(1, 30000) version",
            created = json!({"id": user, "username": "ada", "email": "ada@example.org"}),
        ))
        .await;
}

/// How many rows of `events` and `locker` have been read. Connections report what they read at their end.
async fn rows_read(app: &App) -> i64 {
    app.db.pool().close_idle().await;
    wait_until("the other connections have ended", async || {
        // A pooler keeps its connections until they are terminated.
        let others = "select count(pg_terminate_backend(pid)) from pg_stat_activity \
                      where datname = current_database() and pid <> pg_backend_pid()";
        app.db.count(others).await == 0
    })
    .await;
    app.db
        .count(
            "select sum(pg_stat_get_tuples_fetched(oid) + pg_stat_get_tuples_returned(oid))::bigint from pg_class \
             where relname in ('events', 'locker', 'events_aggregate_id_version_key', 'locker_pkey')",
        )
        .await
}

// Fails when a read of a deleted aggregate, or an append to one, reads the aggregate's events again.
#[tokio::test]
async fn a_deleted_aggregate_costs_the_same_however_many_events_it_has() {
    let app = App::new().await;
    let user = Uuid::now_v7();
    // Their reads would count, too.
    app.db
        .run("alter table events set (autovacuum_enabled = off); alter table locker set (autovacuum_enabled = off)")
        .await;
    with_many_events(&app, user).await;
    app.db.catch_up("users").await;
    let before = rows_read(&app).await;
    for path in ["", "?consistency=strong", "?min_version=30000"] {
        let answer = app.read(&format!("/users/{user}{path}")).await;
        answer.problem(410, "deleted");
    }
    app.append("/users", &renamed(user, "eve"))
        .await
        .problem(410, "deleted");
    app.append("/users", &created(user, "eve"))
        .await
        .problem(410, "deleted");
    // An id of another domain is recognized by its newest event, too.
    app.read(&format!("/accounts/{user}?consistency=strong"))
        .await
        .problem(404, "not-found");
    app.append("/accounts", &opened(user, "ada"))
        .await
        .problem(409, "rule-broken");
    let read = rows_read(&app).await - before;
    assert!(read < 1000, "{read} rows");
}

// Fails when events that follow the end of an aggregate, or that are not projected yet, are left out of its state.
#[tokio::test]
async fn an_aggregate_that_is_not_projected_is_folded_from_its_first_event() {
    let app = App::new().await;
    let (many, user) = (Uuid::now_v7(), Uuid::now_v7());
    with_many_events(&app, many).await;
    for path in ["", "?consistency=strong"] {
        app.read(&format!("/users/{many}{path}"))
            .await
            .problem(410, "deleted");
    }
    app.append("/users", &created(user, "ada")).await;
    app.append("/users", &renamed(user, "eve")).await;
    let strong = app.read(&format!("/users/{user}?consistency=strong")).await;
    assert_eq!(
        (&strong.body["username"], &strong.body["version"]),
        (&json!("eve"), &json!(2))
    );
    app.read(&format!("/users/{user}"))
        .await
        .problem(404, "not-found");
    app.db.catch_up("users").await;
    app.append("/users", &deleted(user)).await;
    assert_eq!(app.read(&format!("/users/{user}")).await.status, 200);
    app.read(&format!("/users/{user}?consistency=strong"))
        .await
        .problem(410, "deleted");
    app.append("/users", &renamed(user, "bob"))
        .await
        .problem(410, "deleted");
    app.db.catch_up("users").await;
    app.read(&format!("/users/{user}"))
        .await
        .problem(410, "deleted");
}

// Fails when the events of a long tail are not all folded, or when one that cannot be folded is passed over.
#[tokio::test]
async fn a_long_tail_is_folded_in_parts() {
    let app = App::new().await;
    let user = Uuid::now_v7();
    app.append("/users", &created(user, "ada")).await;
    app.db
        .run(&format!(
            "insert into events (id, aggregate_id, version, type_id, payload)
             select gen_random_uuid(), '{user}', version, 1002, jsonb_build_object('username', 'user ' || version)
             from generate_series(2, 5001) version"
        ))
        .await;
    let strong = app.read(&format!("/users/{user}?consistency=strong")).await;
    assert_eq!(
        (&strong.body["username"], &strong.body["version"]),
        (&json!("user 5001"), &json!(5001))
    );
    let answer = app.append("/users", &renamed(user, "eve")).await;
    assert_eq!(
        (answer.status, &answer.body["version"]),
        (201, &json!(5002))
    );
    app.read(&format!("/users/{user}"))
        .await
        .problem(404, "not-found");
}
