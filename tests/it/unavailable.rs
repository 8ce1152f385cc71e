//! Postgres away: the API says so, with a time to come back, and recovers by itself.

use foldlog::engine::Engine;
use foldlog::view::Inline;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::TestDb;
use crate::support::app::{App, parts};
use crate::support::chaos::Chaos;
use crate::support::db::DOMAINS;

/// The API with a proxy between it and Postgres.
async fn behind_a_proxy() -> (Chaos, App) {
    let db = TestDb::new().await;
    let chaos = Chaos::before(&db.options).await;
    let engine = Engine::new(
        foldlog::db::Pool::new(chaos.options(), 10),
        DOMAINS,
        Inline::new(),
    )
    .unwrap();
    (chaos, App::with_engine(db, engine).await)
}

fn created() -> Value {
    let user = Uuid::now_v7();
    let payload = json!({"id": user, "username": "ada", "email": "ada@example.org"});
    json!({"id": Uuid::now_v7(), "aggregate_id": user, "type_id": 1000, "payload": payload})
}

// Fails when an error of the connection is taken for a mistake of ours (500), when Retry-After is missing, when the
// answer quotes the driver, or when the pool does not come back.
#[tokio::test]
async fn away_is_a_503_with_a_time_to_come_back_and_back_is_back() {
    let (mut chaos, app) = behind_a_proxy().await;
    let before = app.post("/users", &created()).await;
    assert_eq!(before.status(), 201);

    chaos.refuse().await;
    let (user, strong) = (
        created(),
        format!("/users/{}?consistency=strong", Uuid::now_v7()),
    );
    let answers = tokio::join!(
        app.post("/users", &user),
        app.get("/users"),
        app.get(&strong),
        app.get("/health")
    );
    for answer in [answers.0, answers.1, answers.2, answers.3] {
        let wait = answer.headers().get("retry-after").cloned();
        let wait: u64 = wait.unwrap().to_str().unwrap().parse().unwrap();
        assert!(wait > 0);
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        let (status, body) = parts(answer).await;
        assert_eq!(status, 503);
        assert_eq!(body["type"], "urn:foldlog:problem:unavailable");
        assert_eq!(
            body["detail"],
            "the database cannot be reached; send the request again later, an event's id makes that harmless"
        );
    }

    chaos.restore().await;
    assert_eq!(app.post("/users", &created()).await.status(), 201);
    assert_eq!(app.get("/health").await.status(), 200);
}
