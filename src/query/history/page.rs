//! The bounds of a page of a history, and its items.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::HistoryQuery;
use crate::event::{Metadata, Version};
use crate::view::{Changes, PageLimit, json_string_len};

/// How many events a page with a filter looks at. If few of them match, the page is short or empty, and has a `next`.
const MAX_EXAMINED_EVENTS: i32 = 10_000;

/// What an event has in a page beside its payload, its metadata and its changes, in bytes.
const EVENT_BYTES: usize = 512;
/// What a changed field has beside its name and its two values: quotes, which are escaped, and punctuation.
const FIELD_BYTES: usize = 10;

/// How many bytes an event has as a part of a JSON string, or a little fewer.
pub(crate) fn json_bytes(payload: &str, metadata: &Metadata, changes: Option<&Changes>) -> usize {
    let metadata: usize = metadata
        .texts()
        .map(|(key, json)| json_string_len(key) + json_string_len(json) + FIELD_BYTES)
        .sum();
    let changes: usize = changes
        .into_iter()
        .flatten()
        .map(|(name, [before, after])| {
            let values = json_string_len(before.get()) + json_string_len(after.get());
            json_string_len(name) + values + FIELD_BYTES
        })
        .sum();
    EVENT_BYTES + json_string_len(payload) + metadata + changes
}

/// The order of a history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The first event comes first.
    #[default]
    OldestFirst,
    /// The last event comes first.
    NewestFirst,
}

/// The start of a page of a history: the page begins after this event, in its order. Clients treat it as an opaque text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryCursor {
    pub(super) order: Order,
    version: Version,
}

impl HistoryCursor {
    /// Encodes the cursor as the text that a client sends to get the next page.
    #[must_use]
    pub fn encode(self) -> String {
        let tag = match self.order {
            Order::OldestFirst => b'o',
            Order::NewestFirst => b'n',
        };
        let [a, b, c, d] = self.version.0.to_be_bytes();
        URL_SAFE_NO_PAD.encode([tag, a, b, c, d])
    }

    /// Decodes the text that a client sent; `None` when [`Self::encode`] did not produce it.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let [tag, version @ ..] = <[u8; 5]>::try_from(bytes).ok()?;
        let order = match tag {
            b'o' => Order::OldestFirst,
            b'n' => Order::NewestFirst,
            _ => return None,
        };
        let version = Version(i32::from_be_bytes(version));
        (version > Version(0)).then_some(Self { order, version })
    }
}

/// The versions that a request looks at.
#[derive(Clone, Copy)]
pub(super) struct Span {
    pub first: i32,
    pub last: i32,
}

impl Span {
    pub(super) fn new(query: &HistoryQuery<'_>, newest: Version) -> Self {
        let is_filtered = query.field.is_some() || query.actor.is_some();
        let length = if is_filtered {
            MAX_EXAMINED_EVENTS
        } else {
            i32::from(query.limit.rows.max(1))
        };
        let after = query.after.map(|cursor| cursor.version.0);
        match query.order {
            Order::OldestFirst => {
                let first = after.map_or(1, |after| after.saturating_add(1));
                let last = first.saturating_add(length - 1);
                Self { first, last }
            }
            Order::NewestFirst => {
                let last = after.map_or(newest.0, |after| newest.0.min(after - 1));
                let first = (last.saturating_sub(length - 1)).max(1);
                Self { first, last }
            }
        }
    }
}

/// The items of a page. Events are folded oldest first in either order, so a page with the newest first drops its oldest items when
/// it is full.
pub(super) struct PageItems<T> {
    order: Order,
    limit: PageLimit,
    span: Span,
    items: VecDeque<(Version, T, usize)>,
    bytes: usize,
    /// The page ends at its last item (oldest first), or at its first (newest first): there are further ones.
    is_full: bool,
}

impl<T> PageItems<T> {
    pub(super) const fn new(query: &HistoryQuery<'_>, span: Span) -> Self {
        Self {
            order: query.order,
            limit: query.limit,
            span,
            items: VecDeque::new(),
            bytes: 0,
            is_full: false,
        }
    }

    pub(super) fn push(&mut self, version: Version, item: T, bytes: usize) -> ControlFlow<()> {
        let max_items = usize::from(self.limit.rows.max(1));
        match self.order {
            Order::OldestFirst => {
                let fits = self.items.is_empty() || self.bytes + bytes <= self.limit.bytes;
                if !fits || self.items.len() == max_items {
                    self.is_full = true;
                    return ControlFlow::Break(());
                }
                self.bytes += bytes;
                self.items.push_back((version, item, bytes));
            }
            Order::NewestFirst => {
                self.bytes += bytes;
                self.items.push_back((version, item, bytes));
                while self.items.len() > max_items
                    || (self.bytes > self.limit.bytes && self.items.len() > 1)
                {
                    let dropped = self.items.pop_front();
                    self.bytes -= dropped.map_or(0, |(.., bytes)| bytes);
                    self.is_full = true;
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// The items in the order asked for, and where the next page begins.
    pub(super) fn finish(self, newest: Version) -> (Vec<T>, Option<HistoryCursor>) {
        let order = self.order;
        let end = match order {
            Order::OldestFirst => {
                let last = self.items.back().map(|(version, ..)| *version);
                let looked_at = Version(self.span.last);
                let end = last.filter(|_| self.is_full).unwrap_or(looked_at);
                (end < newest).then_some(end)
            }
            Order::NewestFirst => {
                let first = self.items.front().map(|(version, ..)| *version);
                let looked_at = Version(self.span.first);
                let end = first.filter(|_| self.is_full).unwrap_or(looked_at);
                (end > Version(1) && end <= newest).then_some(end)
            }
        };
        let mut items: Vec<T> = self.items.into_iter().map(|(_, item, _)| item).collect();
        if order == Order::NewestFirst {
            items.reverse();
        }
        let next = end.map(|version| HistoryCursor { order, version });
        (items, next)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        // Fails when decoding a cursor does not return the cursor that was encoded.
        #[test]
        fn a_history_cursor_round_trips(version in 1..i32::MAX, is_newest_first: bool) {
            let order = if is_newest_first { Order::NewestFirst } else { Order::OldestFirst };
            let cursor = HistoryCursor { order, version: Version(version) };
            prop_assert_eq!(HistoryCursor::decode(&cursor.encode()), Some(cursor));
        }

        // Fails when a text that `encode` never produces is accepted as a cursor.
        #[test]
        fn an_invalid_history_cursor_decodes_to_none(text in ".{0,12}") {
            if let Some(cursor) = HistoryCursor::decode(&text) {
                prop_assert_eq!(cursor.encode(), text);
            }
        }
    }
}
