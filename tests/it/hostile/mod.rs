//! Hostile requests: each gets a problem that says what to send instead, and nothing is stored.

mod bodies;
mod columns;
mod connections;
mod exact;
mod fuzz;
mod numbers;
mod panics;
mod sql_text;
mod values;

use serde_json::{Value, json};
use uuid::Uuid;

/// An event that would be stored, with one of its fields replaced by this JSON text.
fn event_with(field: &str, json_text: &str) -> String {
    let user = Uuid::now_v7();
    let mut fields = vec![
        ("id", format!("\"{}\"", Uuid::now_v7())),
        ("aggregate_id", format!("\"{user}\"")),
        ("type_id", "1000".to_owned()),
        ("payload", payload(user).to_string()),
        ("metadata", "{}".to_owned()),
    ];
    match fields.iter_mut().find(|(name, _)| *name == field) {
        Some((_, value)) => json_text.clone_into(value),
        None => fields.push((field, json_text.to_owned())),
    }
    let members: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("\"{name}\":{value}"))
        .collect();
    format!("{{{}}}", members.join(","))
}

fn payload(user: Uuid) -> Value {
    json!({"id": user, "username": "ada", "email": "ada@example.org"})
}
