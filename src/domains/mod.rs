//! The domains that this build serves: one folder each, and one word in the list.

pub mod users;

use crate::domain::Domains;

/// The domains that the hosts of this build serve. Further projections follow a semicolon: `domains![A, B; projections: C]`.
pub const ALL: Domains = crate::domains![users::Users];
