//! [`Foldlog`]: the domains of a process, their views, and the database behind them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tokio::sync::Semaphore;

mod builder;

pub use self::builder::{BuildError, FoldlogBuilder, STATE_CACHE_BYTES};
use crate::db::Pool;
use crate::domain::{AnyDomain, Domain, Domains};
use crate::event::{EventType, RecordedEvent, ShownEvent, TypeId};
use crate::state::StateCache;
use crate::store::{FeedWatch, Groups};
use crate::view::{Inline, View, ViewError};

/// A domain together with its view.
#[derive(Clone, Debug)]
pub struct Served {
    /// The domain.
    pub domain: &'static dyn AnyDomain,
    /// The domain's own view.
    pub view: Arc<View>,
    /// The names of the secret properties of each event type's payload, at any depth.
    secret_names: Arc<HashMap<TypeId, BTreeSet<String>>>,
}

impl Served {
    fn new(domain: &'static dyn AnyDomain) -> Result<Self, ViewError> {
        let names = |event_type: &EventType| {
            let schema = domain.payload_schema(event_type.id)?;
            Some((event_type.id, schema.secret_names()))
        };
        Ok(Self {
            domain,
            view: Arc::new(View::new(domain.projection())?),
            secret_names: Arc::new(domain.types().iter().filter_map(names).collect()),
        })
    }

    /// The event type that events of this type become when they are read: itself, unless it is an old revision.
    #[must_use]
    pub fn newest_type(&self, type_id: TypeId) -> Option<&'static EventType> {
        let mut old = self.domain.old_types().iter();
        let newest = old.find(|old| old.id == type_id);
        let type_id = newest.map_or(type_id, |old| old.newest);
        let mut types = self.domain.types().iter();
        types.find(|event_type| event_type.id == type_id)
    }
}

/// The domains of a process over one database: it appends, reads and folds. Cheap to clone.
///
/// ```
/// use foldlog::Foldlog;
/// use foldlog::db::Pool;
/// use foldlog::domains::users::Users;
///
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = Pool::new("postgres://localhost/app".parse()?, 10);
/// let foldlog = Foldlog::builder().domain::<Users>().inline(["users"]).build(pool)?;
/// # Ok(())
/// # }
/// # example().unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Foldlog {
    /// The connections.
    pub pool: Pool,
    /// The domains in the order of their list, each with its own view.
    pub served: Arc<[Served]>,
    /// All views: those of the domains, then those of further projections.
    pub views: Arc<[View]>,
    inline: Arc<Inline>,
    /// Limits hashing, which takes 19 MiB and keeps a core busy for 20 ms, to the number of cores.
    pub(crate) hashing: Arc<Semaphore>,
    /// Writes concurrent appends together; `None` in a process that serves one request at a time.
    pub(crate) groups: Option<Groups>,
    /// The states of recently appended aggregates.
    pub(crate) states: StateCache,
    /// What the readers that wait for the feed share.
    pub(crate) feed_watch: FeedWatch,
}

/// The domain is not part of a [`Foldlog`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the domain `{0}` is not part of this Foldlog; add it when you build it")]
pub struct NotServedError(&'static str);

impl Foldlog {
    /// Begins a [`Foldlog`] without domains.
    #[must_use]
    pub fn builder() -> FoldlogBuilder {
        FoldlogBuilder::default()
    }

    /// Builds a [`Foldlog`] from a list of domains; `inline` names the projections that are folded in the append's own
    /// transaction.
    ///
    /// # Errors
    ///
    /// See [`BuildError`].
    pub fn new(pool: Pool, domains: Domains, inline: Inline) -> Result<Self, BuildError> {
        Self::builder().domains(domains).inline(inline).build(pool)
    }

    /// For a process that serves one request at a time and may be suspended after each: appends are not grouped, and no states
    /// are remembered.
    #[cfg(feature = "lambda")]
    #[must_use]
    pub(crate) fn serving_one_request_at_a_time(mut self) -> Self {
        self.groups = None;
        self.states = StateCache::new(0);
        self
    }

    /// The domain with this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Served> {
        self.served
            .iter()
            .find(|served| served.domain.name() == name)
    }

    /// The domain that owns this event type.
    #[must_use]
    pub fn owning(&self, type_id: TypeId) -> Option<&Served> {
        let owns = |served: &&Served| served.domain.block().contains(&type_id.0);
        self.served.iter().find(owns)
    }

    /// The event as clients see it: in the newest revision of its type, and without secrets. Of an event that no domain of
    /// this process can decode, everything but the payload is shown.
    #[must_use]
    pub fn show_event(&self, event: &RecordedEvent) -> ShownEvent {
        self.show_with(event, event.metadata.clone())
    }

    /// As [`Self::show_event`], with metadata that was not read into [`Metadata`](crate::event::Metadata).
    pub(crate) fn show_with<M>(&self, event: &RecordedEvent, metadata: M) -> ShownEvent<M> {
        let served = self.owning(event.type_id);
        let known = served.and_then(|served| served.newest_type(event.type_id));
        let type_id = known.map_or(event.type_id, |known| known.id);
        let payload = served.and_then(|served| {
            let secret_names = served.secret_names.get(&type_id)?;
            served.domain.show_payload(event, secret_names)
        });
        ShownEvent {
            id: event.id,
            type_id,
            type_name: known.map(|known| known.name),
            domain: served.map(|served| served.domain.name()),
            aggregate_id: event.aggregate_id,
            version: event.version,
            position: event.position,
            payload,
            metadata,
            created_at: event.created_at,
        }
    }

    /// The name of the event's type in its newest revision; `None` when no domain of this process knows the type.
    #[must_use]
    pub fn type_name(&self, event: &RecordedEvent) -> Option<&'static str> {
        let served = self.owning(event.type_id)?;
        Some(served.newest_type(event.type_id)?.name)
    }

    /// What serves the domain `D`.
    ///
    /// # Errors
    ///
    /// When the domain is not part of this [`Foldlog`].
    pub(crate) fn serving<D: Domain>(&self) -> Result<&Served, NotServedError> {
        self.serving_named(D::NAME)
    }

    /// What serves the domain with this name.
    ///
    /// # Errors
    ///
    /// When the domain is not part of this [`Foldlog`].
    pub(crate) fn serving_named(&self, name: &'static str) -> Result<&Served, NotServedError> {
        self.named(name).ok_or(NotServedError(name))
    }

    /// The view of a domain or of another projection.
    #[must_use]
    pub fn view(&self, name: &str) -> Option<&View> {
        self.views.iter().find(|view| view.name() == name)
    }

    /// The names of the projections that are folded in the append's own transaction.
    #[must_use]
    pub fn inline(&self) -> &Inline {
        &self.inline
    }

    /// The views that an append of events of these types folds inline.
    pub(crate) fn inline_views<'a>(
        &'a self,
        types: &'a (impl Iterator<Item = TypeId> + Clone),
    ) -> impl Iterator<Item = &'a View> + 'a {
        let concerned = move |view: &&View| {
            let block = view.projection.block();
            types.clone().any(|type_id| block.contains(&type_id.0))
        };
        self.views
            .iter()
            .filter(|view| self.inline.contains(view.name()))
            .filter(concerned)
    }
}
