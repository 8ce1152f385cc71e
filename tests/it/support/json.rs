//! Events as a client writes them.

use serde_json::{Value, json};
use uuid::Uuid;

/// Any event, with an id of its own.
#[expect(
    clippy::needless_pass_by_value,
    reason = "a payload is written where it is sent"
)]
pub fn event(aggregate: Uuid, type_id: i32, payload: Value) -> Value {
    json!({"id": Uuid::now_v7(), "aggregate_id": aggregate, "type_id": type_id, "payload": payload})
}

/// Creates this user.
pub fn created(user: Uuid, username: &str) -> Value {
    let email = format!("{user}@example.org");
    event(
        user,
        1000,
        json!({"id": user, "username": username, "email": email}),
    )
}

/// Changes this user's password.
pub fn password_changed(user: Uuid, password: &str) -> Value {
    event(user, 1001, json!({"password": password}))
}

/// Renames this user.
pub fn renamed(user: Uuid, username: &str) -> Value {
    event(user, 1002, json!({"username": username}))
}

/// Deletes this user.
pub fn deleted(user: Uuid) -> Value {
    event(user, 1004, json!({}))
}

/// Opens this account.
pub fn opened(account: Uuid, owner: &str) -> Value {
    event(account, 2000, json!({"owner": owner}))
}

/// A deposit.
pub fn deposited(account: Uuid, cents: i64) -> Value {
    event(account, 2001, json!({"cents": cents}))
}
