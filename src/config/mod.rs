//! The configuration, read once at start from environment variables. One error names all variables that are invalid.

mod append;
mod auth;
mod console;
mod database;
mod environment;
mod http;
mod projection;

pub use self::append::AppendConfig;
pub use self::auth::AuthConfig;
pub use self::console::{ConsoleConfig, ConsoleMode, ConsoleSignIn};
pub use self::database::{DatabaseAddress, DatabaseConfig, DatabaseLogin};
pub use self::environment::{ConfigError, Environment};
pub use self::http::HttpConfig;
pub use self::projection::{AfterAppend, ProjectionConfig};

/// The whole configuration of a host.
///
/// ```
/// use foldlog::config::{Config, Environment};
///
/// let mut env = Environment::new(|name| (name == "BATCH_SIZE").then(|| "zero".to_owned()));
/// let config = Config::read(&mut env);
/// let error = env.finish(config).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "invalid configuration: BATCH_SIZE must be a number from 1 to 10000, not `zero`"
/// );
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    /// How to reach Postgres and log in.
    pub database: DatabaseConfig,
    /// Where the API listens and who may call it.
    pub http: HttpConfig,
    /// How events are appended.
    pub append: AppendConfig,
    /// How the views follow the events.
    pub projection: ProjectionConfig,
    /// The web console of the local server.
    pub console: ConsoleConfig,
}

impl Config {
    /// Reads the environment of this process.
    ///
    /// # Errors
    ///
    /// Names every invalid variable and what to set instead.
    pub fn from_env() -> Result<Self, ConfigError> {
        let mut env = Environment::from_process();
        let config = Self::read(&mut env);
        env.finish(config)
    }

    /// Reads all variables, and replaces invalid values by defaults. The caller checks what its host needs in addition, and then calls
    /// [`Environment::finish`], which fails if anything was invalid.
    #[must_use]
    pub fn read(env: &mut Environment<'_>) -> Self {
        Self {
            database: DatabaseConfig::read(env),
            http: HttpConfig::read(env),
            append: AppendConfig::read(env),
            projection: ProjectionConfig::read(env),
            console: ConsoleConfig::read(env),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::Pooler;

    fn config(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let mut env = Environment::new(|name| {
            let found = variables.iter().find(|(n, _)| *n == name);
            found.map(|(_, value)| (*value).to_owned())
        });
        let config = Config::read(&mut env);
        env.finish(config)
    }

    #[test]
    fn an_empty_environment_has_defaults() {
        let config = config(&[("DATABASE_URL", " ")]).unwrap();
        assert_eq!(config.http.listen.to_string(), "127.0.0.1:7755");
        assert_eq!(config.projection.batch_size, 2000);
        assert_eq!(config.append.state_cache_bytes, crate::STATE_CACHE_BYTES);
        assert!(config.projection.inline.is_empty() && config.http.cors_origins.is_empty());
        assert_eq!(config.projection.after_append, AfterAppend::None);
        assert_eq!(config.http.auth, AuthConfig::None);
        assert!(config.database.login.is_none() && config.database.pooler == Pooler::None);
        assert_eq!(config.database.schema.name(), "public");
    }

    #[test]
    fn one_error_names_every_invalid_variable() {
        let bad = [
            ("APP_SERVER_PORT", "x"),
            ("BATCH_SIZE", "0"),
            ("STATE_CACHE_BYTES", "-1"),
            ("BASE_PATH", "v1/"),
            ("CORS_ORIGINS", "https://ok.example,*"),
            ("DB_POOLER", "x"),
            ("DB_PORT", "x"),
            ("DB_SCHEMA", "X"),
            ("DB_IAM_AUTH", "x"),
            ("AUTH", "x"),
            ("AFTER_APPEND", "x"),
        ];
        let text = config(&bad).unwrap_err().to_string();
        assert!(bad.iter().all(|(name, _)| text.contains(name)), "{text}");
        assert!(!text.contains("ok.example"), "{text}");
    }

    /// Fails when a deployment that has forgotten `AUTH` starts without authentication.
    #[test]
    fn settings_of_tokens_without_auth_are_rejected() {
        for name in ["JWT_JWKS", "JWT_ISSUER", "JWT_AUDIENCE"] {
            let text = config(&[(name, "x")]).unwrap_err().to_string();
            assert!(text.contains(name) && text.contains("AUTH=jwt"), "{text}");
            let off = config(&[("AUTH", "none"), (name, "x")]).unwrap();
            assert_eq!(off.http.auth, AuthConfig::None);
        }
    }

    /// Fails when an origin is accepted that no browser sends, or a base path that no client sends.
    #[test]
    fn origins_and_base_paths_are_those_that_clients_send() {
        for (name, bad) in [
            ("CORS_ORIGINS", "https://app.example.org:443"),
            ("CORS_ORIGINS", "https://APP.example.org"),
            ("CORS_ORIGINS", "https://app.example.org/"),
            ("CORS_ORIGINS", "https://äpp.example.org"),
            ("CORS_ORIGINS", "https://app.example.org;https://b.example"),
            ("CORS_ORIGINS", "https://app.example.org:99999"),
            ("CORS_ORIGINS", "null"),
            ("BASE_PATH", "/.."),
            ("BASE_PATH", "/v1/./a"),
        ] {
            let text = config(&[(name, bad)]).unwrap_err().to_string();
            assert!(text.contains(name) && text.contains(bad), "{text}");
        }
        let origins = "https://app.example.org, http://localhost:3000,http://[::1]:8080";
        let config = config(&[("CORS_ORIGINS", origins), ("BASE_PATH", "/v1.0/a..b")]).unwrap();
        assert_eq!(config.http.cors_origins.len(), 3);
    }

    /// Fails when an error quotes a password that is part of a URL, also in a variable that should have none.
    #[test]
    fn an_error_quotes_no_password_of_a_url() {
        let url = "https://u:hunter2@login.example.org/";
        for name in [
            "AFTER_APPEND",
            "APP_SERVER_PORT",
            "AUTH",
            "BASE_PATH",
            "CONSOLE",
            "CONSOLE_CONNECT",
            "CONSOLE_ISSUER",
            "CORS_ORIGINS",
            "DB_PORT",
            "DB_SCHEMA",
        ] {
            let text = config(&[(name, url)]).unwrap_err().to_string();
            assert!(text.contains(name) && !text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn after_append_inline_is_rejected_with_its_new_name() {
        let error = config(&[("AFTER_APPEND", "inline")]).unwrap_err();
        assert!(
            error.to_string().contains("AFTER_APPEND=catch_up"),
            "{error}"
        );
        let config = config(&[("AFTER_APPEND", "catch_up")]).unwrap();
        assert_eq!(config.projection.after_append, AfterAppend::CatchUp);
    }

    #[test]
    fn two_kinds_of_credentials_are_rejected() {
        let two = [("DATABASE_URL", "postgres://h/d"), ("DB_SECRET_ARN", "x")];
        let text = config(&two).unwrap_err().to_string();
        assert!(text.contains("only one of DATABASE_URL"), "{text}");
        let text = config(&[("DB_IAM_AUTH", "true")]).unwrap_err().to_string();
        assert!(text.contains("DB_HOST, DB_NAME and DB_USER"), "{text}");
    }

    #[test]
    fn a_port_alone_listens_on_loopback() {
        for (text, address) in [
            ("80", "127.0.0.1:80"),
            (":81", "127.0.0.1:81"),
            ("0.0.0.0:82", "0.0.0.0:82"),
            ("[::1]:83", "[::1]:83"),
        ] {
            let config = config(&[("APP_SERVER_PORT", text)]).unwrap();
            assert_eq!(config.http.listen.to_string(), address);
        }
    }

    #[test]
    fn a_database_url_is_hidden_in_debug_output() {
        let config = config(&[("DATABASE_URL", "postgres://u:hunter2@h/d")]).unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
