//! What a lane has settled: a snapshot and a position within one transaction.
//!
//! The invariant of a lane: every event of its slots that is visible in the snapshot, or belongs to the begun transaction at
//! or below the position, is claimed or belongs to a parked aggregate. [`Settled::advance`] computes what a batch settles:
//! exactly what it looked at.
//!
//! Three kinds of transactions are not settled: the *begun* one; *late* ones, which were running in the settled snapshot; and
//! those of the *tail*, from the snapshot's end on. A batch reads them in this order.

use super::snapshot::Snapshot;

/// A place in log order: directly after this event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LogCursor {
    /// The event's transaction id, with the log's offset added.
    pub txid: u64,
    /// The event's position.
    pub position: i64,
}

/// What is settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settled {
    pub snapshot: Snapshot,
    /// A transaction that `snapshot` lists as running, and of which the events up to the position are settled. One is
    /// enough, because a begun transaction is finished before another one is begun.
    pub begun: Option<LogCursor>,
}

impl Settled {
    /// What is settled after a batch has looked at everything that `frozen` sees and `self` has not settled, up to `stop`,
    /// which is below the end of `frozen`, or all of it if `stop` is `None`.
    pub(super) fn advance(&self, frozen: &Snapshot, stop: Option<LogCursor>) -> Self {
        let Some(stop) = stop else {
            return Self {
                snapshot: self.snapshot.union(frozen),
                begun: None,
            };
        };
        let begun_txid = self.begun.map(|begun| begun.txid);
        if begun_txid == Some(stop.txid) {
            return Self {
                snapshot: self.snapshot.clone(),
                begun: Some(stop),
            };
        }
        let old_end = self.snapshot.end;
        let in_tail = stop.txid >= old_end;
        let mut snapshot = self.snapshot.clone();
        snapshot.running.retain(|&txid| {
            let finished =
                frozen.sees(txid) && (in_tail || txid < stop.txid || begun_txid == Some(txid));
            txid == stop.txid || !finished
        });
        if in_tail {
            snapshot.end = stop.txid + 1;
            snapshot.running.insert(stop.txid);
            let running = frozen.running.range(old_end..);
            let running = running.take_while(|&&txid| txid < stop.txid);
            snapshot.running.extend(running);
        }
        Self {
            snapshot,
            // In the tail a batch may stop at an event that `frozen` does not see: it looked past that event, and the
            // transaction stays to be read as a whole.
            begun: frozen.sees(stop.txid).then_some(stop),
        }
    }

    /// What both `self` and `other` have settled.
    pub(super) fn intersection(&self, other: &Self) -> Self {
        let snapshot = self.snapshot.intersection(&other.snapshot);
        // How much of the transaction that `one` has begun the other has settled, too.
        let common = |one: &Self, other: &Self| {
            let begun = one.begun?;
            let settled = match other.begun {
                Some(also) if also.txid == begun.txid => begun.min(also),
                _ if other.snapshot.sees(begun.txid) => begun,
                _ => return None,
            };
            snapshot.running.contains(&begun.txid).then_some(settled)
        };
        let begun = common(self, other).or_else(|| common(other, self));
        Self { snapshot, begun }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    fn snapshot(text: &str) -> Snapshot {
        text.parse().unwrap()
    }

    fn is_settled(settled: &Settled, event: LogCursor) -> bool {
        settled.snapshot.sees(event.txid)
            || settled
                .begun
                .is_some_and(|begun| begun.txid == event.txid && event.position <= begun.position)
    }

    /// The order in which a batch reads what is not settled: begun, late, tail.
    fn place(settled: &Settled, event: LogCursor) -> (u8, LogCursor) {
        let kind = match settled.begun {
            Some(begun) if begun.txid == event.txid => 0,
            _ if event.txid < settled.snapshot.end => 1,
            _ => 2,
        };
        (kind, event)
    }

    const MAX_TXID: u64 = 24;
    const MAX_POSITION: i64 = 3;

    fn all_events() -> impl Iterator<Item = LogCursor> {
        (1..MAX_TXID)
            .flat_map(|txid| (1..=MAX_POSITION).map(move |position| LogCursor { txid, position }))
    }

    prop_compose! {
        fn a_snapshot()(end in 1..MAX_TXID, running in prop::collection::btree_set(1..MAX_TXID, 0..6)) -> Snapshot {
            Snapshot { end, running: running.into_iter().filter(|txid| *txid < end).collect() }
        }
    }

    prop_compose! {
        /// A state of a lane, and a later snapshot of the log that sees the begun transaction, as a worker requires.
        fn a_lane_and_a_later_snapshot()(
            old in a_snapshot(), new in a_snapshot(), begun in prop::option::of(any::<Index>()), position in 1..=MAX_POSITION,
        ) -> (Settled, Snapshot) {
            let late: Vec<u64> = old.running.iter().copied().collect();
            let begun = begun.filter(|_| !late.is_empty()).map(|index| LogCursor { txid: *index.get(&late), position });
            let end = old.end.max(new.end);
            // A transaction that has ended cannot run again.
            let running = new.running.into_iter().filter(|txid| !old.sees(*txid) && begun.is_none_or(|b| b.txid != *txid)).collect();
            (Settled { snapshot: old, begun }, Snapshot { end, running })
        }
    }

    proptest! {
        // Fails when a batch settles an event that it did not look at, or does not settle one that it looked at.
        #[test]
        fn a_batch_settles_exactly_what_it_looked_at(
            (lane, frozen) in a_lane_and_a_later_snapshot(), stop in prop::option::of(any::<Index>()),
        ) {
            // A worker stops at an event that it has looked at. In the tail that may be one that C does not see.
            let mut unsettled: Vec<LogCursor> = all_events()
                .filter(|event| !is_settled(&lane, *event) && (frozen.sees(event.txid) || (lane.snapshot.end..frozen.end).contains(&event.txid)))
                .collect();
            unsettled.sort_by_key(|event| place(&lane, *event));
            let stop = stop.filter(|_| !unsettled.is_empty()).map(|index| *index.get(&unsettled));
            let after = lane.advance(&frozen, stop);
            for event in all_events() {
                let looked_at = stop.is_none_or(|stop| place(&lane, event) <= place(&lane, stop));
                let expected = is_settled(&lane, event) || (frozen.sees(event.txid) && looked_at);
                prop_assert_eq!(is_settled(&after, event), expected, "{:?} {:?} {:?}", event, stop, &after);
            }
            prop_assert!(after.begun.is_none_or(|begun| after.snapshot.running.contains(&begun.txid)));
        }

        // Fails when a merge settles an event that one of the lanes has not settled, or does not settle one that both have.
        #[test]
        fn merged_lanes_settle_only_what_all_of_them_have_settled(
            (left, frozen) in a_lane_and_a_later_snapshot(), stop in any::<Index>(),
        ) {
            let events: Vec<LogCursor> = all_events().filter(|event| !is_settled(&left, *event) && frozen.sees(event.txid)).collect();
            let stop = (!events.is_empty()).then(|| *stop.get(&events));
            let right = left.advance(&frozen, stop);
            for (a, b) in [(&left, &right), (&right, &left)] {
                let merged = a.intersection(b);
                for event in all_events() {
                    prop_assert_eq!(is_settled(&merged, event), is_settled(a, event) && is_settled(b, event));
                }
                prop_assert!(merged.begun.is_none_or(|begun| merged.snapshot.running.contains(&begun.txid)));
            }
        }
    }

    /// Fails when the text form of a snapshot that a batch computes cannot be read back.
    #[test]
    fn an_advanced_snapshot_keeps_postgres_text_form() {
        let lane = Settled {
            snapshot: snapshot("5:10:5,7"),
            begun: None,
        };
        let after = lane.advance(
            &snapshot("7:20:7,15"),
            Some(LogCursor {
                txid: 17,
                position: 3,
            }),
        );
        assert_eq!(after.snapshot.to_string(), "7:18:7,15,17");
        assert_eq!(snapshot("7:18:7,15,17"), after.snapshot);
    }
}
