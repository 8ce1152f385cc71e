//! Database address and credentials.

use super::Environment;
use crate::db::{Pooler, Schema};
use crate::event::Secret;

/// How to reach Postgres and log in.
#[derive(Clone, Debug, Default)]
pub struct DatabaseConfig {
    /// The credentials; `None` if the environment has none, which only the local host accepts.
    pub login: Option<DatabaseLogin>,
    /// `DB_POOLER`: what is in front of Postgres, default `none`. `transaction` is a pooler in transaction mode, `prepared` one that
    /// also tracks named statements.
    pub pooler: Pooler,
    /// `DB_SCHEMA`: the schema that holds foldlog's tables, default `public`.
    pub schema: Schema,
}

/// The credentials: exactly one of the three kinds.
#[derive(Clone, Debug)]
pub enum DatabaseLogin {
    /// `DATABASE_URL`: address and credentials together.
    Url(Secret<String>),
    /// `DB_SECRET_ARN`: a secret of AWS Secrets Manager in the format of RDS. The address given here takes precedence over the
    /// secret's; a secret that RDS manages itself holds only user and password.
    Secret {
        /// The secret's ARN or name.
        arn: String,
        /// `DB_HOST`, `DB_PORT`, `DB_NAME`.
        address: DatabaseAddress,
    },
    /// `DB_IAM_AUTH=true`: an IAM token, signed for each new connection.
    Iam {
        /// `DB_HOST`, `DB_PORT`, `DB_NAME`.
        address: DatabaseAddress,
        /// `DB_USER`.
        user: String,
    },
}

/// The parts of a database's address that the environment gives.
#[derive(Clone, Debug, Default)]
pub struct DatabaseAddress {
    /// `DB_HOST`.
    pub host: Option<String>,
    /// `DB_PORT`.
    pub port: Option<u16>,
    /// `DB_NAME`.
    pub name: Option<String>,
}

impl DatabaseConfig {
    pub(super) fn read(env: &mut Environment<'_>) -> Self {
        let poolers = [
            ("none", Pooler::None),
            ("transaction", Pooler::Transaction),
            ("prepared", Pooler::Prepared),
        ];
        Self {
            login: DatabaseLogin::read(env),
            pooler: env.choice("DB_POOLER", &poolers).unwrap_or_default(),
            schema: env
                .parse("DB_SCHEMA", Schema::EXPECTED, |_| true)
                .unwrap_or_default(),
        }
    }
}

impl DatabaseLogin {
    fn read(env: &mut Environment<'_>) -> Option<Self> {
        let address = DatabaseAddress {
            host: env.get("DB_HOST"),
            port: env.parse("DB_PORT", "a port number like 5432", |port| *port > 0),
            name: env.get("DB_NAME"),
        };
        let iam = env.choice("DB_IAM_AUTH", &[("true", true), ("false", false)]);
        let (url, arn) = (env.get("DATABASE_URL"), env.get("DB_SECRET_ARN"));
        match (url, arn, iam.unwrap_or_default()) {
            (None, None, false) => None,
            (Some(url), None, false) => Some(Self::Url(Secret::new(url))),
            (None, Some(arn), false) => Some(Self::Secret { arn, address }),
            (None, None, true) => {
                let user = env.get("DB_USER");
                if address.host.is_none() || address.name.is_none() || user.is_none() {
                    env.reject("DB_IAM_AUTH requires DB_HOST, DB_NAME and DB_USER: set all three");
                }
                let user = user.unwrap_or_default();
                Some(Self::Iam { address, user })
            }
            _ => {
                env.reject("set only one of DATABASE_URL, DB_SECRET_ARN and DB_IAM_AUTH");
                None
            }
        }
    }
}
