//! Passwords: hashed before anything is stored, verified where contents are compared.

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use serde_json::Value;

use super::Error;
use crate::engine::Engine;
use crate::event::NewEvent;

/// Whether there is anything to hash.
pub(super) fn has_password(engine: &Engine, event: &NewEvent<Value>) -> bool {
    let passwords = engine.passwords(event.type_id);
    passwords.iter().any(|field| {
        event
            .payload
            .get(field.as_str())
            .is_some_and(Value::is_string)
    })
}

/// The events with every password replaced by its argon2id hash (a PHC string).
pub(super) async fn hash(
    engine: &Engine,
    events: &[NewEvent<Value>],
) -> Result<Vec<NewEvent<Value>>, Error> {
    let mut sealed = events.to_vec();
    for event in &mut sealed {
        for field in engine.passwords(event.type_id) {
            let Some(Value::String(password)) = event.payload.get_mut(field.as_str()) else {
                continue;
            };
            let plain = std::mem::take(password);
            let hash = move || {
                Argon2::default()
                    .hash_password(plain.as_bytes())
                    .map(|hash| hash.to_string())
            };
            *password = on_a_core(engine, hash).await?.map_err(|_| Error::Hash)?;
        }
    }
    Ok(sealed)
}

/// Whether the payload that was sent is the one that is stored; passwords are verified, everything else is equal.
pub(super) async fn same_content(
    engine: &Engine,
    sent: &NewEvent<Value>,
    mut stored: Value,
) -> Result<bool, Error> {
    let mut rest = sent.payload.clone();
    for field in engine.passwords(sent.type_id) {
        let (sent, stored) = (take(&mut rest, field), take(&mut stored, field));
        let (Some(Value::String(plain)), Some(Value::String(hash))) = (&sent, &stored) else {
            if sent == stored {
                continue;
            }
            return Ok(false);
        };
        let (plain, hash) = (plain.clone(), hash.clone());
        let verify = move || {
            Argon2::default()
                .verify_password(plain.as_bytes(), hash.as_str())
                .is_ok()
        };
        if !on_a_core(engine, verify).await? {
            return Ok(false);
        }
    }
    Ok(same_json(&rest, &stored))
}

/// Whether two JSON values say the same. Numbers are compared by what they are worth: jsonb keeps `1e16` as it would
/// `10000000000000000`, so a fraction may come back as an integer.
fn same_json(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            a == b || (a.is_f64() != b.is_f64() && a.as_f64() == b.as_f64())
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_json(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, a)| b.get(key).is_some_and(|b| same_json(a, b)))
        }
        (a, b) => a == b,
    }
}

fn take(payload: &mut Value, field: &str) -> Option<Value> {
    payload.as_object_mut()?.remove(field)
}

/// Runs `work`, which takes a core for a while, away from the tasks that must not wait.
async fn on_a_core<T: Send + 'static>(
    engine: &Engine,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    // The work goes on when the request is given up, so the permit goes with it.
    let permit = std::sync::Arc::clone(&engine.hashing).acquire_owned().await;
    let permit = permit.map_err(|_| Error::Hash)?;
    let bounded = move || {
        let done = work();
        drop(permit);
        done
    };
    tokio::task::spawn_blocking(bounded)
        .await
        .map_err(|_| Error::Hash)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_number_that_comes_back_otherwise_written_is_the_same() {
        assert!(same_json(
            &json!({"a": [1e16, {"b": 1}]}),
            &json!({"a": [10_000_000_000_000_000_i64, {"b": 1}]})
        ));
        for other in [
            json!({"a": [1e16]}),
            json!({"a": [1e16, {"b": 2}]}),
            json!({"b": 1}),
            json!([]),
        ] {
            assert!(
                !same_json(&json!({"a": [1e16, {"b": 1}]}), &other),
                "{other}"
            );
        }
    }
}
