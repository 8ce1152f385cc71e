//! Reverts beside other appends.

use std::sync::Arc;

use serde_json::json;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::{changed_user, read, revert, to};
use crate::support::app::App;
use crate::support::json::renamed;

// Fails when a revert that loses a race is stored over a state that the domain has not seen, or is not decided again.
#[tokio::test]
async fn a_revert_is_decided_again_when_the_aggregate_moves() {
    let app = Arc::new(App::new().await);
    let user = changed_user(&app).await;
    let mut clients = JoinSet::new();
    for client in 0..8 {
        let app = Arc::clone(&app);
        clients.spawn(async move {
            for step in 0..10 {
                let answer = if client % 2 == 0 {
                    revert(&app, user, &to(1)).await
                } else {
                    let name = format!("name{client}{step}");
                    app.append("/users", &renamed(user, &name)).await
                };
                assert!([200, 201].contains(&answer.status), "{answer:?}");
            }
        });
    }
    clients.join_all().await;
    // A revert over the state that it has seen changes the name; decided over an outdated one it would repeat a name.
    let repeated = format!(
        "select count(*) from (select payload, lag(payload) over (order by version) as before, type_id from events \
         where aggregate_id = '{user}' and type_id = 1002) e where payload = before"
    );
    assert_eq!(app.db.count(&repeated).await, 0);
    assert!(revert(&app, user, &to(1)).await.status <= 201);
    assert_eq!(read(&app, user).await["username"], "ada");
}

// Fails when one revert that is sent several times at once is stored more than once, or gets different answers.
#[tokio::test]
async fn a_revert_sent_several_times_at_once_is_stored_once() {
    let app = Arc::new(App::new().await);
    let user = changed_user(&app).await;
    for _ in 0..5 {
        app.append("/users", &renamed(user, &Uuid::now_v7().to_string()))
            .await;
        let before = app.stored().await;
        let body = to(1);
        let mut senders = JoinSet::new();
        for _ in 0..6 {
            let (app, body) = (Arc::clone(&app), body.clone());
            senders.spawn(async move { revert(&app, user, &body).await });
        }
        let answers = senders.join_all().await;
        let stored = answers.iter().filter(|answer| answer.status == 201).count();
        assert_eq!(stored, 1, "{answers:?}");
        for answer in &answers {
            assert_eq!(answer.body["events"], answers[0].body["events"]);
            assert_ne!(answer.body["events"], json!([]));
        }
        let events = answers[0].body["events"].as_array().unwrap().len();
        assert_eq!(app.stored().await - before, i64::try_from(events).unwrap());
    }
}
