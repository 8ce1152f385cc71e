//! Typed reads.

use std::fmt::Display;
use std::future::IntoFuture;
use std::marker::PhantomData;

use futures_util::future::BoxFuture;
use time::OffsetDateTime;

use crate::app::{Foldlog, NotServedError};
use crate::domain::Domain;
use crate::event::{AggregateId, Version};
use crate::query::{self, Consistency, ListMoment, ListQuery, Moment, QueryError, ReadAt};
use crate::view::{PageCursor, PageLimit};

impl Foldlog {
    /// Reads the state of one aggregate of the domain `D` and its version; `None` if it does not exist, is deleted, or is
    /// not projected yet. Await the builder that it returns.
    ///
    /// ```no_run
    /// use foldlog::Foldlog;
    /// use foldlog::domain::prelude::*;
    /// use foldlog::domains::users::Users;
    ///
    /// # async fn example(foldlog: Foldlog, id: AggregateId) -> Result<(), Box<dyn std::error::Error>> {
    /// if let Some((user, version)) = foldlog.get::<Users>(id).strong().await? {
    ///     println!("{user:?} at version {version}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub const fn get<D: Domain>(&self, id: AggregateId) -> Get<'_, D> {
        Get {
            foldlog: self,
            id,
            at: ReadAt::Live(Consistency::Eventual),
            domain: PhantomData,
        }
    }

    /// Reads a page of the rows of the domain `D`, ordered by id. Await the builder that it returns.
    ///
    /// ```no_run
    /// use foldlog::Foldlog;
    /// use foldlog::domains::users::Users;
    ///
    /// # async fn example(foldlog: Foldlog) -> Result<(), Box<dyn std::error::Error>> {
    /// let page = foldlog.list::<Users>().filter("username", "ada").limit(10).await?;
    /// for row in &page.rows {
    ///     println!("{}: {:?}", row.id, row.state);
    /// }
    /// if let Some(next) = page.next {
    ///     let next_page = foldlog.list::<Users>().filter("username", "ada").starting_after(next).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub const fn list<D: Domain>(&self) -> List<'_, D> {
        List {
            foldlog: self,
            filters: Vec::new(),
            after: None,
            limit: PageLimit::DEFAULT_ROWS,
            moment: ListMoment::Projected,
            domain: PhantomData,
        }
    }
}

/// A read of one aggregate that is sent when it is awaited. Made by [`Foldlog::get`].
#[must_use = "a read does nothing until it is awaited"]
#[derive(Debug)]
pub struct Get<'a, D> {
    foldlog: &'a Foldlog,
    id: AggregateId,
    at: ReadAt,
    domain: PhantomData<fn() -> D>,
}

/// Of several calls the last one decides.
impl<D: Domain> Get<'_, D> {
    /// Includes every committed event, projected or not.
    pub const fn strong(mut self) -> Self {
        self.at = ReadAt::Live(Consistency::Strong);
        self
    }

    /// Reads the state after the event with this version, folded from the events. If the aggregate has fewer, the read fails with
    /// [`QueryError::NoVersion`].
    pub const fn version(mut self, version: Version) -> Self {
        self.at = ReadAt::Past(Moment::Version(version));
        self
    }

    /// Reads the state at this time, folded from the events. A time in the future is now.
    pub const fn as_of(mut self, time: OffsetDateTime) -> Self {
        self.at = ReadAt::Past(Moment::Time(time));
        self
    }

    /// Includes at least the events up to this version, projected or not. If the aggregate has fewer, the read fails with
    /// [`QueryError::Behind`].
    pub const fn min_version(mut self, version: Version) -> Self {
        self.at = ReadAt::Live(Consistency::AtLeast(version));
        self
    }
}

impl<'a, D: Domain> IntoFuture for Get<'a, D> {
    type Output = Result<Option<(D::State, Version)>, QueryError>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self {
            foldlog, id, at, ..
        } = self;
        Box::pin(async move {
            let view = &foldlog.serving::<D>()?.view;
            match query::get_row(foldlog, view, id, at).await {
                Ok(row) => Ok(Some((row.decode()?, row.version))),
                Err(
                    QueryError::Unknown
                    | QueryError::Deleted
                    | QueryError::NotYetProjected
                    | QueryError::NotYetCreated,
                ) => Ok(None),
                Err(error) => Err(error),
            }
        })
    }
}

/// A row of a domain's view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row<T> {
    /// The aggregate.
    pub id: AggregateId,
    /// The last event folded into the row.
    pub version: Version,
    /// The state of the aggregate.
    pub state: T,
}

/// A page of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows<T> {
    /// The rows, ordered by id.
    pub rows: Vec<Row<T>>,
    /// The start of the next page; `None` on the last page.
    pub next: Option<PageCursor>,
}

/// A read of a page that is sent when it is awaited. Made by [`Foldlog::list`].
#[must_use = "a read does nothing until it is awaited"]
#[derive(Debug)]
pub struct List<'a, D> {
    foldlog: &'a Foldlog,
    filters: Vec<(String, String)>,
    after: Option<PageCursor>,
    limit: u16,
    moment: ListMoment,
    domain: PhantomData<fn() -> D>,
}

impl<D: Domain> List<'_, D> {
    /// Reads only rows whose column has this value. Several filters must all match. Postgres reads the text as a value of
    /// the column's type.
    pub fn filter(mut self, column: impl Into<String>, value: impl Display) -> Self {
        self.filters.push((column.into(), value.to_string()));
        self
    }

    /// Begins after the page that returned this cursor.
    pub const fn starting_after(mut self, cursor: PageCursor) -> Self {
        self.after = Some(cursor);
        self
    }

    /// Reads at most this many rows; 100 by default, and 0 counts as 1. A page can have fewer rows, because its size in bytes
    /// is limited.
    pub const fn limit(mut self, limit: u16) -> Self {
        self.limit = limit;
        self
    }

    /// Includes every committed event, projected or not.
    ///
    /// ```no_run
    /// # use foldlog::Foldlog;
    /// # use foldlog::domains::users::Users;
    /// # async fn example(foldlog: Foldlog) -> Result<(), Box<dyn std::error::Error>> {
    /// let page = foldlog.list::<Users>().strong().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub const fn strong(mut self) -> Self {
        self.moment = ListMoment::Newest;
        self
    }

    /// Reads the rows as of this time, folded from the events. A page may have fewer rows than its limit and still a next one.
    ///
    /// ```no_run
    /// # use foldlog::Foldlog;
    /// # use foldlog::domains::users::Users;
    /// # async fn example(foldlog: Foldlog, last_week: time::OffsetDateTime) -> Result<(), Box<dyn std::error::Error>> {
    /// let page = foldlog.list::<Users>().filter("username", "ada").as_of(last_week).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub const fn as_of(mut self, time: OffsetDateTime) -> Self {
        self.moment = ListMoment::Past(time);
        self
    }
}

impl<'a, D: Domain> IntoFuture for List<'a, D> {
    type Output = Result<Rows<D::State>, QueryError>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self {
            foldlog,
            filters,
            after,
            limit,
            moment,
            ..
        } = self;
        Box::pin(async move {
            let view = &foldlog.serving::<D>()?.view;
            let mut known = Vec::with_capacity(filters.len());
            for (name, value) in filters {
                let column = view.filter_columns().find(|column| *column == name);
                known.push((column.ok_or(QueryError::UnknownFilter(name))?, value));
            }
            let query = ListQuery {
                filters: &known,
                after,
                limit: limit.into(),
                moment,
            };
            let page = query::list_rows(foldlog, view, &query).await?;
            let row = |row: crate::view::RawRow| {
                Ok(Row {
                    id: row.id,
                    version: row.version,
                    state: row.decode()?,
                })
            };
            Ok(Rows {
                rows: page
                    .rows
                    .into_iter()
                    .map(row)
                    .collect::<Result<_, QueryError>>()?,
                next: page.next,
            })
        })
    }
}

impl From<NotServedError> for QueryError {
    fn from(error: NotServedError) -> Self {
        Self::NotServed(error)
    }
}
