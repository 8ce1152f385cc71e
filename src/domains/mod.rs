//! The domains that this build serves: a folder each, and one line in the list.

pub mod users;

use crate::domain::Domains;

/// The one list. Projections beside the domains' own go behind a semicolon: `domains![A, B; projections: C]`.
pub const ALL: Domains = crate::domains![users::Users];
