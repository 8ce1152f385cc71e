//! Rows of view tables: created, loaded, written, listed. Both the command side and projections need them, so neither
//! owns them. Knows nothing of `events` and `locker`.

mod define;
mod list;
mod row;
mod statements;
mod write;

use crate::domain::AnyProjection;
use crate::event::fields::{Field, FieldKind};

pub use self::define::{DefineError, Inline, define};
pub use self::list::{Page, PageCursor, list};
pub use self::row::{ViewRow, get};
pub use self::statements::Statements;
pub use self::write::{delete, upsert};

/// Columns that every row has, and parameters of the list route, which a filter by a column would be taken for.
const RESERVED: [&str; 7] = [
    "id",
    "version",
    "limit",
    "after",
    "consistency",
    "min_version",
    "as_of",
];

/// A projection's view: its columns, and the statements over its table, composed once a process.
#[derive(Debug)]
pub struct View {
    /// The projection that keeps it.
    pub projection: &'static dyn AnyProjection,
    /// The columns beside `id` and `version`.
    pub columns: Vec<Field>,
    /// The statements over its table.
    pub sql: Statements,
}

impl View {
    /// The view of `projection`. `tail` reads the events above a row; see [`Statements::with_tail`].
    ///
    /// # Errors
    ///
    /// When the row type cannot be one row of a table.
    pub fn new(projection: &'static dyn AnyProjection, tail: &str) -> Result<Self, BadView> {
        if !statements::is_identifier(projection.name()) {
            return Err(BadView::NoIdentifier(projection.name(), projection.name()));
        }
        let columns = projection.columns();
        if columns.is_empty() {
            return Err(BadView::NoStruct(projection.name()));
        }
        if let Some(taken) = columns.iter().find(|c| RESERVED.contains(&c.name)) {
            return Err(BadView::Reserved(projection.name(), taken.name));
        }
        if let Some(odd) = columns.iter().find(|c| !statements::is_identifier(c.name)) {
            return Err(BadView::NoIdentifier(projection.name(), odd.name));
        }
        let sql = Statements::new(projection.name(), &columns, tail);
        Ok(Self {
            projection,
            columns,
            sql,
        })
    }

    /// The projection's name, which is the table's.
    pub fn name(&self) -> &'static str {
        self.projection.name()
    }

    /// The columns that everybody may see.
    pub fn public_columns(&self) -> impl Iterator<Item = &'static str> {
        self.columns
            .iter()
            .filter(|c| c.kind == FieldKind::Public)
            .map(|c| c.name)
    }
}

/// Why a row type cannot be a view.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BadView {
    /// It has no named fields, or hides them with `flatten`.
    #[error("{0}: the row must be a struct with named fields and without `flatten`")]
    NoStruct(&'static str),
    /// `id` and `version` are the store's, the others parameters of the list route.
    #[error("{0}: the row may not have a field `{1}`; the name is taken")]
    Reserved(&'static str, &'static str),
    /// The view's and its columns' names go into SQL text.
    #[error("{0}: `{1}` is no lower-case SQL identifier")]
    NoIdentifier(&'static str, &'static str),
}
