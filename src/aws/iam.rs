//! Database logins with IAM tokens.

use std::fmt;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::OnceCell;

use super::Aws;
use crate::config::DatabaseAddress;
use crate::db::login::{UrlError, check_certificates, require_verified_tls};
use crate::db::{Login, LoginError};

/// Logs in to RDS with an IAM token. Signing a token needs no request, and RDS checks it only when a connection opens, so
/// each connection gets a new token.
pub struct IamLogin {
    options: PgConnectOptions,
    user: String,
    aws: OnceCell<Aws>,
}

impl IamLogin {
    /// The login of `user` at `address`.
    ///
    /// # Errors
    ///
    /// If the certificates named in the environment cannot be read.
    pub fn new(address: &DatabaseAddress, user: &str) -> Result<Self, UrlError> {
        let options = PgConnectOptions::new_without_pgpass()
            .host(address.host.as_deref().unwrap_or_default())
            .port(address.port.unwrap_or(5432))
            .database(address.name.as_deref().unwrap_or_default())
            .username(user);
        let options = require_verified_tls(options);
        check_certificates(&options, None)?;
        Ok(Self {
            options,
            user: user.to_owned(),
            aws: OnceCell::new(),
        })
    }
}

impl fmt::Debug for IamLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IamLogin")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl Login for IamLogin {
    fn options(&self, _: bool) -> BoxFuture<'_, Result<PgConnectOptions, LoginError>> {
        async move {
            let aws = self.aws.get_or_init(Aws::load).await;
            let (host, port) = (self.options.get_host(), self.options.get_port());
            let token = aws.database_token(host, port, &self.user).await;
            let token = token.map_err(|error| LoginError(format!("DB_IAM_AUTH: {error}")))?;
            Ok(self.options.clone().password(&token))
        }
        .boxed()
    }

    /// A new token is signed with the same credentials, so a retry would be rejected, too.
    fn may_change(&self) -> bool {
        false
    }
}
