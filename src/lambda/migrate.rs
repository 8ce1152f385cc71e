//! Migrations as a function, for a database that only its own private network can reach.

use std::sync::Arc;

use futures_util::FutureExt as _;
use lambda_runtime::{Diagnostic, LambdaEvent, Runtime, service_fn};
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use super::init;
use super::shutdown::run_until_shutdown;
use crate::config::Config;
use crate::domain::Domains;
use crate::run::{self, HostError};

/// Serves invocations with the payload `{"migrate":"up"}`, `{"migrate":"status"}`, `{"migrate":"down"}` or
/// `{"migrate":"setup-database"}`.
///
/// # Errors
///
/// If this process is not a Lambda function, or the configuration is invalid.
pub async fn migrate(domains: Domains) -> Result<(), HostError> {
    let config = Arc::new(init(domains)?);
    let handler = service_fn(move |event: LambdaEvent<Value>| {
        let config = Arc::clone(&config);
        // On a blocking thread, because the future of sqlx's migrator is not `Send`.
        spawn_blocking(move || Handle::current().block_on(invoke(&config, domains, &event.payload)))
            .map(|result| result.unwrap_or_else(|error| Err(failed(error.to_string()))))
    });
    run_until_shutdown(Runtime::new(handler), &[]).await
}

async fn invoke(config: &Config, domains: Domains, payload: &Value) -> Result<Value, Diagnostic> {
    let verb = payload.as_object().filter(|fields| fields.len() == 1);
    let verb = verb.and_then(|fields| fields.get("migrate")?.as_str()?.parse().ok());
    let Some(verb) = verb else {
        return Err(Diagnostic {
            error_type: "UnknownVerb".to_owned(),
            error_message: r#"send {"migrate":"up"}, {"migrate":"status"}, {"migrate":"down"} or {"migrate":"setup-database"}"#
                .to_owned(),
        });
    };
    match run::migrate_database(config, domains, verb).await {
        Ok(text) => Ok(json!({ "migrate": text.lines().collect::<Vec<_>>() })),
        Err(error) => Err(failed(run::error_chain(&error))),
    }
}

fn failed(error_message: String) -> Diagnostic {
    Diagnostic {
        error_type: "MigrationFailed".to_owned(),
        error_message,
    }
}
