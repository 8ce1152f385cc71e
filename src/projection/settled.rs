//! Snapshots: a pass reads what its frozen snapshot C sees; no later pass reads again what the settled snapshot sees.
//!
//! Both snapshots contain transaction ids with the log's offset added (see [`db`](crate::db)), and both use Postgres' text
//! form `xmin:xmax:running,…`. The events that are visible now but not in the settled snapshot lie in a few spans of
//! transaction ids: one span for each transaction that was running when the settled snapshot was taken, and one for all
//! ids from its end on. Each span is one index probe, so the cost of a pass depends on the number of new events, and
//! neither on the size of the log nor on how long a transaction has been open.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// A snapshot: every transaction below `end` has ended, except for those in `running`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    end: u64,
    running: BTreeSet<u64>,
}

/// A place in log order: directly after this event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogCursor {
    /// The event's transaction id, with the log's offset added.
    pub txid: u64,
    /// The event's position.
    pub position: i64,
}

/// A range of the log that a pass has to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The range begins after this place.
    pub after: LogCursor,
    /// The range ends before this transaction id.
    pub before: u64,
}

impl Snapshot {
    /// A snapshot that sees no transaction: the settled snapshot of a new projection.
    #[must_use]
    pub const fn empty() -> Self {
        Self {
            end: 1,
            running: BTreeSet::new(),
        }
    }

    /// The ranges after `cursor` that contain everything this snapshot sees and `settled` does not, in log order.
    #[must_use]
    pub fn spans_since(&self, settled: &Self, cursor: LogCursor) -> Vec<Span> {
        let ended_since = settled
            .running
            .difference(&self.running)
            .map(|&txid| (txid, txid + 1));
        ended_since
            .chain([(settled.end, self.end)])
            .filter(|&(from, before)| from < before && cursor.txid < before)
            .map(|(from, before)| Span {
                after: cursor.max(LogCursor {
                    txid: from,
                    position: 0,
                }),
                before,
            })
            .collect()
    }

    /// The part of this snapshot that a walk has finished when it stops at `cursor`: all transactions below the one in
    /// which it stopped. `None` when `settled` already covers that part.
    #[must_use]
    pub fn truncate_at(&self, settled: &Self, cursor: LogCursor) -> Option<Self> {
        let end = cursor.txid.min(self.end);
        (end > settled.end).then(|| Self {
            end,
            running: self.running.range(..end).copied().collect(),
        })
    }

    /// How many transaction ids Postgres has assigned since `settled`.
    #[must_use]
    pub const fn distance(&self, settled: &Self) -> u64 {
        self.end.saturating_sub(settled.end)
    }
}

impl FromStr for Snapshot {
    type Err = SnapshotError;

    fn from_str(text: &str) -> Result<Self, SnapshotError> {
        let number = |text: &str| text.parse::<u64>().map_err(|_| SnapshotError);
        let mut parts = text.splitn(3, ':');
        let (Some(_), Some(end), Some(running)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(SnapshotError);
        };
        let running = running
            .split(',')
            .filter(|txid| !txid.is_empty())
            .map(number)
            .collect::<Result<_, _>>()?;
        Ok(Self {
            end: number(end)?,
            running,
        })
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let begin = self.running.first().unwrap_or(&self.end);
        write!(f, "{begin}:{}:", self.end)?;
        for (index, txid) in self.running.iter().enumerate() {
            write!(f, "{}{txid}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// A text that cannot be parsed as a `pg_snapshot`.
#[derive(Debug, thiserror::Error)]
#[error("the text cannot be parsed as a pg_snapshot")]
pub struct SnapshotError;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn snapshot(text: &str) -> Snapshot {
        text.parse().unwrap()
    }

    /// Fails when the spans leave out a transaction that has ended since, or the ids from the settled snapshot's end on.
    #[test]
    fn spans_since_lists_ranges_of_unsettled_txids() {
        let (settled, now) = (snapshot("5:10:5,7"), snapshot("7:20:7,15"));
        let span = |txid, position, before| Span {
            after: LogCursor { txid, position },
            before,
        };
        // 5 has ended by now and 7 is still running. 10 and above are new; 15 is still running, and the claim statement filters
        // it out, because C does not see it.
        assert_eq!(
            now.spans_since(&settled, LogCursor::default()),
            [span(5, 0, 6), span(10, 0, 20)]
        );
        assert_eq!(
            now.spans_since(
                &settled,
                LogCursor {
                    txid: 5,
                    position: 9
                }
            ),
            [span(5, 9, 6), span(10, 0, 20)]
        );
        assert_eq!(
            now.spans_since(
                &settled,
                LogCursor {
                    txid: 12,
                    position: 3
                }
            ),
            [span(12, 3, 20)]
        );
        assert_eq!(now.spans_since(&now, LogCursor::default()), []);
        assert_eq!(
            now.spans_since(&Snapshot::empty(), LogCursor::default()),
            [span(1, 0, 20)]
        );
    }

    proptest! {
        // Fails when a walk that stops early settles the transaction in which it stopped, or a later one, or leaves out a
        // transaction that it has finished.
        #[test]
        fn a_partial_walk_settles_exactly_the_transactions_it_has_finished(
            settled_end in 1u64..30, settled_running in prop::collection::btree_set(1u64..30, 0..5),
            more in 0u64..10, now_running in prop::collection::btree_set(1u64..40, 0..5), cursor in 0u64..40,
        ) {
            let sees = |s: &Snapshot, txid| txid < s.end && !s.running.contains(&txid);
            let settled = Snapshot { end: settled_end, running: settled_running.into_iter().filter(|t| *t < settled_end).collect() };
            let end = settled_end + more;
            // A transaction that has ended cannot run again.
            let running = now_running.into_iter().filter(|t| *t < end && !sees(&settled, *t)).collect();
            let now = Snapshot { end, running };
            let walked = now.truncate_at(&settled, LogCursor { txid: cursor, position: 1 });
            for txid in 1..45 {
                let seen = walked.as_ref().is_some_and(|walked| sees(walked, txid));
                let expected = sees(&now, txid) && txid < cursor && cursor.min(end) > settled_end;
                prop_assert_eq!(seen, expected, "{}", txid);
            }
        }

        // Fails when a span leaves out an unsettled transaction that is visible, or contains a settled one.
        #[test]
        fn spans_cover_exactly_the_unsettled_visible_events(
            settled_end in 1u64..30, settled_running in prop::collection::btree_set(1u64..30, 0..5),
            more in 0u64..10, now_running in prop::collection::btree_set(1u64..40, 0..5), cursor in 0u64..40,
        ) {
            let sees = |s: &Snapshot, txid| txid < s.end && !s.running.contains(&txid);
            let settled = Snapshot { end: settled_end, running: settled_running.into_iter().filter(|t| *t < settled_end).collect() };
            let end = settled_end + more;
            // A transaction that has ended cannot run again.
            let running = now_running.into_iter().filter(|t| *t < end && !sees(&settled, *t)).collect();
            let now = Snapshot { end, running };
            let cursor = LogCursor { txid: cursor, position: 0 };
            let spans = now.spans_since(&settled, cursor);
            prop_assert!(spans.windows(2).all(|pair| pair[0].before <= pair[1].after.txid));
            for txid in 1..45 {
                let event = LogCursor { txid, position: 1 };
                let found = spans.iter().any(|s| s.after < event && txid < s.before) && sees(&now, txid);
                prop_assert_eq!(found, sees(&now, txid) && !sees(&settled, txid) && event > cursor, "txid {}", txid);
            }
            prop_assert_eq!(&snapshot(&now.to_string()), &now);
        }
    }
}
