//! A page of any entries that serialize to JSON, no larger than a limit.

use serde::Serialize;

use super::{PageLimit, json_string_len};

/// Takes entries until the page is full.
#[derive(Debug)]
pub(crate) struct BoundedPage<T> {
    limit: PageLimit,
    entries: Vec<T>,
    bytes: usize,
    has_more: bool,
}

impl PageLimit {
    /// How many rows a statement reads for a page: one more than the page has shows whether there is a next page.
    pub(crate) fn rows_to_read(self) -> i64 {
        i64::from(self.rows.max(1)) + 1
    }
}

impl<T: Serialize> BoundedPage<T> {
    /// An empty page.
    pub(crate) const fn new(limit: PageLimit) -> Self {
        Self {
            limit,
            entries: Vec::new(),
            bytes: 0,
            has_more: false,
        }
    }

    /// Takes the next entry, unless the page is full. It always takes the first one, because a page without entries has no cursor.
    pub(crate) fn push(&mut self, entry: T) {
        if self.has_more {
            return;
        }
        self.bytes += serde_json::to_string(&entry).map_or(0, |json| json_string_len(&json));
        let is_full = self.entries.len() >= usize::from(self.limit.rows.max(1));
        self.has_more = is_full || (self.bytes > self.limit.bytes && !self.entries.is_empty());
        if !self.has_more {
            self.entries.push(entry);
        }
    }

    /// The entries, and whether there are more.
    pub(crate) fn finish(self) -> (Vec<T>, bool) {
        (self.entries, self.has_more)
    }
}
