//! The environment, read once at start; every bad variable is named at once.

mod auth;
mod database;

use std::collections::BTreeSet;
use std::env;
use std::fmt;
use std::net::SocketAddr;

pub use self::auth::Auth;
pub use self::database::{Database, Place};

/// Everything that the environment says.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which Postgres, and how to log in: `DATABASE_URL`, `DB_SECRET_ARN` or `DB_IAM_AUTH`.
    pub database: Option<Database>,
    /// `DB_POOLER`: `transaction` when a pooler in that mode stands before Postgres, default `none`.
    pub pooled: bool,
    /// `APP_SERVER_PORT`: where the local server listens, default `:7755`. A port alone, with or without a colon, is that
    /// port on loopback, because `AUTH` is `none` by default; `0.0.0.0:7755` opens it to the network.
    pub listen: SocketAddr,
    /// `BATCH_SIZE`: events a batch of the catch-up, 1 to 10000, default 2000.
    pub batch_size: u32,
    /// `INLINE`: the projections folded in the append's own transaction, comma-separated; default none.
    pub inline: BTreeSet<String>,
    /// `CORS_ORIGINS`: the origins whose pages may call the API, comma-separated; default none.
    pub cors_origins: Vec<String>,
    /// `AUTH` and what belongs to it: who may call.
    pub auth: Auth,
    /// `AFTER_APPEND`: what a command does for the views after an append, default `none`.
    pub after_append: AfterAppend,
}

/// What a command function does for the views once an append is committed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AfterAppend {
    /// Nothing: the schedule or a listener projects.
    #[default]
    None,
    /// Invokes the catch-up function, `CATCH_UP_FUNCTION`, without waiting for what it does.
    Invoke(String),
    /// Catches up before it answers.
    Inline,
}

/// Variables that do not say what they should.
#[derive(Debug, thiserror::Error)]
pub struct BadConfig(Vec<String>);

impl fmt::Display for BadConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the environment is not right: {}", self.0.join("; "))
    }
}

impl Config {
    /// Reads the process's environment.
    ///
    /// # Errors
    ///
    /// Names every variable that is not right, and what it should be.
    pub fn from_env() -> Result<Self, BadConfig> {
        Self::from_env_and(|_| Vec::new())
    }

    /// The same, with what a host finds wrong beside it: a sentence each.
    ///
    /// # Errors
    ///
    /// As [`Self::from_env`].
    pub fn from_env_and(more: impl FnOnce(&Self) -> Vec<String>) -> Result<Self, BadConfig> {
        let (config, mut bad) = Self::read(|name| env::var(name).ok());
        bad.extend(more(&config));
        config.unless(bad)
    }

    /// Reads an environment given as a function.
    ///
    /// # Errors
    ///
    /// As [`Self::from_env`].
    pub fn from(get: impl Fn(&str) -> Option<String>) -> Result<Self, BadConfig> {
        let (config, bad) = Self::read(get);
        config.unless(bad)
    }

    fn unless(self, bad: Vec<String>) -> Result<Self, BadConfig> {
        if bad.is_empty() {
            Ok(self)
        } else {
            Err(BadConfig(bad))
        }
    }

    /// What can be used, and what is not right.
    fn read(get: impl Fn(&str) -> Option<String>) -> (Self, Vec<String>) {
        let get = |name: &str| get(name).filter(|value| !value.trim().is_empty());
        let list = |name: &str| -> Vec<String> {
            let value = get(name).unwrap_or_default();
            value
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(ToOwned::to_owned)
                .collect()
        };
        let mut bad = Vec::new();
        let listen = get("APP_SERVER_PORT").unwrap_or_else(|| ":7755".to_owned());
        let listen = address(&listen).unwrap_or_else(|| {
            bad.push(format!(
                "APP_SERVER_PORT is `{listen}`, but should be like `:7755` or `0.0.0.0:7755`"
            ));
            SocketAddr::from(([127, 0, 0, 1], 0))
        });
        let batch_size = get("BATCH_SIZE").map_or(Ok(2000), |text| text.parse().map_err(|_| text));
        let batch_size = match batch_size {
            Ok(size @ 1..=10_000) => size,
            Ok(size) => {
                bad.push(format!("BATCH_SIZE is {size}, but should be 1 to 10000"));
                0
            }
            Err(text) => {
                bad.push(format!(
                    "BATCH_SIZE is `{text}`, but should be a number from 1 to 10000"
                ));
                0
            }
        };
        let cors_origins = list("CORS_ORIGINS");
        for origin in &cors_origins {
            if !is_origin(origin) {
                bad.push(format!(
                    "CORS_ORIGINS holds `{origin}`, but an origin is like `https://app.example.org`"
                ));
            }
        }
        let pooled = match get("DB_POOLER").as_deref() {
            None | Some("none") => false,
            Some("transaction") => true,
            Some(other) => {
                bad.push(format!(
                    "DB_POOLER is `{other}`, but should be none or transaction"
                ));
                false
            }
        };
        let after_append = match (get("AFTER_APPEND").as_deref(), get("CATCH_UP_FUNCTION")) {
            (None | Some("none"), _) => AfterAppend::None,
            (Some("inline"), _) => AfterAppend::Inline,
            (Some("invoke"), Some(function)) => AfterAppend::Invoke(function),
            (Some("invoke"), None) => {
                bad.push("AFTER_APPEND=invoke needs CATCH_UP_FUNCTION beside it".to_owned());
                AfterAppend::None
            }
            (Some(other), _) => {
                bad.push(format!(
                    "AFTER_APPEND is `{other}`, but should be none, invoke or inline"
                ));
                AfterAppend::None
            }
        };
        let config = Self {
            database: database::read(&get, &mut bad),
            pooled,
            auth: auth::read(&get, &mut bad),
            after_append,
            listen,
            batch_size,
            inline: list("INLINE").into_iter().collect(),
            cors_origins,
        };
        (config, bad)
    }
}

fn address(text: &str) -> Option<SocketAddr> {
    let port = text.strip_prefix(':').unwrap_or(text);
    port.parse()
        .map(|port: u16| SocketAddr::from(([127, 0, 0, 1], port)))
        .ok()
        .or_else(|| text.parse().ok())
}

fn is_origin(text: &str) -> bool {
    let host = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    host.is_some_and(|host| {
        !host.is_empty()
            && host
                .chars()
                .all(|c| c.is_ascii_graphic() && !"/?#@*".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(variables: &[(&str, &str)]) -> Result<Config, BadConfig> {
        Config::from(|name| {
            variables
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn an_empty_environment_has_defaults() {
        let config = config(&[("DATABASE_URL", " ")]).unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:7755");
        assert_eq!(
            (
                config.batch_size,
                config.inline.len(),
                config.cors_origins.len()
            ),
            (2000, 0, 0)
        );
        assert!(config.database.is_none());
    }

    #[test]
    fn every_bad_variable_is_named_at_once() {
        let bad = [
            ("APP_SERVER_PORT", "x"),
            ("BATCH_SIZE", "0"),
            ("CORS_ORIGINS", "https://ok.example,*"),
            ("DB_POOLER", "x"),
            ("DB_PORT", "x"),
            ("DB_IAM_AUTH", "x"),
            ("AUTH", "x"),
            ("AFTER_APPEND", "x"),
        ];
        let text = config(&bad).unwrap_err().to_string();
        assert!(bad.iter().all(|(name, _)| text.contains(name)), "{text}");
        assert!(!text.contains("ok.example"), "{text}");
    }

    #[test]
    fn a_port_alone_is_on_loopback() {
        for (text, address) in [
            ("80", "127.0.0.1:80"),
            (":81", "127.0.0.1:81"),
            ("0.0.0.0:82", "0.0.0.0:82"),
            ("[::1]:83", "[::1]:83"),
        ] {
            assert_eq!(
                config(&[("APP_SERVER_PORT", text)])
                    .unwrap()
                    .listen
                    .to_string(),
                address
            );
        }
    }

    #[test]
    fn a_url_is_not_shown() {
        let config = config(&[("DATABASE_URL", "postgres://u:hunter2@h/d")]).unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
