//! Folds and writes one claimed batch.

use std::time::Instant;

use super::fold::{self, Applied, OnRejectedWrite};
use super::read::ReadEvents;
use super::{ProjectionError, parked};
use crate::db::Transaction;
use crate::telemetry::millis;
use crate::view::View;

/// Folds and writes a claimed batch, commits it, and logs one line if it folded any event.
#[tracing::instrument(name = "batch", skip_all, fields(projection = view.name(), batch.events = claimed.events.len()))]
pub(super) async fn apply(
    mut transaction: Transaction,
    view: &View,
    claimed: ReadEvents,
    on_rejected: OnRejectedWrite,
) -> Result<Applied, ProjectionError> {
    let started = Instant::now();
    let applied = fold::apply(&mut transaction, view, claimed, on_rejected).await?;
    parked::park(&mut transaction, view, &applied.failures).await?;
    transaction.commit().await?;
    if applied.folded > 0 {
        tracing::info!(
            duration_ms = millis(started.elapsed()),
            "folded {} events into the projection {}",
            applied.folded,
            view.name()
        );
    }
    Ok(applied)
}
