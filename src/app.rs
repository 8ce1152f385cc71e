//! [`Foldlog`]: the domains of a process, their views, and the database behind them.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::db::Pool;
use crate::domain::{AnyDomain, AnyProjection, Domain, Domains, Projection, is_reserved};
use crate::event::{TypeId, TypeSchemaError};
use crate::state::StateCache;
use crate::store::Groups;
use crate::view::{Inline, View, ViewError};

/// The default of [`FoldlogBuilder::state_cache_bytes`].
pub const STATE_CACHE_BYTES: usize = 32 * 1024 * 1024;

/// A domain together with its view.
#[derive(Clone, Debug)]
pub struct Served {
    /// The domain.
    pub domain: &'static dyn AnyDomain,
    /// The domain's own view.
    pub view: Arc<View>,
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
}

/// Collects the domains and projections of a [`Foldlog`].
#[derive(Debug)]
pub struct FoldlogBuilder {
    domains: Vec<&'static dyn AnyDomain>,
    projections: Vec<&'static dyn AnyProjection>,
    inline: Inline,
    group_appends: bool,
    state_cache_bytes: usize,
}

impl Default for FoldlogBuilder {
    fn default() -> Self {
        Self {
            domains: Vec::new(),
            projections: Vec::new(),
            inline: Inline::new(),
            group_appends: true,
            state_cache_bytes: STATE_CACHE_BYTES,
        }
    }
}

/// Why a [`Foldlog`] cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A row type cannot be a view.
    #[error(transparent)]
    View(#[from] ViewError),
    /// `INLINE` names something other than a projection.
    #[error("INLINE names `{0}`, which is not a projection; the projections are: {1}")]
    NoProjection(String, String),
    /// Two projections have the same name.
    #[error("two projections are named `{0}`")]
    DuplicateName(&'static str),
    /// A domain has the name of another route.
    #[error("a domain cannot be named `{0}`, because a route has this path")]
    ReservedName(&'static str),
    /// Two domains have overlapping blocks of type ids.
    #[error("the domains `{0}` and `{1}` have overlapping blocks of event types")]
    OverlappingBlocks(&'static str, &'static str),
    /// The secrets in a payload could not be hidden.
    #[error("{domain}: event `{event}`: {source}")]
    Payload {
        /// The domain.
        domain: &'static str,
        /// The event type.
        event: &'static str,
        /// Why.
        source: TypeSchemaError,
    },
}

/// The domain is not part of a [`Foldlog`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the domain `{0}` is not part of this Foldlog; add it when you build it")]
pub struct NotServedError(&'static str);

impl FoldlogBuilder {
    /// Adds a domain.
    #[must_use]
    pub fn domain<D: Domain>(mut self) -> Self {
        self.domains.push(crate::domain::domain::<D>());
        self
    }

    /// Adds a projection beside the domains' own views.
    #[must_use]
    pub fn projection<P: Projection>(mut self) -> Self {
        self.projections.push(crate::domain::projection::<P>());
        self
    }

    /// Adds a list that [`domains!`](crate::domains!) made.
    #[must_use]
    pub fn domains(mut self, domains: Domains) -> Self {
        self.domains.extend(domains.iter());
        self.projections.extend(domains.further_projections());
        self
    }

    /// Folds these projections in the append's own transaction.
    #[must_use]
    pub fn inline(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.inline.extend(names.into_iter().map(Into::into));
        self
    }

    /// Whether concurrent appends of single events are written together, which is the default. Turn it off in a process
    /// that serves one request at a time and may be suspended after each.
    #[must_use]
    pub const fn group_appends(mut self, group_appends: bool) -> Self {
        self.group_appends = group_appends;
        self
    }

    /// How much memory the states of recently appended aggregates may take, so that further appends do not load them. The
    /// default is 32 MiB; 0 turns it off. The states contain the secrets of the aggregates, such as hashes of passwords.
    #[must_use]
    pub const fn state_cache_bytes(mut self, bytes: usize) -> Self {
        self.state_cache_bytes = bytes;
        self
    }

    /// Builds the [`Foldlog`] over `pool`. It connects to the database when it is first used.
    ///
    /// # Errors
    ///
    /// See [`BuildError`].
    pub fn build(self, pool: Pool) -> Result<Foldlog, BuildError> {
        check_domains(&self.domains)?;
        let mut served = Vec::with_capacity(self.domains.len());
        for domain in &self.domains {
            let view = View::new(domain.projection())?;
            served.push(Served {
                domain: *domain,
                view: Arc::new(view),
            });
        }
        let mut views: Vec<View> = served
            .iter()
            .map(|served| View::clone(&served.view))
            .collect();
        for projection in &self.projections {
            views.push(View::new(*projection)?);
        }
        for (index, view) in views.iter().enumerate() {
            if views[..index]
                .iter()
                .any(|other| other.name() == view.name())
            {
                return Err(BuildError::DuplicateName(view.name()));
            }
        }
        let is_known = |name: &&String| views.iter().any(|view| view.name() == *name);
        if let Some(unknown) = self.inline.iter().find(|name| !is_known(name)) {
            let known: Vec<&str> = views.iter().map(View::name).collect();
            return Err(BuildError::NoProjection(unknown.clone(), known.join(", ")));
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Foldlog {
            groups: self.group_appends.then(|| Groups::new(pool.clone())),
            states: StateCache::new(self.state_cache_bytes),
            pool,
            served: served.into(),
            views: views.into(),
            inline: Arc::new(self.inline),
            hashing: Arc::new(Semaphore::new(cores)),
        })
    }
}

fn check_domains(domains: &[&'static dyn AnyDomain]) -> Result<(), BuildError> {
    for (index, domain) in domains.iter().enumerate() {
        let (block, name) = (domain.block(), domain.name());
        if is_reserved(name) {
            return Err(BuildError::ReservedName(name));
        }
        for other in &domains[..index] {
            if block.start < other.block().end && other.block().start < block.end {
                return Err(BuildError::OverlappingBlocks(other.name(), name));
            }
        }
        for event_type in domain.types() {
            let Some(schema) = domain.payload_schema(event_type.id) else {
                continue;
            };
            schema.check().map_err(|source| BuildError::Payload {
                domain: name,
                event: event_type.name,
                source,
            })?;
        }
    }
    Ok(())
}

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

    /// What serves the domain `D`.
    ///
    /// # Errors
    ///
    /// When the domain is not part of this [`Foldlog`].
    pub(crate) fn serving<D: Domain>(&self) -> Result<&Served, NotServedError> {
        self.named(D::NAME).ok_or(NotServedError(D::NAME))
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
