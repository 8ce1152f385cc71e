//! The list of domains and projections, checked at compile time.

use std::ops::Range;

use super::{AnyDomain, AnyProjection};

/// The domains and projections that a process serves, made by [`domains!`](crate::domains!).
#[derive(Clone, Copy, Debug)]
pub struct Domains {
    domains: &'static [&'static dyn AnyDomain],
    projections: &'static [&'static dyn AnyProjection],
}

impl Domains {
    /// For [`domains!`](crate::domains!).
    #[doc(hidden)]
    #[must_use]
    pub const fn new(
        domains: &'static [&'static dyn AnyDomain],
        projections: &'static [&'static dyn AnyProjection],
    ) -> Self {
        Self {
            domains,
            projections,
        }
    }

    /// All domains, in the order of the list.
    pub fn iter(&self) -> impl Iterator<Item = &'static dyn AnyDomain> + use<> {
        self.domains.iter().copied()
    }

    /// The projections beside the domains' own views.
    pub(crate) fn further_projections(&self) -> impl Iterator<Item = &'static dyn AnyProjection> {
        self.projections.iter().copied()
    }

    /// All projections: those of the domains' own views, then the others.
    pub fn projections(&self) -> impl Iterator<Item = &'static dyn AnyProjection> + use<> {
        let own = self.iter().map(AnyDomain::projection);
        own.chain(self.projections.iter().copied())
    }
}

/// For [`domains!`](crate::domains!): fails the compilation when two domains have overlapping blocks or the same name, or
/// when a name is not a lower-case identifier or is a route of foldlog.
#[doc(hidden)]
pub const fn check_blocks(domains: &[(&str, Range<i16>)]) {
    let mut i = 0;
    while i < domains.len() {
        assert!(
            is_identifier(domains[i].0.as_bytes()),
            "a domain's name must be a lower-case SQL identifier"
        );
        assert!(
            !is_reserved(domains[i].0),
            "a domain's name must not be the name of another route"
        );
        let mut j = 0;
        while j < i {
            assert!(
                !same(domains[i].0, domains[j].0),
                "two domains have the same name"
            );
            assert!(
                domains[i].1.end <= domains[j].1.start || domains[j].1.end <= domains[i].1.start,
                "two domains have overlapping blocks of event types"
            );
            j += 1;
        }
        i += 1;
    }
}

/// Whether a domain of this name would hide another route.
pub(crate) const fn is_reserved(name: &str) -> bool {
    same(name, "events") || same(name, "health") || same(name, "projections")
}

const fn is_identifier(name: &[u8]) -> bool {
    let mut i = 0;
    while i < name.len() {
        if !(name[i].is_ascii_lowercase() || name[i] == b'_' || (i > 0 && name[i].is_ascii_digit()))
        {
            return false;
        }
        i += 1;
    }
    // Postgres truncates identifiers at 63 bytes, and index names are longer than the table's.
    !name.is_empty() && name.len() <= 40
}

const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}
