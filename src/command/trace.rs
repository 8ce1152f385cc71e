//! The span and the log lines of an append.

use tracing::Span;

use super::{Appended, Batch};

/// The span of an append. Payloads and metadata are not part of it.
pub(super) fn span(batch: &Batch<'_>) -> Span {
    let mut domains: Vec<_> = batch
        .groups
        .iter()
        .map(|group| group.served.domain.name())
        .collect();
    domains.dedup();
    // An append to several domains names none.
    let domain = match domains[..] {
        [domain] => Some(domain),
        _ => None,
    };
    match &batch.events[..] {
        [event] => tracing::info_span!(
            "append",
            domain,
            event.id = %event.id,
            event.type_id = event.type_id.0,
            aggregate.id = %event.aggregate_id,
        ),
        events => tracing::info_span!("append", domain, batch.events = events.len()),
    }
}

/// Logs each stored event at debug level; the line of the request is the one at info level.
pub(super) fn log(appended: &Appended) {
    if appended.duplicate {
        return;
    }
    for event in &appended.events {
        tracing::debug!(
            event.id = %event.id,
            event.position = event.position.0,
            aggregate.id = %event.aggregate_id,
            aggregate.version = event.version.0,
            "appended event {} as version {}",
            event.id,
            event.version.0,
        );
    }
}
