//! A login by an IAM token.

use std::fmt;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::OnceCell;

use super::Aws;
use crate::config::DatabaseAddress;
use crate::db::login::{BadUrl, readable_certificates, verified};
use crate::db::{Login, NoLogin};

/// A user of RDS that logs in with an IAM token. A token is checked only when a connection is made, is good for a quarter
/// of an hour and is signed without a call, so each connection gets one of its own.
pub struct IamLogin {
    options: PgConnectOptions,
    user: String,
    aws: OnceCell<Aws>,
}

impl IamLogin {
    /// `user` at `address`.
    ///
    /// # Errors
    ///
    /// When the certificates that the environment names cannot be read.
    pub fn new(address: &DatabaseAddress, user: &str) -> Result<Self, BadUrl> {
        let options = PgConnectOptions::new_without_pgpass()
            .host(address.host.as_deref().unwrap_or_default())
            .port(address.port.unwrap_or(5432))
            .database(address.name.as_deref().unwrap_or_default())
            .username(user);
        let options = verified(options);
        readable_certificates(&options, None)?;
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
    fn options(&self, _: bool) -> BoxFuture<'_, Result<PgConnectOptions, NoLogin>> {
        async move {
            let aws = self.aws.get_or_init(Aws::load).await;
            let (host, port) = (self.options.get_host(), self.options.get_port());
            let token = aws.database_token(host, port, &self.user).await;
            let token = token.map_err(|error| NoLogin(format!("DB_IAM_AUTH: {error}")))?;
            Ok(self.options.clone().password(&token))
        }
        .boxed()
    }

    /// A token that was refused would be refused again.
    fn may_change(&self) -> bool {
        false
    }
}
