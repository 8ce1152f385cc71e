//! Stands in for `own` where there is no Unix: a local server of ours cannot be had there.

use sqlx::postgres::PgConnectOptions;

use super::Settings;

/// A server of ours: none can exist here.
#[derive(Debug)]
pub(super) enum Own {}

/// What `find_or_start` would find.
pub(super) struct Found {
    pub(super) own: Own,
    pub(super) options: PgConnectOptions,
    pub(super) url: String,
    pub(super) description: String,
}

impl Own {
    #[expect(clippy::unused_async, reason = "the same face as on Unix")]
    pub(super) async fn find_or_start(_: &Settings) -> anyhow::Result<Found> {
        anyhow::bail!(
            "a local Postgres is started on Unix systems only: set DATABASE_URL to a server that you run"
        )
    }

    #[expect(clippy::unused_async, reason = "the same face as on Unix")]
    pub(super) async fn ensure_running(&self) -> anyhow::Result<bool> {
        match *self {}
    }

    #[expect(clippy::unused_async, reason = "the same face as on Unix")]
    pub(super) async fn stop_if_last(&self) -> anyhow::Result<bool> {
        match *self {}
    }
}
