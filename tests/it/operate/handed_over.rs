//! `POST /projections` where the process that serves it does not operate projections itself.

use std::sync::{Arc, Mutex, PoisonError};

use foldlog::http::Operations;
use foldlog::operate::{HandOver, HandOverError};
use futures_util::future::BoxFuture;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::auth::issuer::{set, token, trusting};
use crate::support::TestDb;
use crate::support::app::{Answer, App, send};

/// Keeps the payloads that it is given.
#[derive(Debug, Default)]
struct Kept {
    payloads: Mutex<Vec<String>>,
    is_refused: bool,
}

impl HandOver for Kept {
    fn hand_over(&self, payload: String) -> BoxFuture<'_, Result<(), HandOverError>> {
        Box::pin(async move {
            if self.is_refused {
                return Err(HandOverError("throttled".into()));
            }
            let mut payloads = self.payloads.lock().unwrap_or_else(PoisonError::into_inner);
            payloads.push(payload);
            Ok(())
        })
    }
}

async fn app(operations: Operations) -> App {
    App::with_state(TestDb::new().await, |state| {
        state.auth = trusting(&set());
        state.operations = operations;
    })
    .await
}

async fn operate(app: &App, scope: &str, payload: &Value) -> Answer {
    let request = app.request(Method::POST, "/projections").json(payload);
    send(request.bearer_auth(token(scope))).await
}

/// Fails when a verb is handed over for a caller without the scope, or with an actor or other fields that were not checked; or when a
/// payload that is not a verb is accepted.
#[tokio::test]
async fn a_verb_is_handed_over_as_it_was_checked() {
    let kept = Arc::new(Kept::default());
    let app = app(Operations::HandedOver(kept.clone())).await;
    let event = Uuid::now_v7();
    let skip = json!({"domain": "users", "event_id": event, "reason": "a typo"});
    let mut signed = skip.clone();
    signed["actor"] = json!("ada");
    let scheduled = json!({"source": "aws.scheduler", "detail-type": "x", "detail": "long"});
    for (payload, handed_over) in [
        (json!({}), json!({})),
        (scheduled, json!({})),
        (json!({"status": true}), json!({"status": true})),
        (json!({"preview": "users"}), json!({"preview": "users"})),
        (
            json!({"retry": "users", "aggregate_id": event}),
            json!({"retry": "users", "aggregate_id": event}),
        ),
        (
            json!({"reproject": "users", "max_changes": 0}),
            json!({"reproject": "users", "max_changes": 0}),
        ),
        (
            json!({"verify": "users"}),
            json!({"verify": "users", "repair": false}),
        ),
        (json!({ "skip": skip }), json!({ "skip": signed })),
    ] {
        operate(&app, "users:write users:read", &payload)
            .await
            .problem(403, "forbidden");
        let answer = operate(&app, "operate", &payload).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        let payloads = std::mem::take(&mut *kept.payloads.lock().unwrap());
        let [one] = payloads.as_slice() else {
            panic!("{payloads:?}")
        };
        assert_eq!(serde_json::from_str::<Value>(one).unwrap(), handed_over);
    }
    let mut forged = skip;
    forged["actor"] = json!("eve");
    for (payload, status, kind) in [
        (json!({ "skip": forged }), 400, "malformed"),
        (json!({"sing": true}), 400, "malformed"),
        (json!({"retry": "nothing"}), 404, "no-such-projection"),
    ] {
        operate(&app, "operate", &payload)
            .await
            .problem(status, kind);
    }
    assert!(kept.payloads.lock().unwrap().is_empty());
}

/// Fails when a verb that was not handed over is answered with 202, or the answer does not say when to retry.
#[tokio::test]
async fn a_verb_that_cannot_be_handed_over_returns_503() {
    let refused = Arc::new(Kept {
        is_refused: true,
        ..Kept::default()
    });
    for (operations, retry_after) in [
        (Operations::HandedOver(refused), "2"),
        (Operations::None, "60"),
    ] {
        let app = app(operations).await;
        operate(&app, "users:read", &json!({}))
            .await
            .problem(403, "forbidden");
        let answer = operate(&app, "operate", &json!({})).await;
        answer.problem(503, "unavailable");
        assert_eq!(answer.header("retry-after"), retry_after);
        operate(&app, "operate", &json!([]))
            .await
            .problem(400, "malformed");
    }
}
