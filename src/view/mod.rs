//! The tables of views: defining, reading, writing and listing their rows. The command side and projections both use
//! them. This module never touches `events` and `locker`.

mod changes;
mod create;
mod define;
mod definition;
mod fingerprint;
mod generation;
mod list;
mod page;
mod row;
mod statements;
mod write;

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use crate::domain::AnyProjection;
use crate::event::{TypeSchema, TypeSchemaError};

pub use self::changes::{Changes, ShownFields, changes, shown_fields};
pub use self::define::{DefineError, Inline, define};
pub(crate) use self::definition::Fnv1a;
pub use self::generation::{FromServing, Resolved, Serving, generation_number, resolve};
pub(crate) use self::list::{PageBuilder, json_string_len};
pub use self::list::{PageCursor, PageLimit, ViewPage, find_matching, list};
pub(crate) use self::page::BoundedPage;
pub(crate) use self::row::mismatch;
pub use self::row::{RawRow, StoredRow, ViewRow, decode_row, get};
pub use self::statements::Statements;
pub use self::write::{check_writable, delete, json_array, upsert};

/// The columns that every row has, and the parameters of the list route, which a filter must not be mistaken for.
const RESERVED_COLUMNS: [&str; 7] = [
    "id",
    "version",
    "limit",
    "after",
    "consistency",
    "min_version",
    "as_of",
];

/// A column of a view, which is a field of the row type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name in the table and in JSON.
    pub name: String,
    /// Whether clients see it. A column that is itself a secret is hidden.
    pub shown: bool,
    /// Whether the list route filters by it. A column with a secret inside is shown without it, and is not a filter.
    pub filter: bool,
}

/// A projection's view: its columns, and the statements over the table of one of its generations. Cheap to clone.
#[derive(Clone, Debug)]
pub struct View {
    /// The projection that maintains the view.
    pub projection: &'static dyn AnyProjection,
    /// The columns beside `id` and `version`.
    pub columns: Arc<[Column]>,
    /// The names of all properties of a row that are secrets, at any depth.
    pub(crate) secret_names: Arc<BTreeSet<String>>,
    /// The statements over the table of the generation.
    pub sql: Arc<Statements>,
    /// Identifies the view's definition, whatever its spelling.
    pub(crate) definition_hash: Arc<str>,
    /// Identifies what the fold does, once it was computed.
    fold_hash: Arc<OnceLock<String>>,
    /// The generation that served this definition when a clone of this view was last told: [`resolve`].
    serving: Arc<RwLock<Serving>>,
}

impl View {
    /// The view of `projection`.
    ///
    /// # Errors
    ///
    /// When the row type cannot be one row of a table.
    pub fn new(projection: &'static dyn AnyProjection) -> Result<Self, ViewError> {
        let name = projection.name();
        if !statements::is_identifier(name) {
            return Err(ViewError::NotAnIdentifier(name, name.to_owned()));
        }
        let row = projection.row_schema();
        let columns = columns(&row);
        if columns.is_empty() {
            return Err(ViewError::NotAStruct(name));
        }
        row.check().map_err(|error| ViewError::Row(name, error))?;
        for column in &columns {
            if RESERVED_COLUMNS.contains(&column.name.as_str()) {
                return Err(ViewError::Reserved(name, column.name.clone()));
            }
            if !statements::is_identifier(&column.name) {
                return Err(ViewError::NotAnIdentifier(name, column.name.clone()));
            }
        }
        for rule in projection.set_rules() {
            let exposed = |column: &&Column| !column.filter && rule.mentions(&column.name);
            if let Some(column) = columns.iter().find(exposed) {
                return Err(ViewError::SecretInSetRule(
                    name,
                    rule.name,
                    column.name.clone(),
                ));
            }
        }
        let definition_hash: Arc<str> = definition::hash(projection.definition()).into();
        let sql = Arc::new(Statements::new(name, &definition_hash, &columns));
        let serving = Serving::assumed(Arc::clone(&sql));
        Ok(Self {
            projection,
            columns: columns.into(),
            secret_names: Arc::new(row.secret_names()),
            sql,
            definition_hash,
            fold_hash: Arc::default(),
            serving: Arc::new(RwLock::new(serving)),
        })
    }

    /// The projection's name.
    pub fn name(&self) -> &'static str {
        self.projection.name()
    }

    /// Identifies the fold of this build by what it does with examples of events. Tries the fold at the first call.
    pub(crate) fn fold_hash(&self) -> &str {
        self.fold_hash
            .get_or_init(|| fingerprint::fold_hash(self.projection))
    }

    /// The lock domain of the generation, which is also the name of its table: `users`, then `users#2`.
    pub fn lock_domain(&self) -> &str {
        self.sql.table()
    }

    /// The view over the generation that serves this process, as far as the process knows. Statements check in the database
    /// whether the generation still does; if it does not, [`resolve`] finds out which one does.
    #[must_use]
    pub fn current(&self) -> Self {
        let sql = Arc::clone(&self.serving().sql);
        Self {
            sql,
            ..self.clone()
        }
    }

    /// The view over the generation with this lock domain.
    #[must_use]
    pub fn generation(&self, lock_domain: &str) -> Self {
        if lock_domain == self.lock_domain() {
            return self.clone();
        }
        let current = self.current();
        if lock_domain == current.lock_domain() {
            return current;
        }
        let sql = Statements::new(lock_domain, &self.definition_hash, &self.columns);
        Self {
            sql: Arc::new(sql),
            ..self.clone()
        }
    }

    /// What the process knows about the generation that serves it.
    #[must_use]
    pub fn serving(&self) -> Serving {
        let serving = self.serving.read();
        serving.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Remembers an answer, unless another request has asked later.
    fn remember(&self, serving: Serving) {
        let mut known = self.serving.write().unwrap_or_else(PoisonError::into_inner);
        if known.asked_at <= serving.asked_at {
            *known = serving;
        }
    }

    /// The columns that clients see.
    pub fn shown_columns(&self) -> impl Iterator<Item = &str> {
        let shown = self.columns.iter().filter(|column| column.shown);
        shown.map(|column| column.name.as_str())
    }

    /// The columns by which the list route filters.
    pub fn filter_columns(&self) -> impl Iterator<Item = &str> {
        let filters = self.columns.iter().filter(|column| column.filter);
        filters.map(|column| column.name.as_str())
    }
}

fn columns(row: &TypeSchema) -> Vec<Column> {
    row.properties()
        .into_iter()
        .map(|(name, schema)| {
            let shown = !row.is_secret(schema);
            Column {
                name: name.to_owned(),
                shown,
                filter: shown && !row.contains_secret(schema),
            }
        })
        .collect()
}

/// Why a row type cannot be a view.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ViewError {
    /// It has no named fields, or it has a field with `#[serde(flatten)]`.
    #[error("{0}: the row type must be a struct with named fields and without `flatten`")]
    NotAStruct(&'static str),
    /// `id` and `version` are columns of every view; the others are parameters of the list route.
    #[error("{0}: the row type must not have a field `{1}`, because the name is reserved")]
    Reserved(&'static str, String),
    /// The secrets in a row could not be hidden.
    #[error("{0}: {1}")]
    Row(&'static str, #[source] TypeSchemaError),
    /// A client could find out a secret by trying values.
    #[error("{0}: the set rule `{1}` must not be about the column `{2}`, which contains a secret")]
    SecretInSetRule(&'static str, &'static str, String),
    /// The names of the view and its columns are part of SQL text.
    #[error("{0}: `{1}` must be a lower-case SQL identifier")]
    NotAnIdentifier(&'static str, String),
}
