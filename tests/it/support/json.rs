//! Events as JSON, as a client sends them.

use serde_json::{Value, json};
use uuid::Uuid;

/// Builds an event with a new id.
#[expect(
    clippy::needless_pass_by_value,
    reason = "a payload is written where it is sent"
)]
pub fn event(aggregate: Uuid, type_id: i32, payload: Value) -> Value {
    json!({"id": Uuid::now_v7(), "aggregate_id": aggregate, "type_id": type_id, "payload": payload})
}

/// Builds an event that creates this user.
pub fn created(user: Uuid, username: &str) -> Value {
    let email = format!("{user}@example.org");
    event(
        user,
        1000,
        json!({"id": user, "username": username, "email": email}),
    )
}

/// Builds an event that changes this user's password.
pub fn password_changed(user: Uuid, password: &str) -> Value {
    event(user, 1001, json!({"password": password}))
}

/// Builds an event that renames this user.
pub fn renamed(user: Uuid, username: &str) -> Value {
    event(user, 1002, json!({"username": username}))
}

/// Builds an event that deletes this user.
pub fn deleted(user: Uuid) -> Value {
    event(user, 1004, json!({}))
}

/// Builds an event that opens this account.
pub fn opened(account: Uuid, owner: &str) -> Value {
    event(account, 2000, json!({"owner": owner}))
}

/// Builds a deposit.
pub fn deposited(account: Uuid, cents: i64) -> Value {
    event(account, 2001, json!({"cents": cents}))
}
