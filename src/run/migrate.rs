//! `migrate`: its verbs, as a program and for the function of the same name.

use std::path::Path;
use std::str::FromStr;

use super::{HostError, build_foldlog, direct_login, print, read_config, read_env_file};
use crate::config::Config;
use crate::db::Role;
use crate::domain::Domains;
use crate::{db, migrations, telemetry};

/// What to do with the migrations of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Migration {
    /// Apply the pending migrations, then create the views that do not exist yet.
    Up,
    /// Revert the newest applied migration.
    Down,
    /// List all migrations and whether they are applied.
    Status,
    /// Apply the settings of the whole database, even if other applications live in it.
    SetupDatabase,
}

impl FromStr for Migration {
    type Err = HostError;

    fn from_str(verb: &str) -> Result<Self, HostError> {
        match verb {
            "up" => Ok(Self::Up),
            "down" => Ok(Self::Down),
            "status" => Ok(Self::Status),
            "setup-database" => Ok(Self::SetupDatabase),
            _ => Err(HostError::MigrateUsage),
        }
    }
}

/// Runs `migrate` with the arguments that follow the program's name, and prints the result.
///
/// # Errors
///
/// If the arguments or the configuration are invalid, or the database rejects a migration.
pub async fn migrate(
    domains: Domains,
    arguments: impl Iterator<Item = String>,
) -> Result<(), HostError> {
    read_env_file()?;
    telemetry::init(telemetry::Format::Text);
    let arguments: Vec<String> = arguments.collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let output = match arguments.as_slice() {
        ["create", "-n", name] => {
            let pair = migrations::create(Path::new("migrations"), name);
            let pair = pair.map_err(|error| HostError::Migration(error.into()))?;
            pair.map(|path| format!("created {}\n", path.display()))
                .concat()
        }
        [verb] => {
            let verb = verb.parse()?;
            migrate_database(&read_config(domains, None)?, domains, verb).await?
        }
        _ => return Err(HostError::MigrateUsage),
    };
    print(&output);
    Ok(())
}

/// Migrates the configured database over a direct connection. Returns one line per migration.
///
/// # Errors
///
/// If the database rejects a migration, or only a pooler can be reached.
pub async fn migrate_database(
    config: &Config,
    domains: Domains,
    migration: Migration,
) -> Result<String, HostError> {
    let login = direct_login(config)?;
    let mut connection = db::connect(&*login)
        .await
        .map_err(HostError::from_connect)?;
    let schema = &config.database.schema;
    let result = match migration {
        Migration::Up => {
            let foldlog = build_foldlog(config, domains, login, Role::Query, 1)?;
            match migrations::up(&mut connection, schema, &foldlog.views, foldlog.inline()).await {
                Ok(changed) => migrations::status(&mut connection, schema)
                    .await
                    .map(|lines| lines + &describe_changed_folds(&changed)),
                Err(error) => Err(error),
            }
        }
        Migration::Down => migrations::down(&mut connection, schema)
            .await
            .map(|reverted| match reverted {
                Some(name) => format!("reverted {name}\n"),
                None => "nothing to revert\n".to_owned(),
            }),
        Migration::SetupDatabase => migrations::setup_database(&mut connection, schema)
            .await
            .map(|()| "the settings of the database are applied\n".to_owned()),
        Migration::Status => migrations::status(&mut connection, schema).await,
    };
    result.map_err(|error| HostError::Migration(error.into()))
}

/// One line per projection that has to be reprojected.
fn describe_changed_folds(projections: &[&str]) -> String {
    let line = |projection: &&str| {
        format!(
            "the fold of {projection} has changed since its rows were written: send {{\"reproject\":\"{projection}\"}} to the \
             catch-up function or POST /projections\n"
        )
    };
    projections.iter().map(line).collect()
}
