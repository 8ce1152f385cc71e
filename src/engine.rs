//! What commands, queries and projections work on: the pool, the domains, and their views. Cheap to clone.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::db::Pool;
use crate::domain::Domains;
use crate::event::TypeId;
use crate::view::{Inline, View, ViewError};

/// The running system, less its hosts.
#[derive(Clone, Debug)]
pub struct Engine {
    /// Connections.
    pub pool: Pool,
    /// The domains served.
    pub domains: Domains,
    /// A view a projection, in the list's order: the domains' own first.
    pub views: Arc<[View]>,
    inline: Arc<Inline>,
    passwords: Arc<HashMap<TypeId, Vec<String>>>,
    /// Hashing takes 19 MiB and a core for some 20 ms each time: no more at once than there are cores.
    pub(crate) hashing: Arc<Semaphore>,
}

/// Why an engine cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A row type cannot be a view.
    #[error(transparent)]
    View(#[from] ViewError),
    /// `INLINE` names something else than a projection.
    #[error("INLINE names `{0}`, which is no projection; there are: {1}")]
    NoProjection(String, String),
    /// Two projections have one name.
    #[error("two projections are named `{0}`")]
    Twice(&'static str),
}

impl Engine {
    /// An engine over `pool`. `inline` names the projections that are folded in the append's own transaction.
    ///
    /// # Errors
    ///
    /// See [`BuildError`].
    pub fn new(pool: Pool, domains: Domains, inline: Inline) -> Result<Self, BuildError> {
        let views = domains
            .projections()
            .map(View::new)
            .collect::<Result<Vec<_>, _>>()?;
        let twice = views
            .iter()
            .enumerate()
            .find(|(i, view)| views[..*i].iter().any(|other| other.name() == view.name()));
        if let Some((_, view)) = twice {
            return Err(BuildError::Twice(view.name()));
        }
        if let Some(unknown) = inline
            .iter()
            .find(|name| !views.iter().any(|view| view.name() == *name))
        {
            let known = views.iter().map(View::name).collect::<Vec<_>>().join(", ");
            return Err(BuildError::NoProjection(unknown.clone(), known));
        }
        let mut passwords = HashMap::new();
        for domain in domains.iter() {
            for event_type in domain.types() {
                let Some(schema) = domain.payload_schema(event_type.id) else {
                    continue;
                };
                let hashed: Vec<_> = schema
                    .properties()
                    .into_iter()
                    .filter(|(_, property)| schema.is_password(property))
                    .map(|(name, _)| name.to_owned())
                    .collect();
                if !hashed.is_empty() {
                    passwords.insert(event_type.id, hashed);
                }
            }
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            pool,
            domains,
            views: views.into(),
            inline: Arc::new(inline),
            passwords: Arc::new(passwords),
            hashing: Arc::new(Semaphore::new(cores)),
        })
    }

    /// The view of a domain or of another projection.
    #[must_use]
    pub fn view(&self, name: &str) -> Option<&View> {
        self.views.iter().find(|view| view.name() == name)
    }

    /// The projections that are folded in the append's own transaction.
    #[must_use]
    pub fn inline(&self) -> &Inline {
        &self.inline
    }

    /// The views that an append of these event types folds inline.
    pub(crate) fn inline_views(
        &self,
        types: &(impl Iterator<Item = TypeId> + Clone),
    ) -> Vec<&View> {
        let concerned = |view: &&View| {
            types
                .clone()
                .any(|t| view.projection.block().contains(&t.0))
        };
        self.views
            .iter()
            .filter(|view| self.inline.contains(view.name()))
            .filter(concerned)
            .collect()
    }

    /// The payload fields of an event type that are stored as hashes.
    pub(crate) fn passwords(&self, type_id: TypeId) -> &[String] {
        self.passwords.get(&type_id).map_or(&[], Vec::as_slice)
    }
}
