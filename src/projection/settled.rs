//! Snapshots: up to where a pass looks (C, frozen at its beginning) and up to where none need look again (settled).
//!
//! Both are in the log's terms (see [`db`](crate::db)) and in Postgres' text form `xmin:xmax:running,…`. What is visible
//! now but not in the settled snapshot lies in a few spans of transaction ids: one for each transaction that was running
//! then, and all from its end on. Each is an index probe, so the cost of a pass depends on what is new: not on the size
//! of the log, nor on how long some transaction has been open.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// A snapshot: all transactions below `end` are over, but for those in `running`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    end: u64,
    running: BTreeSet<u64>,
}

/// Where a pass has got to in log order: behind this event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogCursor {
    /// The event's transaction, in the log's terms.
    pub txid: u64,
    /// The event's position.
    pub position: i64,
}

/// A range of transaction ids to look into, in log order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Look behind this place.
    pub after: LogCursor,
    /// End before this transaction.
    pub before: u64,
}

impl Snapshot {
    /// Sees nothing: where a projection begins.
    #[must_use]
    pub const fn empty() -> Self {
        Self {
            end: 1,
            running: BTreeSet::new(),
        }
    }

    /// What is seen here and was not seen in `settled`, behind `cursor`, in log order.
    #[must_use]
    pub fn spans_since(&self, settled: &Self, cursor: LogCursor) -> Vec<Span> {
        let late = settled
            .running
            .difference(&self.running)
            .map(|&txid| (txid, txid + 1));
        late.chain([(settled.end, self.end)])
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

    /// The part of this snapshot that a walk has seen when it stops behind `cursor`: all transactions below the one it
    /// stopped in. It is what a walk with a smaller C would have settled. `None` when that is no more than `settled` saw.
    #[must_use]
    pub fn up_to(&self, settled: &Self, cursor: LogCursor) -> Option<Self> {
        let end = cursor.txid.min(self.end);
        (end > settled.end).then(|| Self {
            end,
            running: self.running.range(..end).copied().collect(),
        })
    }

    /// How many transaction ids were given since `settled`.
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

/// The text is no snapshot.
#[derive(Debug, thiserror::Error)]
#[error("not a pg_snapshot")]
pub struct SnapshotError;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn snapshot(text: &str) -> Snapshot {
        text.parse().unwrap()
    }

    #[test]
    fn spans_since_lists_ranges_of_unsettled_txids() {
        let (settled, now) = (snapshot("5:10:5,7"), snapshot("7:20:7,15"));
        let span = |txid, position, before| Span {
            after: LogCursor { txid, position },
            before,
        };
        // 5 is over by now, 7 still runs; 10 and above were not seen, 15 still runs and is left to C's own filter.
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
        // A walk that stops settles exactly the transactions that it is through with: what is new after that is what was
        // new before and lies at or behind the transaction it stopped in.
        #[test]
        fn a_partial_walk_settles_exactly_the_transactions_it_has_finished(
            settled_end in 1u64..30, settled_running in prop::collection::btree_set(1u64..30, 0..5),
            more in 0u64..10, now_running in prop::collection::btree_set(1u64..40, 0..5), cursor in 0u64..40,
        ) {
            let sees = |s: &Snapshot, txid| txid < s.end && !s.running.contains(&txid);
            let settled = Snapshot { end: settled_end, running: settled_running.into_iter().filter(|t| *t < settled_end).collect() };
            let end = settled_end + more;
            // A transaction that is over stays over.
            let running = now_running.into_iter().filter(|t| *t < end && !sees(&settled, *t)).collect();
            let now = Snapshot { end, running };
            let walked = now.up_to(&settled, LogCursor { txid: cursor, position: 1 });
            for txid in 1..45 {
                let seen = walked.as_ref().is_some_and(|walked| sees(walked, txid));
                let expected = sees(&now, txid) && txid < cursor && cursor.min(end) > settled_end;
                prop_assert_eq!(seen, expected, "{}", txid);
            }
        }

        #[test]
        fn spans_cover_exactly_the_unsettled_visible_events(
            settled_end in 1u64..30, settled_running in prop::collection::btree_set(1u64..30, 0..5),
            more in 0u64..10, now_running in prop::collection::btree_set(1u64..40, 0..5), cursor in 0u64..40,
        ) {
            let sees = |s: &Snapshot, txid| txid < s.end && !s.running.contains(&txid);
            let settled = Snapshot { end: settled_end, running: settled_running.into_iter().filter(|t| *t < settled_end).collect() };
            let end = settled_end + more;
            // What was over then is over now.
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
