//! The schema that holds foldlog's tables.
//!
//! Every statement names its tables and functions as `foldlog.events`, which is valid SQL where the schema is called
//! `foldlog`. A [`Session`](super::Session) puts the configured schema in its place before it sends a statement. So a
//! statement means the same tables whatever `search_path` its connection has: that of a login, of a pooler's server
//! connection, or of the caller whose transaction it runs in.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

/// What statements write in front of a table or a function, also in a literal like `'foldlog.views'::regclass`.
const QUALIFIER: &str = "foldlog.";

/// Statements that a process remembers in qualified form. The texts of a program are far fewer; a list route composes
/// one more for each combination of filters, and clients choose those, so the number has a limit.
const MAX_CACHED_STATEMENTS: usize = 512;

/// Postgres cuts longer identifiers off.
const MAX_NAME_BYTES: usize = 63;

/// The schema that holds foldlog's tables, `public` by default. Cheap to clone.
///
/// ```
/// use foldlog::db::Schema;
///
/// let schema: Schema = "orders".parse()?;
/// assert_eq!(schema.name(), "orders");
/// assert!("Orders; drop".parse::<Schema>().is_err());
/// # Ok::<(), foldlog::db::SchemaError>(())
/// ```
#[derive(Clone)]
pub struct Schema(Arc<Inner>);

struct Inner {
    name: String,
    /// The name in double quotes and a dot.
    qualifier: String,
    /// The statements sent so far, as written and as qualified.
    statements: RwLock<HashMap<SqlStr, SqlStr>>,
}

/// A text that cannot be the name of foldlog's schema.
#[derive(Debug, thiserror::Error)]
#[error("a schema's name must be {expected}, not `{0}`", expected = Schema::EXPECTED)]
pub struct SchemaError(String);

impl Schema {
    /// What a name must be, as part of a sentence.
    pub(crate) const EXPECTED: &'static str = "1 to 63 lower-case letters, digits and underscores, not beginning with a \
         digit or with pg_, and not information_schema";

    /// The name, without quotes.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// `sql` with this schema in place of `foldlog`. It allocates at the first use of a statement only.
    pub(crate) fn qualify(&self, sql: impl SqlSafeStr) -> SqlStr {
        let sql = sql.into_sql_str();
        let inner = &*self.0;
        let cached = inner
            .statements
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(sql.as_str())
            .cloned();
        cached.unwrap_or_else(|| inner.qualify_and_cache(sql))
    }
}

/// A statement with another text and the same meaning: with this number in a comment at its end.
pub(super) fn append_number(sql: &SqlStr, number: u32) -> SqlStr {
    AssertSqlSafe(format!("{}\n-- {number}", sql.as_str())).into_sql_str()
}

impl Inner {
    fn qualify_and_cache(&self, sql: SqlStr) -> SqlStr {
        if !sql.as_str().contains(QUALIFIER) {
            return sql;
        }
        let qualified: Arc<str> = sql.as_str().replace(QUALIFIER, &self.qualifier).into();
        let qualified = AssertSqlSafe(qualified).into_sql_str();
        let mut statements = self
            .statements
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if statements.len() < MAX_CACHED_STATEMENTS {
            statements.insert(sql, qualified.clone());
        }
        qualified
    }
}

impl Default for Schema {
    /// `public`.
    fn default() -> Self {
        static PUBLIC: LazyLock<Schema> = LazyLock::new(|| Schema::from_valid("public"));
        PUBLIC.clone()
    }
}

impl Schema {
    fn from_valid(name: &str) -> Self {
        Self(Arc::new(Inner {
            name: name.to_owned(),
            qualifier: format!("\"{name}\"."),
            statements: RwLock::default(),
        }))
    }
}

impl FromStr for Schema {
    type Err = SchemaError;

    fn from_str(name: &str) -> Result<Self, SchemaError> {
        let is_first = |c: char| c.is_ascii_lowercase() || c == '_';
        let is_valid = name.starts_with(is_first)
            && name.chars().all(|c| is_first(c) || c.is_ascii_digit())
            && name.len() <= MAX_NAME_BYTES
            && !name.starts_with("pg_")
            && name != "information_schema";
        if is_valid {
            Ok(Self::from_valid(name))
        } else {
            Err(SchemaError(name.to_owned()))
        }
    }
}

impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Schema {}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Schema").field(&self.name()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails when a name that Postgres folds, cuts off or reserves is taken for a schema.
    #[test]
    fn schema_names_are_lower_case_identifiers() {
        for name in ["public", "_a", "orders_2", &"a".repeat(63)] {
            assert_eq!(name.parse::<Schema>().unwrap().name(), name);
        }
        for name in [
            "",
            "Orders",
            "2orders",
            "a-b",
            "a\"b",
            "a.b",
            "pg_catalog",
            "information_schema",
            &"a".repeat(64),
        ] {
            assert!(name.parse::<Schema>().is_err(), "{name}");
        }
    }

    /// Fails when a statement is qualified with another schema's name, or differently the second time.
    #[test]
    fn each_schema_qualifies_statements_with_its_own_name() {
        let orders: Schema = "orders".parse().unwrap();
        for _ in 0..2 {
            let sql = || "select foldlog.f(e) from foldlog.events e";
            assert_eq!(
                orders.qualify(sql()).as_str(),
                "select \"orders\".f(e) from \"orders\".events e"
            );
            assert_eq!(
                Schema::default().qualify(sql()).as_str(),
                "select \"public\".f(e) from \"public\".events e"
            );
        }
        assert_eq!(orders.qualify("select 1").as_str(), "select 1");
    }
}
