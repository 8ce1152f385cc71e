//! Migrations as a function, which reaches a database that nobody outside of its network does.

use std::sync::Arc;

use futures_util::FutureExt as _;
use lambda_runtime::{Diagnostic, LambdaEvent, Runtime, service_fn};
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use super::{begin, running};
use crate::config::Config;
use crate::domain::Domains;
use crate::run;

/// The whole of `bin/migrate.rs` where it is a function: `{"migrate":"up"}`, `"status"` or `"down"`.
///
/// # Errors
///
/// When this is no function, or the environment is not right.
pub async fn migrate(domains: Domains) -> anyhow::Result<()> {
    let config = Arc::new(begin(domains)?);
    let handler = service_fn(move |event: LambdaEvent<Value>| {
        let config = Arc::clone(&config);
        // On a thread of its own, because the compiler cannot show that what migrations wait for may change threads.
        spawn_blocking(move || Handle::current().block_on(invoke(&config, domains, &event.payload)))
            .map(|ended| ended.unwrap_or_else(|error| Err(failed(error.to_string()))))
    });
    running::until_stopped(Runtime::new(handler), &[]).await
}

async fn invoke(config: &Config, domains: Domains, payload: &Value) -> Result<Value, Diagnostic> {
    let verb = payload.as_object().filter(|fields| fields.len() == 1);
    let verb = verb.and_then(|fields| fields.get("migrate")?.as_str()?.parse().ok());
    let Some(verb) = verb else {
        return Err(Diagnostic {
            error_type: "UnknownVerb".to_owned(),
            error_message: r#"send {"migrate":"up"}, {"migrate":"status"} or {"migrate":"down"}"#
                .to_owned(),
        });
    };
    match run::migrate_database(config, domains, verb).await {
        Ok(text) => Ok(json!({ "migrate": text.lines().collect::<Vec<_>>() })),
        Err(error) => Err(failed(format!("{error:#}"))),
    }
}

fn failed(error_message: String) -> Diagnostic {
    Diagnostic {
        error_type: "MigrationFailed".to_owned(),
        error_message,
    }
}
