//! The settings that docs/OPERATIONS.md recommends, and which of them the database has not.
//! (test: `a_setting_that_differs_is_reported_with_what_the_guide_recommends`)

use serde::Serialize;
use utoipa::ToSchema;

use crate::db::{DbError, Pool};

/// A setting that differs from the recommended one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Deviation {
    /// Its name.
    pub name: String,
    /// Its value; null if it is not set for this database.
    #[schema(required)]
    pub value: Option<String>,
    /// The recommended value.
    pub recommended: &'static str,
    /// Why.
    pub why: &'static str,
}

/// What a recommendation is about.
enum Where {
    /// What the database gives the sessions of all clients. foldlog's own sessions override it.
    Database,
    /// What this session has: any of these values is as good.
    Session(&'static [&'static str]),
    /// A limit of this session, which may have any value but 0.
    Limit,
}

struct Recommendation {
    name: &'static str,
    value: &'static str,
    place: Where,
    why: &'static str,
}

const RECOMMENDED: &[Recommendation] = &[
    Recommendation {
        name: "fsync",
        value: "on",
        place: Where::Session(&["on"]),
        why: "events are lost when the server's machine fails",
    },
    Recommendation {
        name: "synchronous_commit",
        value: "on",
        place: Where::Session(&["on", "local", "remote_write", "remote_apply"]),
        why: "the newest events, which clients were told are stored, are lost when the server fails",
    },
    Recommendation {
        name: "client_connection_check_interval",
        value: "5s",
        place: Where::Session(&["5s"]),
        why: "a statement of a client that has vanished runs to its end and keeps its locks",
    },
    Recommendation {
        name: "statement_timeout",
        value: "30s",
        place: Where::Limit,
        why: "a statement may hold its locks without a limit",
    },
    Recommendation {
        name: "lock_timeout",
        value: "5s",
        place: Where::Limit,
        why: "a request may wait for a lock without a limit",
    },
    Recommendation {
        name: "idle_in_transaction_session_timeout",
        value: "10s",
        place: Where::Limit,
        why: "a host that was frozen keeps its transaction open, and the feed waits for it",
    },
    Recommendation {
        name: "jit",
        value: "off",
        place: Where::Database,
        why: "Postgres compiles statements of other clients for longer than they run; foldlog's sessions turn it off",
    },
    Recommendation {
        name: "tcp_keepalives_idle",
        value: "10",
        place: Where::Database,
        why: "the server notices minutes later that another client has vanished; foldlog's sessions set it",
    },
    Recommendation {
        name: "tcp_keepalives_interval",
        value: "5",
        place: Where::Database,
        why: "as tcp_keepalives_idle",
    },
    Recommendation {
        name: "tcp_keepalives_count",
        value: "3",
        place: Where::Database,
        why: "as tcp_keepalives_idle",
    },
];

/// Reads which settings differ from the recommended ones.
pub(super) async fn read_deviations(pool: &Pool) -> Result<Vec<Deviation>, DbError> {
    let names: Vec<&str> = RECOMMENDED.iter().map(|setting| setting.name).collect();
    let rows: Vec<(String, Option<String>, Option<String>)> =
        sqlx::query_as(include_str!("sql/read_settings.sql"))
            .bind(names)
            .fetch_all(&mut *pool.acquire().await?)
            .await?;
    let deviations =
        RECOMMENDED
            .iter()
            .zip(rows)
            .filter_map(|(setting, (name, of_database, of_session))| {
                let value = match setting.place {
                    Where::Database => of_database,
                    Where::Session(_) | Where::Limit => of_session,
                };
                let is_met = match (&setting.place, value.as_deref()) {
                    (Where::Limit, Some(value)) => value != "0",
                    (Where::Session(good), Some(value)) => good.contains(&value),
                    (Where::Database, Some(value)) => value == setting.value,
                    // A setting that this version of Postgres does not have.
                    (Where::Session(_) | Where::Limit, None) => true,
                    (Where::Database, None) => false,
                };
                (!is_met).then_some(Deviation {
                    name,
                    value,
                    recommended: setting.value,
                    why: setting.why,
                })
            });
    Ok(deviations.collect())
}
