//! Passwords: hashed before their event is stored, verified when contents are compared.

use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use futures_util::future::try_join_all;

use super::AppendError;
use crate::app::Foldlog;
use crate::event::Prepared;

/// Replaces the passwords of all events by their argon2id hashes (PHC strings), as many at once as there are cores.
pub(super) async fn hash(foldlog: &Foldlog, events: &mut [Prepared]) -> Result<(), AppendError> {
    let plain = events.iter().flat_map(Prepared::unhashed_passwords);
    let hash = |plain: &String| {
        let plain = plain.clone();
        on_core(foldlog, move || {
            let hash = Argon2::default().hash_password(plain.as_bytes());
            hash.map(|hash| hash.to_string())
        })
    };
    let hashes = try_join_all(plain.map(hash)).await?;
    let hashes: Result<Vec<String>, _> = hashes.into_iter().collect();
    let mut hashes = hashes.map_err(|_| AppendError::Hash)?.into_iter();
    for event in events {
        let count = event.unhashed_passwords().len();
        if count > 0 {
            let of_event = hashes.by_ref().take(count).collect();
            event
                .replace_passwords(of_event)
                .map_err(|_| AppendError::Hash)?;
        }
    }
    Ok(())
}

/// Whether every password belongs to its hash.
pub(super) async fn verify(
    foldlog: &Foldlog,
    pairs: Vec<(String, String)>,
) -> Result<bool, AppendError> {
    let verify = |(plain, hash): (String, String)| {
        on_core(foldlog, move || {
            let verified = Argon2::default().verify_password(plain.as_bytes(), hash.as_str());
            verified.is_ok()
        })
    };
    let verified = try_join_all(pairs.into_iter().map(verify)).await?;
    Ok(verified.into_iter().all(|verified| verified))
}

/// Runs `work`, which keeps a core busy for some time, on a blocking thread.
async fn on_core<T: Send + 'static>(
    foldlog: &Foldlog,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, AppendError> {
    let permit = Arc::clone(&foldlog.hashing).acquire_owned().await;
    let permit = permit.map_err(|_| AppendError::Hash)?;
    // The thread goes on when the request is cancelled, so the permit belongs to the thread.
    let bounded = move || {
        let done = work();
        drop(permit);
        done
    };
    tokio::task::spawn_blocking(bounded)
        .await
        .map_err(|_| AppendError::Hash)
}
