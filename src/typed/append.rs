//! The typed append.

use std::future::IntoFuture;

use futures_util::future::BoxFuture;
use sqlx::PgConnection;

use crate::app::Foldlog;
use crate::command::{self, AppendError, Appended, Batch, DryRun, Target};
use crate::domain::{Domain, RejectedError, prepare};
use crate::event::{AggregateId, EventId, ExpectedVersion, Metadata, NewEvent, Prepared, Version};

impl Foldlog {
    /// Appends events to one aggregate of the domain `D`, all or none. Await the builder that it returns.
    ///
    /// ```no_run
    /// use foldlog::Foldlog;
    /// use foldlog::domain::prelude::*;
    /// use foldlog::domains::users::{UserEvent, Users};
    ///
    /// # async fn example(foldlog: Foldlog, id: AggregateId) -> Result<(), Box<dyn std::error::Error>> {
    /// let renamed = UserEvent::UsernameChanged { username: "ada".to_owned() };
    /// let appended = foldlog.append::<Users>(id, [renamed]).expecting(Version(3)).await?;
    /// assert_eq!(appended.events[0].version, Version(4));
    /// # Ok(())
    /// # }
    /// ```
    pub fn append<D: Domain>(
        &self,
        aggregate_id: AggregateId,
        events: impl IntoIterator<Item = D::Event>,
    ) -> Append<'_, D> {
        let events = events.into_iter();
        Append {
            foldlog: self,
            events: events
                .map(|event| NewEvent::new(aggregate_id, event))
                .collect(),
            expected: ExpectedVersion::Any,
            connection: None,
        }
    }
}

/// An append that is sent when it is awaited. Made by [`Foldlog::append`].
#[must_use = "an append does nothing until it is awaited"]
#[derive(Debug)]
pub struct Append<'a, D: Domain> {
    foldlog: &'a Foldlog,
    events: Vec<NewEvent<D::Event>>,
    expected: ExpectedVersion,
    connection: Option<&'a mut PgConnection>,
}

impl<'a, D: Domain> Append<'a, D> {
    /// Appends only if the aggregate has this version: a [`Version`], or [`ExpectedVersion::NoStream`] for an aggregate
    /// that must not exist. Otherwise the append fails with [`AppendError::VersionMismatch`].
    pub fn expecting(mut self, expected: impl Into<ExpectedVersion>) -> Self {
        self.expected = expected.into();
        self
    }

    /// Sets the ids of the events, in their order. An append that is repeated with the same ids stores nothing and returns
    /// the first answer. Events without an id in the list keep a new one.
    pub fn ids(mut self, ids: impl IntoIterator<Item = EventId>) -> Self {
        for (event, id) in self.events.iter_mut().zip(ids) {
            event.id = id;
        }
        self
    }

    /// Sets the metadata of all events.
    pub fn metadata(mut self, metadata: &Metadata) -> Self {
        for event in &mut self.events {
            event.metadata = metadata.clone();
        }
        self
    }

    /// Appends in the transaction that is open on `connection`, together with the caller's own writes. Views that are
    /// folded inline are written in it, too.
    ///
    /// The transaction stays usable after any [`AppendError`] except [`AppendError::Db`]: the append works behind a
    /// savepoint, and neither commits nor rolls back. It needs the isolation level READ COMMITTED, Postgres's default, and a
    /// login with the privileges of the role `foldlog_command`, or of `foldlog_command_inline` where views are folded
    /// inline. Until the transaction ends, other appends to the same aggregate wait for it.
    ///
    /// ```no_run
    /// use foldlog::Foldlog;
    /// use foldlog::domain::prelude::*;
    /// use foldlog::domains::users::{UserEvent, Users};
    /// use sqlx::{Connection as _, PgConnection};
    ///
    /// # async fn example(foldlog: Foldlog, mut connection: PgConnection, id: AggregateId) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut transaction = connection.begin().await?;
    /// sqlx::query("update invoices set paid = true").execute(&mut *transaction).await?;
    /// let renamed = UserEvent::UsernameChanged { username: "ada".to_owned() };
    /// foldlog.append::<Users>(id, [renamed]).in_transaction(&mut transaction).await?;
    /// transaction.commit().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn in_transaction(mut self, connection: &'a mut PgConnection) -> Self {
        self.connection = Some(connection);
        self
    }

    /// Says what the append would lead to, or how it would fail, without storing anything.
    ///
    /// ```no_run
    /// use foldlog::Foldlog;
    /// use foldlog::domain::prelude::*;
    /// use foldlog::domains::users::{User, UserEvent, Users};
    ///
    /// # async fn example(foldlog: Foldlog, id: AggregateId) -> Result<(), Box<dyn std::error::Error>> {
    /// let renamed = UserEvent::UsernameChanged { username: "ada".to_owned() };
    /// let dry_run = foldlog.append::<Users>(id, [renamed]).dry_run().await?;
    /// let user: Option<User> = dry_run.aggregates[0].decode()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The [`AppendError`] of the append.
    pub async fn dry_run(self) -> Result<DryRun, AppendError> {
        let (foldlog, expected) = (self.foldlog, self.expected);
        let (target, prepared) = self.prepare();
        let batch = Batch::from_prepared(foldlog.serving::<D>()?, prepared?)?;
        // Boxed, because it is large.
        Box::pin(command::run_dry(foldlog, target, batch, expected)).await
    }

    fn prepare(self) -> (Target<'a>, Result<Vec<Prepared>, AppendError>) {
        let prepare = |(index, event)| {
            let rejected = |error: RejectedError| AppendError::Rejected { index, error };
            prepare::<D>(event, None).map_err(rejected)
        };
        let prepared = self.events.into_iter().enumerate().map(prepare).collect();
        let pool = &self.foldlog.pool;
        let target = match self.connection {
            Some(connection) => Target::Transaction(pool.session_in(connection)),
            None => Target::Pool(pool),
        };
        (target, prepared)
    }
}

impl<'a, D: Domain> IntoFuture for Append<'a, D> {
    type Output = Result<Appended, AppendError>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let (foldlog, expected) = (self.foldlog, self.expected);
        // The events are prepared here, so that the future does not hold the domain's types.
        let (target, prepared) = self.prepare();
        Box::pin(async move {
            let batch = Batch::from_prepared(foldlog.serving::<D>()?, prepared?)?;
            command::append(foldlog, target, batch, expected).await
        })
    }
}

impl From<Version> for ExpectedVersion {
    fn from(version: Version) -> Self {
        Self::Exact(version)
    }
}
