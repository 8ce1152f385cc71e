//! A login that Secrets Manager keeps, and changes.

use std::fmt;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde::Deserialize;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::{Mutex, OnceCell};

use super::{Aws, AwsError};
use crate::config::DatabaseAddress;
use crate::db::login::{BadUrl, readable_certificates, verified};
use crate::db::{Login, NoLogin};

/// A secret that was read so recently is not read again because of a refused login: the one who was refused had an older
/// one, or the password is wrong, and a hundred connections that ask a hundred times do not change that.
const FRESH: Duration = Duration::from_secs(1);

/// A secret of Secrets Manager in the shape that RDS gives it. It is read when the first connection is made, and once
/// more whenever a login is refused: then its password was rotated.
pub struct SecretLogin {
    arn: String,
    address: DatabaseAddress,
    aws: OnceCell<Aws>,
    read: Mutex<Option<(Instant, PgConnectOptions)>>,
}

/// The shape; the secret that RDS itself keeps holds the first two only.
#[derive(Deserialize)]
struct Shape {
    username: String,
    password: String,
    host: Option<String>,
    port: Option<Port>,
    dbname: Option<String>,
}

/// A number; hand-made secrets have it as a text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Port {
    Number(u16),
    Text(String),
}

impl SecretLogin {
    /// The login in the secret `arn`; what `address` says comes before what the secret says.
    ///
    /// # Errors
    ///
    /// When the certificates that the environment names cannot be read.
    pub fn new(arn: &str, address: &DatabaseAddress) -> Result<Self, BadUrl> {
        let options = PgConnectOptions::new_without_pgpass();
        let host = address.host.as_deref().unwrap_or("rds");
        readable_certificates(&verified(options.host(host)), None)?;
        Ok(Self {
            arn: arn.to_owned(),
            address: address.clone(),
            aws: OnceCell::new(),
            read: Mutex::default(),
        })
    }

    async fn read(&self) -> Result<PgConnectOptions, NoLogin> {
        let aws = self.aws.get_or_init(Aws::load).await;
        let text = match aws.secret(&self.arn).await {
            // Once more: a single lost packet is no reason to be away.
            Err(AwsError::Unreachable { .. }) => aws.secret(&self.arn).await,
            answered => answered,
        };
        let text = text.map_err(|error| NoLogin(format!("the secret DB_SECRET_ARN: {error}")))?;
        // The parser's own message may quote the secret.
        let shape: Shape = serde_json::from_str(&text).map_err(|_| {
            NoLogin(
                "the secret DB_SECRET_ARN is no JSON object with username and password".to_owned(),
            )
        })?;
        self.options(shape)
    }

    fn options(&self, shape: Shape) -> Result<PgConnectOptions, NoLogin> {
        let missing = |what: &str| {
            NoLogin(format!(
                "neither DB_{what} nor the secret DB_SECRET_ARN says the database's {}",
                what.to_lowercase()
            ))
        };
        let host = self.address.host.clone().or(shape.host);
        let name = self.address.name.clone().or(shape.dbname);
        let port = match (self.address.port, shape.port) {
            (Some(port), _) | (None, Some(Port::Number(port))) => port,
            (None, Some(Port::Text(text))) => text.parse().map_err(|_| missing("PORT"))?,
            (None, None) => 5432,
        };
        let options = PgConnectOptions::new_without_pgpass()
            .host(&host.ok_or_else(|| missing("HOST"))?)
            .port(port)
            .database(&name.ok_or_else(|| missing("NAME"))?)
            .username(&shape.username)
            .password(&shape.password);
        Ok(verified(options))
    }
}

impl fmt::Debug for SecretLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What was read holds a password.
        f.debug_struct("SecretLogin")
            .field("arn", &self.arn)
            .finish_non_exhaustive()
    }
}

impl Login for SecretLogin {
    fn options(&self, refused: bool) -> BoxFuture<'_, Result<PgConnectOptions, NoLogin>> {
        async move {
            let mut read = self.read.lock().await;
            match &*read {
                Some((at, options)) if !refused || at.elapsed() < FRESH => Ok(options.clone()),
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
