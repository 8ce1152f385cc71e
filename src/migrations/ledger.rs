//! Which migrations are applied: foldlog's own ledger, and how it takes over the rows that earlier builds recorded in sqlx's
//! default one.

use sqlx::migrate::Migrate as _;
use sqlx::{Connection as _, PgConnection};

use super::{MigrationError, TABLES, newest, ups};
use crate::db::{DbError, Pooler, Schema, Session};

/// foldlog's ledger, in foldlog's schema.
pub(super) const TABLE: &str = "foldlog_migrations";

/// The default ledger of every sqlx migrator, which earlier builds shared with the application's own migrations.
const SQLX_TABLE: &str = "_sqlx_migrations";

/// Migrations whose files have changed without changing what they did for earlier builds, and the checksums (SHA-384) that
/// those builds recorded.
const REPLACED_CHECKSUMS: [(i64, &str); 6] = [
    (
        20_261_124_000_001,
        "d496fd342b31e6709bd8f76d28198862585e9671266c4752102e427663d2c2b50507cddae0fdad0453f1364ff24a2648",
    ),
    (
        20_261_124_000_002,
        "f954ddeb6642daa3d48ca5d76ab9d9a1cd47c984b69347bc30131dec9e5c50326c8aee97c42fa35143d9e640d9bed5dc",
    ),
    (
        20_261_124_000_003,
        "cce4e29b38aa216322bab935462f203679bf607ed37e93e2d3a0d780a7a5dcfa58256e5176700448d6a9a9623220e0a7",
    ),
    (
        20_261_124_000_004,
        "79b17c31b242afcea0c926509299e7ebb2e5441491838d01923c71fa9f64828de1087ef9fa8f430f7549247aeb4ea4fc",
    ),
    (
        20_261_124_000_005,
        "5fc8730a05eb5b42c58279c37fa61d7a8c5fb7256d4514e1d0e9f2a4cfd5c9a849e4fac17ec24f9562f533898aeb4622",
    ),
    (
        20_261_124_000_006,
        "f0d2c4b18288b5275d9e6f18401bd20c3864a75f8e4ae074d37cfb2369b94bb6c909017cb312d2bde1a1d05459e618ac",
    ),
];

/// Whether either ledger exists in the schema.
pub(super) async fn exists(
    connection: &mut PgConnection,
    schema: &Schema,
) -> Result<bool, MigrationError> {
    Ok(table_exists(connection, schema, TABLE).await?
        || table_exists(connection, schema, SQLX_TABLE).await?)
}

/// The versions that are applied, in order. Reads only.
pub(super) async fn applied(
    connection: &mut PgConnection,
    schema: &Schema,
) -> Result<Vec<i64>, MigrationError> {
    if table_exists(connection, schema, TABLE).await? {
        let table = format!("\"{}\".{TABLE}", schema.name());
        let applied = connection.list_applied_migrations(&table).await?;
        if !applied.is_empty() {
            return Ok(applied.into_iter().map(|m| m.version).collect());
        }
    }
    recorded_in_sqlx_ledger(connection, schema).await
}

/// Moves foldlog's rows from sqlx's default ledger to foldlog's own, and drops the former if they were its only rows.
pub(super) async fn take_over(
    connection: &mut PgConnection,
    schema: &Schema,
) -> Result<(), MigrationError> {
    if recorded_in_sqlx_ledger(connection, schema)
        .await?
        .is_empty()
    {
        return Ok(());
    }
    let table = format!("\"{}\".{TABLE}", schema.name());
    connection.ensure_migrations_table(&table).await?;
    let replaced = |version| REPLACED_CHECKSUMS.iter().find(|(v, _)| *v == version);
    let mut transaction = connection.begin().await.map_err(DbError::from)?;
    let mut session = Session::in_transaction(&mut transaction, schema.clone(), Pooler::None);
    sqlx::query(include_str!("sql/take_over_ledger.sql"))
        .bind(ups().map(|m| m.version).collect::<Vec<_>>())
        .bind(ups().map(|m| m.description.as_ref()).collect::<Vec<_>>())
        .bind(ups().map(|m| m.checksum.as_ref()).collect::<Vec<_>>())
        .bind(
            ups()
                .map(|m| replaced(m.version).map(|(_, checksum)| *checksum))
                .collect::<Vec<_>>(),
        )
        .execute(&mut session)
        .await
        .map_err(DbError::from)?;
    let empty: bool = sqlx::query_scalar(include_str!("sql/sqlx_ledger_is_empty.sql"))
        .fetch_one(&mut session)
        .await
        .map_err(DbError::from)?;
    if empty {
        sqlx::query(include_str!("sql/drop_sqlx_ledger.sql"))
            .execute(&mut session)
            .await
            .map_err(DbError::from)?;
    }
    transaction.commit().await.map_err(DbError::from)?;
    Ok(())
}

/// Whether the database has migrations that this build does not know.
///
/// # Errors
///
/// [`MigrationError::TooOld`] if one of them removed what this build uses.
pub(super) async fn accepts_this_build(
    connection: &mut PgConnection,
    schema: &Schema,
) -> Result<bool, MigrationError> {
    let newest = newest();
    if applied(connection, schema)
        .await?
        .iter()
        .all(|version| *version <= newest)
    {
        return Ok(false);
    }
    let mut transaction = connection.begin().await.map_err(DbError::from)?;
    let mut session = Session::in_transaction(&mut transaction, schema.clone(), Pooler::None);
    let required: i64 = sqlx::query_scalar(include_str!("sql/read_required_migration.sql"))
        .fetch_one(&mut session)
        .await
        .map_err(DbError::from)?;
    transaction.commit().await.map_err(DbError::from)?;
    if required > newest {
        return Err(MigrationError::TooOld { required, newest });
    }
    tracing::warn!(
        "a newer foldlog has migrated the database; this build knows the migrations up to {newest}, which is enough"
    );
    Ok(true)
}

/// Fails if an earlier build has migrated another schema, which it found through the login's search path. Otherwise `up`
/// would create a second, empty log, and the hosts would serve that one. Fails, too, if the database has another encoding than UTF8.
pub(super) async fn reject_new_log(
    connection: &mut PgConnection,
    schema: &Schema,
) -> Result<(), MigrationError> {
    require_utf8(connection).await?;
    let current: Option<String> = sqlx::query_scalar(include_str!("sql/current_schema.sql"))
        .fetch_one(&mut *connection)
        .await
        .map_err(DbError::from)?;
    let Some(Ok(other)) = current.map(|name| name.parse::<Schema>()) else {
        return Ok(());
    };
    if other == *schema
        || recorded_in_sqlx_ledger(connection, &other)
            .await?
            .is_empty()
    {
        return Ok(());
    }
    Err(MigrationError::OtherSchema {
        found: other.name().to_owned(),
        schema: schema.name().to_owned(),
    })
}

/// Fails if nothing is applied, but the schema has tables with the names of foldlog's: those of an application.
pub(super) async fn reject_foreign_tables(
    connection: &mut PgConnection,
    schema: &Schema,
) -> Result<(), MigrationError> {
    let mut found = None;
    for table in TABLES {
        if table_exists(connection, schema, table).await? {
            found = found.or(Some(table));
        }
    }
    // Read after the tables: a concurrent process creates them and records it in one transaction.
    match found {
        Some(table) if applied(connection, schema).await?.is_empty() => {
            Err(MigrationError::ForeignTable {
                table,
                schema: schema.name().to_owned(),
            })
        }
        _ => Ok(()),
    }
}

/// foldlog's rows in sqlx's default ledger. A row is foldlog's if both its version and its description are.
async fn recorded_in_sqlx_ledger(
    connection: &mut PgConnection,
    schema: &Schema,
) -> Result<Vec<i64>, MigrationError> {
    if !table_exists(connection, schema, SQLX_TABLE).await? {
        return Ok(Vec::new());
    }
    let mut transaction = connection.begin().await.map_err(DbError::from)?;
    let mut session = Session::in_transaction(&mut transaction, schema.clone(), Pooler::None);
    let versions = sqlx::query_scalar(include_str!("sql/read_sqlx_ledger.sql"))
        .bind(ups().map(|m| m.version).collect::<Vec<_>>())
        .bind(ups().map(|m| m.description.as_ref()).collect::<Vec<_>>())
        .fetch_all(&mut session)
        .await
        .map_err(DbError::from)?;
    transaction.commit().await.map_err(DbError::from)?;
    Ok(versions)
}

async fn table_exists(
    connection: &mut PgConnection,
    schema: &Schema,
    table: &str,
) -> Result<bool, MigrationError> {
    let exists = sqlx::query_scalar(include_str!("sql/table_exists.sql"))
        .bind(schema.name())
        .bind(table)
        .fetch_one(connection)
        .await
        .map_err(DbError::from)?;
    Ok(exists)
}

/// Refuses a new database in another encoding: Postgres would refuse some texts of events, and others would be read as bytes.
async fn require_utf8(connection: &mut PgConnection) -> Result<(), MigrationError> {
    let encoding: String = sqlx::query_scalar(include_str!("sql/server_encoding.sql"))
        .fetch_one(connection)
        .await
        .map_err(DbError::from)?;
    if encoding == "UTF8" {
        Ok(())
    } else {
        Err(MigrationError::Encoding(encoding))
    }
}
