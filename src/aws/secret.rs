//! Database logins from Secrets Manager, which rotates their passwords.

use std::fmt;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde::Deserialize;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::{Mutex, OnceCell};

use super::{Aws, AwsError};
use crate::config::DatabaseAddress;
use crate::db::login::{UrlError, check_certificates, require_verified_tls};
use crate::db::{Login, LoginError};

/// A rejected login re-reads the secret only if it is older than this. Without the limit, a wrong password would cause one
/// request to Secrets Manager per connection attempt.
const MIN_REREAD_INTERVAL: Duration = Duration::from_secs(1);

/// A secret of Secrets Manager in the format of RDS. It is read for the first connection, and again when a login is
/// rejected, because the password may have been rotated.
pub struct SecretLogin {
    arn: String,
    address: DatabaseAddress,
    aws: OnceCell<Aws>,
    read: Mutex<Option<(Instant, PgConnectOptions)>>,
}

/// The format of RDS. A secret that RDS manages itself holds only user and password.
#[derive(Deserialize)]
struct RdsSecret {
    username: String,
    password: String,
    host: Option<String>,
    port: Option<Port>,
    dbname: Option<String>,
}

/// RDS writes a number; secrets written by hand often have text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Port {
    Number(u16),
    Text(String),
}

impl SecretLogin {
    /// The login in the secret `arn`. The parts of `address` take precedence over those in the secret.
    ///
    /// # Errors
    ///
    /// If the certificates named in the environment cannot be read.
    pub fn new(arn: &str, address: &DatabaseAddress) -> Result<Self, UrlError> {
        let options = PgConnectOptions::new_without_pgpass();
        let host = address.host.as_deref().unwrap_or("rds");
        check_certificates(&require_verified_tls(options.host(host)), None)?;
        Ok(Self {
            arn: arn.to_owned(),
            address: address.clone(),
            aws: OnceCell::new(),
            read: Mutex::default(),
        })
    }

    async fn read(&self) -> Result<PgConnectOptions, LoginError> {
        let aws = self.aws.get_or_init(Aws::load).await;
        let text = match aws.secret(&self.arn).await {
            // One retry: a single lost packet should not fail a connection.
            Err(AwsError::Unreachable { .. }) => aws.secret(&self.arn).await,
            result => result,
        };
        let text = text.map_err(|error| {
            LoginError(format!("cannot read the secret DB_SECRET_ARN: {error}"))
        })?;
        // The parser's error may quote the secret, so it is not repeated.
        let secret: RdsSecret = serde_json::from_str(&text).map_err(|_| {
            LoginError(
                "the secret DB_SECRET_ARN must be a JSON object with `username` and `password`"
                    .to_owned(),
            )
        })?;
        self.options(secret)
    }

    fn options(&self, secret: RdsSecret) -> Result<PgConnectOptions, LoginError> {
        let missing = |what: &str| {
            LoginError(format!(
                "the secret DB_SECRET_ARN has no {}: set DB_{what}",
                what.to_lowercase()
            ))
        };
        let host = self.address.host.clone().or(secret.host);
        let name = self.address.name.clone().or(secret.dbname);
        let port = match (self.address.port, secret.port) {
            (Some(port), _) | (None, Some(Port::Number(port))) => port,
            (None, Some(Port::Text(text))) => text.parse().map_err(|_| missing("PORT"))?,
            (None, None) => 5432,
        };
        let options = PgConnectOptions::new_without_pgpass()
            .host(&host.ok_or_else(|| missing("HOST"))?)
            .port(port)
            .database(&name.ok_or_else(|| missing("NAME"))?)
            .username(&secret.username)
            .password(&secret.password);
        Ok(require_verified_tls(options))
    }
}

impl fmt::Debug for SecretLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The cached options contain a password.
        f.debug_struct("SecretLogin")
            .field("arn", &self.arn)
            .finish_non_exhaustive()
    }
}

impl Login for SecretLogin {
    fn options(&self, refused: bool) -> BoxFuture<'_, Result<PgConnectOptions, LoginError>> {
        async move {
            let mut read = self.read.lock().await;
            match &*read {
                Some((at, options)) if !refused || at.elapsed() < MIN_REREAD_INTERVAL => {
                    Ok(options.clone())
                }
                _ => {
                    let options = self.read().await?;
                    *read = Some((Instant::now(), options.clone()));
                    Ok(options)
                }
            }
        }
        .boxed()
    }
}
