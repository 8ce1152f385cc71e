//! A view whose table a person has dropped.

use foldlog::migrations;
use uuid::Uuid;

use crate::support::app::App;
use crate::support::events::append;
use crate::support::json;
use crate::support::{TestDb, created};

/// Fails when the table of a view that a person has dropped, and which nothing else can create, is not created anew by `migrate up`, or is
/// taken for one with all rows.
#[tokio::test]
async fn a_dropped_table_is_created_by_migrate_up_and_filled_by_a_reprojection() {
    for inline in [&[][..], &["users"]] {
        let db = TestDb::with_inline(inline).await;
        let user = Uuid::now_v7();
        append(&db.foldlog, &[created(user, "ada")]).await;
        db.catch_up("users").await;
        db.run("drop table users").await;
        let views = &db.foldlog.views;
        migrations::up(
            &mut db.connect().await,
            db.pool().schema(),
            views,
            db.foldlog.inline(),
        )
        .await
        .unwrap();
        let app = App::with_db(db).await;
        let waits = app.read("/users").await;
        assert_eq!(waits.status, 503, "{waits:?}");
        let done = app
            .append("/projections", &serde_json::json!({"reproject": "users"}))
            .await;
        assert_eq!(done.status, 200, "{done:?}");
        let read = app.read(&format!("/users/{user}")).await;
        assert_eq!(read.status, 200, "{read:?}");
        let renamed = app.append("/users", &json::renamed(user, "eve")).await;
        assert_eq!(renamed.status, 201, "{renamed:?}");
    }
}
