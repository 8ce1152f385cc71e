//! What an operator does in a schedule.

use crate::rng::Rng;

/// A verb, and when it is sent.
#[derive(Clone, Debug)]
pub struct Order {
    pub pause_ms: u64,
    /// The host that gets it, as an index into those that can answer.
    pub host: u64,
    pub projection: &'static str,
    pub verb: OperatorVerb,
}

/// A verb of `POST /projections` and of the catch-up function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperatorVerb {
    Reproject,
    /// Refuses to go live if a row changes.
    ReprojectUnchanged,
    Preview,
    Cancel,
    Verify,
    Repair,
    /// Skips one of the events that park aggregates.
    Skip,
}

/// Three to nine orders.
pub(super) fn orders(rng: &mut Rng, duration_ms: u64) -> Vec<Order> {
    let count = rng.between(3, 9);
    (0..count)
        .map(|_| {
            let verb = rng.pick(&[
                OperatorVerb::Reproject,
                OperatorVerb::Reproject,
                OperatorVerb::Reproject,
                OperatorVerb::ReprojectUnchanged,
                OperatorVerb::Preview,
                OperatorVerb::Cancel,
                OperatorVerb::Verify,
                OperatorVerb::Repair,
                OperatorVerb::Skip,
            ]);
            Order {
                pause_ms: rng.below(2 * duration_ms / count),
                host: rng.below(8),
                // Only the ledger has events that cannot be folded.
                projection: if verb == OperatorVerb::Skip {
                    "ledger"
                } else {
                    rng.pick(&["users", "accounts", "ledger"])
                },
                verb,
            }
        })
        .collect()
}
