//! A function under way.

use std::path::Path;

use serde_json::Value;
use sqlx::postgres::PgConnectOptions;

use crate::bins::program::{Program, url};
use crate::support::runtime_api::RuntimeApi;
use crate::tidy::read;

pub const COMMAND: &str = env!("CARGO_BIN_EXE_command");
pub const QUERY: &str = env!("CARGO_BIN_EXE_query");
pub const CATCH_UP: &str = env!("CARGO_BIN_EXE_catch_up");

/// A function's process and what invokes it.
pub struct Function {
    pub api: RuntimeApi,
    pub program: Program,
}

impl Function {
    /// Starts it on a database.
    pub async fn start(database: &PgConnectOptions, binary: &str, env: &[(&str, &str)]) -> Self {
        let api = RuntimeApi::start().await;
        let database = url(database);
        let mut all = vec![("DATABASE_URL", &*database)];
        all.extend(api.env());
        all.extend(env);
        let program = Program::start(binary, &[], &all);
        Self { api, program }
    }

    pub async fn invoke(&self, payload: &Value) -> Value {
        self.api.invoke(payload).await
    }

    /// Asks it to end, and checks that it ends well.
    pub async fn end(self) {
        self.program.terminate().await.well();
        assert_eq!(self.api.init_errors(), 0);
    }
}

/// One of `events/`.
pub fn event(name: &str) -> Value {
    serde_json::from_str(&read(Path::new(&format!("events/{name}.json")))).unwrap()
}
