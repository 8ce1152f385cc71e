//! The typed revert.

use std::future::IntoFuture;
use std::marker::PhantomData;

use futures_util::future::BoxFuture;
use uuid::Uuid;

use crate::app::Foldlog;
use crate::command::{self, DryRun, Revert, RevertError, Reverted};
use crate::domain::Domain;
use crate::event::{AggregateId, EventId, ExpectedVersion, Metadata, Version};

impl Foldlog {
    /// Brings an aggregate of the domain `D` back to the state that it had at `to_version`, with the events that
    /// [`Domain::revert`] chooses. Await the builder that it returns.
    ///
    /// ```no_run
    /// use foldlog::Foldlog;
    /// use foldlog::domain::prelude::*;
    /// use foldlog::domains::users::Users;
    ///
    /// # async fn example(foldlog: Foldlog, id: AggregateId) -> Result<(), Box<dyn std::error::Error>> {
    /// let reverted = foldlog.revert::<Users>(id, Version(1)).except(["email"]).await?;
    /// assert_eq!(reverted.not_restored, ["password_hash"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn revert<D: Domain>(&self, id: AggregateId, to_version: Version) -> RevertTo<'_, D> {
        RevertTo {
            foldlog: self,
            revert: Revert {
                id: EventId(Uuid::now_v7()),
                aggregate_id: id,
                to_version,
                metadata: Metadata::default(),
                except: Vec::new(),
            },
            expected: ExpectedVersion::Any,
            domain: PhantomData,
        }
    }
}

/// A revert that is sent when it is awaited. Made by [`Foldlog::revert`].
#[must_use = "a revert does nothing until it is awaited"]
#[derive(Debug)]
pub struct RevertTo<'a, D> {
    foldlog: &'a Foldlog,
    revert: Revert,
    expected: ExpectedVersion,
    domain: PhantomData<fn() -> D>,
}

impl<D: Domain> RevertTo<'_, D> {
    /// Sets the idempotency key, which is also the id of the first event. A revert that is repeated with the same id stores
    /// nothing and returns the first answer.
    pub const fn id(mut self, id: EventId) -> Self {
        self.revert.id = id;
        self
    }

    /// Leaves these fields of the state as they are.
    pub fn except(mut self, fields: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.revert
            .except
            .extend(fields.into_iter().map(Into::into));
        self
    }

    /// Sets the metadata of the events, such as the reason.
    pub fn metadata(mut self, metadata: &Metadata) -> Self {
        self.revert.metadata = metadata.clone();
        self
    }

    /// Reverts only if the aggregate has this version.
    pub fn expecting(mut self, expected: impl Into<ExpectedVersion>) -> Self {
        self.expected = expected.into();
        self
    }

    /// Says what the revert would do, and which fields it would not restore, without storing anything.
    ///
    /// # Errors
    ///
    /// The [`RevertError`] of the revert.
    pub async fn dry_run(self) -> Result<(DryRun, Vec<String>), RevertError> {
        let served = self.foldlog.serving::<D>()?;
        let run = command::dry_run_revert(self.foldlog, served, &self.revert, self.expected);
        // Boxed, because it is large.
        Box::pin(run).await
    }
}

impl<'a, D: Domain> IntoFuture for RevertTo<'a, D> {
    type Output = Result<Reverted, RevertError>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self {
            foldlog,
            revert,
            expected,
            ..
        } = self;
        Box::pin(async move {
            let served = foldlog.serving::<D>()?;
            command::revert(foldlog, served, &revert, expected).await
        })
    }
}
