//! The doorbell cannot refuse an append.

use foldlog::Foldlog;
use foldlog::view::Inline;
use serde_json::json;
use uuid::Uuid;

use crate::support::TestDb;
use crate::support::app::App;
use crate::support::db::DOMAINS;
use crate::support::json::{created, renamed};
use crate::support::locks::Held;

/// Takes K, as a listener that sleeps: each append rings.
const SLEEP: &str = "select pg_advisory_xact_lock(doorbell_key())";

async fn assert_appends_are_stored(app: &App, what: &str) {
    let (user, before) = (Uuid::now_v7(), app.stored().await);
    let both = json!([renamed(user, "b"), created(Uuid::now_v7(), "c")]);
    for event in [&created(user, "a"), &renamed(user, "d"), &both] {
        let answer = app.append("/users", event).await;
        assert_eq!(answer.status, 201, "{what}: {answer:?}");
    }
    assert_eq!(app.stored().await, before + 4, "{what}");
}

/// The function behind the trigger fails, as for a full queue of notifications or a full disk, with and without inline projections.
/// Fails when the append fails with it.
#[tokio::test]
async fn an_append_is_stored_when_the_doorbell_fails() {
    for inline in [Inline::new(), Inline::from(["users".to_owned()])] {
        let db = TestDb::new().await;
        let _listener = Held::open(&db, SLEEP).await;
        let foldlog = Foldlog::new(db.pool().clone(), DOMAINS, inline).unwrap();
        let app = App::with_foldlog(db, foldlog).await;
        for code in ["54000", "53100", "53200", "58030", "XX000"] {
            let fail = format!(
                "create or replace function ring() returns trigger language plpgsql as \
                 $$ begin raise exception using errcode = '{code}'; end $$"
            );
            app.db.run(&fail).await;
            assert_appends_are_stored(&app, code).await;
        }
    }
}

/// Postgres adds notifications to the queue at the commit, where no trigger can catch the error. Fails when such an append is not
/// repeated without a notification.
#[tokio::test]
async fn an_append_is_stored_when_the_queue_of_notifications_is_full_at_its_commit() {
    let app = App::new().await;
    let _listener = Held::open(&app.db, SLEEP).await;
    app.db
        .run(
            "create function fill() returns trigger language plpgsql as $$ begin \
                 if current_setting('foldlog_append.doorbell', true) is distinct from 'off' then \
                     raise program_limit_exceeded using message = 'too many notifications in the NOTIFY queue'; \
                 end if; \
                 return null; \
             end $$; \
             create constraint trigger fill after insert on events deferrable initially deferred \
                 for each row execute function fill()",
        )
        .await;
    assert_appends_are_stored(&app, "at the commit").await;
}

/// The functions that the trigger calls are replaced in the search path. Fails when the trigger notifies while the queue is half full,
/// when it does not while the queue is empty, or when plain SQL that inserts an event fails with the notification.
#[tokio::test]
async fn the_doorbell_is_silent_while_the_queue_of_notifications_is_half_full() {
    let db = TestDb::new().await;
    let _listener = Held::open(&db, SLEEP).await;
    db.run(
        "create table rung (); \
         create table queue (usage double precision); \
         create function public.pg_notification_queue_usage() returns double precision language sql as \
             'select usage from public.queue'; \
         create function public.pg_notify(text, text) returns void language sql as 'insert into public.rung default values'; \
         alter function ring() set search_path = public, pg_catalog",
    )
    .await;
    let insert = "insert into events (id, aggregate_id, version, type_id, payload) \
         values (gen_random_uuid(), gen_random_uuid(), 1, 1000, '{}')";
    for (usage, rings) in [(0.0, 1), (0.6, 1), (1.0, 1), (0.1, 2)] {
        let set = format!("delete from queue; insert into queue values ({usage}); {insert}");
        db.run(&set).await;
        assert_eq!(
            db.count("select count(*) from rung").await,
            rings,
            "{usage}"
        );
    }
    db.run(
        "create or replace function public.pg_notify(text, text) returns void language plpgsql as \
         $$ begin raise program_limit_exceeded; end $$",
    )
    .await;
    db.run(insert).await;
    assert_eq!(db.count("select count(*) from events").await, 5);
}
