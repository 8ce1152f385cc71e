//! The typed reads of one aggregate's past.

use std::future::IntoFuture;
use std::marker::PhantomData;

use futures_util::future::BoxFuture;

use crate::app::Foldlog;
use crate::domain::{self, Domain};
use crate::event::{AggregateId, RecordedEvent};
use crate::query::{
    self, Blamed, Diff, Entry, Explanation, HistoryCursor, HistoryPage, HistoryQuery, Moment,
    Order, QueryError, UnknownChanges,
};
use crate::view::{Changes, PageLimit};

impl Foldlog {
    /// Reads a page of the events of one aggregate of the domain `D`, oldest first, each with the fields that it changed. Await the
    /// builder that it returns.
    ///
    /// ```no_run
    /// use foldlog::Foldlog;
    /// use foldlog::domain::prelude::*;
    /// use foldlog::domains::users::Users;
    ///
    /// # async fn example(foldlog: Foldlog, id: AggregateId) -> Result<(), Box<dyn std::error::Error>> {
    /// let page = foldlog.history::<Users>(id).newest_first().field("email").limit(10).await?;
    /// for past in &page.events {
    ///     println!("{} at {}: {:?}", past.event.version, past.event.created_at, past.payload);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub const fn history<D: Domain>(&self, id: AggregateId) -> History<'_, D> {
        History {
            foldlog: self,
            id,
            order: Order::OldestFirst,
            after: None,
            limit: PageLimit::DEFAULT_ROWS,
            field: None,
            actor: None,
            domain: PhantomData,
        }
    }

    /// Compares two states of one aggregate of the domain `D`, field by field and without secrets. A moment is a
    /// [`Version`](crate::event::Version), 0 for the state before the first event, a time, or [`Moment::Newest`].
    ///
    /// ```no_run
    /// use foldlog::Foldlog;
    /// use foldlog::domain::prelude::*;
    /// use foldlog::domains::users::Users;
    /// use foldlog::query::Moment;
    ///
    /// # async fn example(foldlog: Foldlog, id: AggregateId) -> Result<(), Box<dyn std::error::Error>> {
    /// let diff = foldlog.diff::<Users>(id, Version(3), Moment::Newest).await?;
    /// for (field, [before, after]) in &diff.changes {
    ///     println!("{field}: {before} → {after}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// See [`QueryError`].
    pub async fn diff<D: Domain>(
        &self,
        id: AggregateId,
        from: impl Into<Moment> + Send,
        to: impl Into<Moment> + Send,
    ) -> Result<Diff, QueryError> {
        let (from, to) = (from.into(), to.into());
        let view = &self.serving::<D>()?.view;
        query::diff(self, view, id, from, to).await
    }

    /// Finds the event that last set each field of one aggregate of the domain `D` at a moment.
    ///
    /// ```no_run
    /// use foldlog::Foldlog;
    /// use foldlog::domain::prelude::*;
    /// use foldlog::domains::users::Users;
    /// use foldlog::query::Moment;
    ///
    /// # async fn example(foldlog: Foldlog, id: AggregateId) -> Result<(), Box<dyn std::error::Error>> {
    /// let blamed = foldlog.blame::<Users>(id, Moment::Newest).await?;
    /// println!("the e-mail address was set by {:?}", blamed.fields["email"].setter);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// See [`QueryError`].
    pub async fn blame<D: Domain>(
        &self,
        id: AggregateId,
        moment: impl Into<Moment> + Send,
    ) -> Result<Blamed, QueryError> {
        let moment = moment.into();
        query::blame(self, &self.serving::<D>()?.view, id, moment).await
    }

    /// Explains the row of one aggregate of the domain `D`: which events made it, which wait, and why.
    ///
    /// ```no_run
    /// use foldlog::Foldlog;
    /// use foldlog::domain::prelude::*;
    /// use foldlog::domains::users::Users;
    ///
    /// # async fn example(foldlog: Foldlog, id: AggregateId) -> Result<(), Box<dyn std::error::Error>> {
    /// let explanation = foldlog.explain::<Users>(id).await?;
    /// println!("{:?}: {:?}", explanation.state, explanation.waiting.reason);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// See [`QueryError`].
    pub async fn explain<D: Domain>(&self, id: AggregateId) -> Result<Explanation, QueryError> {
        query::explain(self, &self.serving::<D>()?.view, id).await
    }
}

/// A read of a page of events that is sent when it is awaited. Made by [`Foldlog::history`].
#[must_use = "a read does nothing until it is awaited"]
#[derive(Debug)]
pub struct History<'a, D> {
    foldlog: &'a Foldlog,
    id: AggregateId,
    order: Order,
    after: Option<HistoryCursor>,
    limit: u16,
    field: Option<String>,
    actor: Option<String>,
    domain: PhantomData<fn() -> D>,
}

impl<D: Domain> History<'_, D> {
    /// Begins with the newest event.
    pub const fn newest_first(mut self) -> Self {
        self.order = Order::NewestFirst;
        self
    }

    /// Begins after the page that returned this cursor, which must be from a history in the same order.
    pub const fn starting_after(mut self, cursor: HistoryCursor) -> Self {
        self.after = Some(cursor);
        self
    }

    /// Reads at most this many events; 100 by default, and 0 counts as 1. A page can have fewer events, because its size in bytes
    /// is limited, and because a page with a filter looks at 10,000 events at most.
    pub const fn limit(mut self, limit: u16) -> Self {
        self.limit = limit;
        self
    }

    /// Reads only events that changed this field of the row.
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Reads only events whose `metadata.actor` is this text.
    pub fn actor(mut self, actor: impl Into<String>) -> Self {
        self.actor = Some(actor.into());
        self
    }
}

/// An event of a history, with its secrets.
#[derive(Clone, Debug)]
pub struct PastEvent<E> {
    /// The event as it was recorded.
    pub event: RecordedEvent,
    /// Its payload in the newest revision; `None` when this build cannot decode it.
    pub payload: Option<E>,
    /// The fields that it changed, without secrets: the values before and after, null where there was no row.
    pub changes: Result<Changes, UnknownChanges>,
}

impl<'a, D: Domain> IntoFuture for History<'a, D> {
    type Output = Result<HistoryPage<PastEvent<D::Event>>, QueryError>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let make = |entry: Entry| {
            let (json, metadata) = (entry.event.payload.get(), &entry.event.metadata);
            let bytes = query::json_bytes(json, metadata, entry.changes.as_ref().ok());
            let payload = domain::decode::<D::Event>(&entry.event).ok();
            let past = PastEvent {
                event: entry.event,
                payload: payload.map(|event| event.payload),
                changes: entry.changes,
            };
            (past, bytes)
        };
        Box::pin(async move {
            let view = &self.foldlog.serving::<D>()?.view;
            let query = HistoryQuery {
                order: self.order,
                after: self.after,
                limit: self.limit.into(),
                field: self.field.as_deref(),
                actor: self.actor.as_deref(),
            };
            query::read_history(self.foldlog, view, self.id, &query, &make).await
        })
    }
}
