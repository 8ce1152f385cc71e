//! Builds a [`Foldlog`] and checks that its domains fit together.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::{Foldlog, Served};
use crate::db::Pool;
use crate::domain::{
    AnyDomain, AnyProjection, Domain, Domains, Projection, find_ambiguous, is_reserved,
    schema_names,
};
use crate::event::TypeSchemaError;
use crate::state::StateCache;
use crate::store::{FeedWatch, Groups};
use crate::view::{Inline, View, ViewError};

/// The default of [`FoldlogBuilder::state_cache_bytes`].
pub const STATE_CACHE_BYTES: usize = 32 * 1024 * 1024;

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
    /// Generators of code make one name of the names of two schemas.
    #[error(
        "generated code would have one name for the schemas `{0}` and `{1}` of the OpenAPI document; rename the event, the \
         type or the domain that one of them is named after"
    )]
    AmbiguousSchemas(String, String),
    /// `TITLE` is not a column of the rows that clients see.
    #[error("{0}: TITLE names `{1}`, which is not a column that clients see")]
    NoTitle(&'static str, &'static str),
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
            served.push(Served::new(*domain)?);
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
        check_schemas(&self.domains)?;
        let is_known = |name: &&String| views.iter().any(|view| view.name() == *name);
        if let Some(unknown) = self.inline.iter().find(|name| !is_known(name)) {
            let known: Vec<&str> = views.iter().map(View::name).collect();
            return Err(BuildError::NoProjection(unknown.clone(), known.join(", ")));
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Foldlog {
            groups: self.group_appends.then(Groups::default),
            states: StateCache::new(self.state_cache_bytes),
            feed_watch: FeedWatch::default(),
            pool,
            served: served.into(),
            views: views.into(),
            inline: Arc::new(self.inline),
            hashing: Arc::new(Semaphore::new(cores)),
        })
    }
}

/// Checks what the OpenAPI document says about the domains.
fn check_schemas(domains: &[&'static dyn AnyDomain]) -> Result<(), BuildError> {
    for domain in domains {
        let row = domain.projection().row_schema();
        let is_shown = |title| {
            let mut columns = row.properties().into_iter();
            columns.any(|(name, column)| name == title && !row.contains_secret(column))
        };
        if let Some(title) = domain.title().filter(|title| !is_shown(*title)) {
            return Err(BuildError::NoTitle(domain.name(), title));
        }
    }
    let names = domains.iter().flat_map(|domain| schema_names(*domain));
    match find_ambiguous(names) {
        Some((one, other)) => Err(BuildError::AmbiguousSchemas(one, other)),
        None => Ok(()),
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
