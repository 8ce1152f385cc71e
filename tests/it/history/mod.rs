//! The past of one aggregate: versions, instants, history, diff, blame and explain.

mod edges;
mod explained;
mod model;
mod old_revisions;
mod skipped;
mod typed;
