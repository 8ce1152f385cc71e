//! The settings that docs/OPERATIONS.md recommends, and which of them differ.
//! (tests: `a_setting_that_differs_is_reported_with_what_the_guide_recommends`, `a_setting_that_is_as_good_is_not_reported`)

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

/// Where a setting is read.
#[derive(Clone, Copy)]
enum SettingSource {
    /// What the database gives the sessions of all clients. foldlog's own sessions override it.
    Database,
    /// What this session has.
    Session,
}

/// Which values are as good as the recommended one, however they are spelled.
enum Accepted {
    Boolean(bool),
    OneOf(&'static [&'static str]),
    /// At most so many seconds, but not 0.
    Seconds(f64),
    /// At most so many, but not 0.
    Count(u32),
}

struct Recommendation {
    name: &'static str,
    value: &'static str,
    read_from: SettingSource,
    accepted: Accepted,
    why: &'static str,
}

const LATE_NOTICE: &str =
    "the server notices minutes later that another client has vanished; foldlog's sessions set it";

const RECOMMENDED: &[Recommendation] = &[
    Recommendation {
        name: "fsync",
        value: "on",
        read_from: SettingSource::Session,
        accepted: Accepted::Boolean(true),
        why: "events are lost when the server's machine fails",
    },
    Recommendation {
        name: "synchronous_commit",
        value: "on",
        read_from: SettingSource::Session,
        accepted: Accepted::OneOf(&["on", "local", "remote_write", "remote_apply"]),
        why: "the newest events, which clients were told are stored, are lost when the server fails",
    },
    Recommendation {
        name: "client_connection_check_interval",
        value: "5s",
        read_from: SettingSource::Session,
        accepted: Accepted::Seconds(5.0),
        why: "a statement of a client that has vanished runs to its end and keeps its locks",
    },
    Recommendation {
        name: "jit",
        value: "off",
        read_from: SettingSource::Database,
        accepted: Accepted::Boolean(false),
        why: "Postgres compiles statements of other clients for longer than they run; foldlog's sessions turn it off",
    },
    Recommendation {
        name: "tcp_keepalives_idle",
        value: "10",
        read_from: SettingSource::Database,
        accepted: Accepted::Seconds(10.0),
        why: LATE_NOTICE,
    },
    Recommendation {
        name: "tcp_keepalives_interval",
        value: "5",
        read_from: SettingSource::Database,
        accepted: Accepted::Seconds(5.0),
        why: LATE_NOTICE,
    },
    Recommendation {
        name: "tcp_keepalives_count",
        value: "3",
        read_from: SettingSource::Database,
        accepted: Accepted::Count(3),
        why: LATE_NOTICE,
    },
];

impl Accepted {
    fn accepts(&self, value: &str) -> bool {
        match self {
            Self::Boolean(wanted) => parse_boolean(value) == Some(*wanted),
            Self::OneOf(names) => names.contains(&value),
            Self::Seconds(most) => {
                parse_seconds(value).is_some_and(|seconds| seconds > 0.0 && seconds <= *most)
            }
            Self::Count(most) => value
                .trim()
                .parse()
                .is_ok_and(|count| (1..=*most).contains(&count)),
        }
    }
}

/// A boolean as Postgres reads it in `alter database`, which keeps the spelling.
fn parse_boolean(text: &str) -> Option<bool> {
    let text = text.to_ascii_lowercase();
    // `o` alone could be either.
    let abbreviates = |word: &str, least| text.len() >= least && word.starts_with(&text);
    if text == "1" || abbreviates("on", 2) || abbreviates("true", 1) || abbreviates("yes", 1) {
        Some(true)
    } else if text == "0"
        || abbreviates("off", 2)
        || abbreviates("false", 1)
        || abbreviates("no", 1)
    {
        Some(false)
    } else {
        None
    }
}

/// A length of time in seconds. A number without a unit is seconds in the settings that are read from the database; in those of a
/// session, only 0 has no unit.
fn parse_seconds(text: &str) -> Option<f64> {
    let text = text.trim();
    let at = text.find(|c: char| c.is_ascii_alphabetic());
    let (number, unit) = text.split_at(at.unwrap_or(text.len()));
    let number: f64 = number.trim().parse().ok()?;
    let seconds = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "min" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        _ => return None,
    };
    Some(number * seconds)
}

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
                let value = match setting.read_from {
                    SettingSource::Database => of_database,
                    SettingSource::Session => of_session,
                };
                let is_met = match (setting.read_from, value.as_deref()) {
                    (_, Some(value)) => setting.accepted.accepts(value),
                    // A setting that this version of Postgres does not have.
                    (SettingSource::Session, None) => true,
                    (SettingSource::Database, None) => false,
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
