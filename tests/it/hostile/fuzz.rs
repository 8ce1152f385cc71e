//! Arbitrary bodies: never a 5xx, and nothing is stored unless the response says so.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value, json};
use tokio::runtime::Runtime;
use uuid::Uuid;

use super::payload;
use crate::support::app::App;

/// Arbitrary JSON, whose keys include those of events.
fn any_json() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (995_i64..2005).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        Just(json!(Uuid::nil())),
    ];
    let key = prop_oneof![
        Just("id".to_owned()),
        Just("aggregate_id".to_owned()),
        Just("type_id".to_owned()),
        Just("payload".to_owned()),
        Just("username".to_owned()),
        Just("cents".to_owned()),
        ".{0,5}",
    ];
    scalar.prop_recursive(4, 24, 4, move |inner| {
        let fields = proptest::collection::vec((key.clone(), inner.clone()), 0..5);
        prop_oneof![
            proptest::collection::vec(inner, 0..4).prop_map(Value::from),
            fields.prop_map(|fields| Value::from(fields.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// A valid event with one part replaced.
fn nearly_an_event() -> impl Strategy<Value = Value> {
    let place = prop_oneof![
        Just(""),
        Just("/id"),
        Just("/aggregate_id"),
        Just("/type_id"),
        Just("/payload"),
        Just("/payload/id"),
        Just("/payload/username"),
        Just("/payload/email"),
        Just("/metadata"),
        Just("/metadata/x"),
    ];
    (place, any_json(), any::<bool>()).prop_map(|(place, value, array)| {
        let user = Uuid::now_v7();
        let mut event = json!({
            "id": Uuid::now_v7(), "aggregate_id": user, "type_id": 1000, "payload": payload(user), "metadata": {"x": 1},
        });
        if let Some(replaced) = event.pointer_mut(place) {
            *replaced = value;
        }
        if array { json!([event]) } else { event }
    })
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let text = |json: Value| json.to_string().into_bytes();
    let broken = (nearly_an_event(), any::<prop::sample::Index>(), any::<u8>());
    prop_oneof![
        1 => proptest::collection::vec(any::<u8>(), 0..64),
        2 => any_json().prop_map(text),
        4 => nearly_an_event().prop_map(text),
        4 => broken.prop_map(move |(event, at, byte)| {
            let mut bytes = text(event);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes
        }),
    ]
}

// Fails when any input causes a panic, a database error or a state that cannot be folded, or when the response and the log
// disagree on what was stored.
#[test]
fn fuzzed_bodies_return_no_5xx_and_store_only_what_201_reports() {
    let runtime = Runtime::new().unwrap();
    let app = runtime.block_on(App::new());
    let mut runner = TestRunner::new(Config {
        cases: 400,
        failure_persistence: None,
        ..Config::default()
    });
    let paths = prop_oneof![Just("/users"), Just("/accounts"), Just("/events")];
    let result = runner.run(&(paths, body()), |(path, body)| {
        runtime.block_on(async {
            let before = app.stored().await;
            let answer = app.append_raw(path, body).await;
            let stored = app.stored().await - before;
            match answer.status {
                201 => prop_assert!(stored > 0),
                200 => prop_assert_eq!(stored, 0),
                status => {
                    prop_assert!((400..500).contains(&status), "{:?}", answer);
                    answer.problem(
                        status,
                        answer.body["type"]
                            .as_str()
                            .unwrap_or_default()
                            .rsplit(':')
                            .next()
                            .unwrap_or_default(),
                    );
                    prop_assert_eq!(stored, 0);
                }
            }
            Ok(())
        })
    });
    result.unwrap();
    runtime.block_on(async {
        // The stored events can be folded and read.
        for projection in ["users", "accounts", "ledger"] {
            let caught_up = app.db.catch_up(projection).await;
            assert!(
                caught_up.done && caught_up.parked.unwrap() == 0,
                "{caught_up:?}"
            );
        }
        assert_eq!(app.read("/users?limit=1000").await.status, 200);
        app.db.assert_views_equal_a_fold_from_scratch().await;
        drop(app);
    });
}
