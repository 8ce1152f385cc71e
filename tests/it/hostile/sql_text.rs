//! SQL in every string: it is stored, compared and returned as text.

use serde_json::json;
use uuid::Uuid;

use crate::support::app::App;
use crate::support::json::created;

const TEXTS: [&str; 9] = [
    "'; drop table events; --",
    "\"; drop table users; --",
    "' or '1'='1",
    "$1",
    "$$; select pg_sleep(60); $$",
    "\\'; delete from locker; --",
    "%s %n {} {0} ${jndi:ldap://x}",
    "E'\\047'/*",
    "null",
];

/// Every byte as `%xx`.
fn percent_encoded(text: &str) -> String {
    let bytes = text.bytes().map(|byte| format!("%{byte:02x}"));
    bytes.collect::<Vec<_>>().concat()
}

// Fails when a client's text becomes part of a statement instead of a bind parameter.
#[tokio::test]
async fn sql_injection_in_every_text_field_is_stored_as_text() {
    let app = App::new().await;
    for text in TEXTS {
        let mut user = created(Uuid::now_v7(), text);
        user["payload"]["email"] = json!(format!("{}@example.org", text.replace(' ', "_")));
        user["metadata"] = json!({text: text});
        assert_eq!(app.append("/users", &user).await.status, 201, "{text}");
        app.db.catch_up("users").await;
        let encoded = percent_encoded(text);
        let found = app.read(&format!("/users?username={encoded}")).await;
        let rows = found.body["result"].as_array().unwrap();
        assert_eq!(rows.len(), 1, "{text}: {found:?}");
        assert_eq!(rows[0]["username"], text);
        assert_eq!(rows[0]["email"], user["payload"]["email"]);
        for path in [
            format!("/users?{encoded}=1"),
            format!("/users?after={encoded}"),
            format!("/users?limit={encoded}"),
            format!("/users/{encoded}"),
            format!("/users/{}?consistency={encoded}", Uuid::now_v7()),
            format!("/users/{}?min_version={encoded}", Uuid::now_v7()),
        ] {
            let answer = app.read(&path).await;
            assert!(matches!(answer.status, 400 | 404), "{path}: {answer:?}");
        }
        let mut bad = created(Uuid::now_v7(), "ada");
        bad["type_id"] = json!(text);
        app.append("/users", &bad).await.problem(400, "malformed");
        app.append(&format!("/{encoded}"), &user)
            .await
            .problem(404, "no-such-route");
    }
    let stored = i64::try_from(TEXTS.len()).unwrap();
    assert_eq!(app.stored().await, stored);
    assert_eq!(app.db.count("select count(*) from locker").await, stored);
    let verbatim = "select count(*) from events where metadata ->> (payload ->> 'username') = payload ->> 'username'";
    assert_eq!(app.db.count(verbatim).await, stored);
}
