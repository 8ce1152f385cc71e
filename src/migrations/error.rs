//! Why a database cannot be migrated.

use std::path::PathBuf;

use sqlx::migrate::MigrateError;

use crate::db::DbError;
use crate::view::DefineError;

/// Why a database cannot be migrated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrationError {
    /// A migration failed, was changed after it was applied, or is of a newer foldlog.
    #[error("a migration failed")]
    Migrate(#[from] MigrateError),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// A view could not be created.
    #[error(transparent)]
    View(#[from] DefineError),
    /// An earlier build found its schema through the search path of the login.
    #[error(
        "foldlog's tables are in the schema `{found}`, not in `{schema}`: set DB_SCHEMA={found}"
    )]
    OtherSchema {
        /// The schema that the tables are in.
        found: String,
        /// The configured schema.
        schema: String,
    },
    /// An application's table has the name of one of foldlog's.
    #[error(
        "the schema `{schema}` has a table `{table}` that foldlog did not create: set DB_SCHEMA to a schema for foldlog alone"
    )]
    ForeignTable {
        /// The table.
        table: &'static str,
        /// The configured schema.
        schema: String,
    },
    /// The database cannot hold every text.
    #[error(
        "the database has the encoding {0}, which cannot hold every text of an event: create one with `encoding 'UTF8' template \
         template0`"
    )]
    Encoding(String),
    /// A newer build has removed what this build uses.
    #[error(
        "a newer foldlog has migrated the database: it needs a build that knows the migration {required}, and this build knows \
         those up to {newest}; deploy a newer build"
    )]
    TooOld {
        /// The newest migration that a build must know.
        required: i64,
        /// The newest migration that this build knows.
        newest: i64,
    },
    /// The name of a new migration.
    #[error(
        "the name of a migration consists of lower-case letters, digits and underscores, like add_archive"
    )]
    Name,
    /// The folder for a new migration does not exist.
    #[error("the folder {} does not exist; run this in the folder of the project's Cargo.toml", .0.display())]
    Folder(PathBuf),
    /// The files of a new migration cannot be written.
    #[error("the migration cannot be written")]
    File(#[from] std::io::Error),
}
