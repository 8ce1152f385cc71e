//! Snapshots in Postgres' text form `xmin:xmax:running,…`. Their transaction ids have the log's offset added (see
//! [`db`](crate::db)).

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// A snapshot: every transaction below `end` has ended, except for those in `running`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub(super) end: u64,
    pub(super) running: BTreeSet<u64>,
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

    /// Whether the transaction with this id has ended.
    #[must_use]
    pub fn sees(&self, txid: u64) -> bool {
        txid < self.end && !self.running.contains(&txid)
    }

    /// A snapshot that sees what this one or `other` sees.
    pub(super) fn union(&self, other: &Self) -> Self {
        let running = self.running.union(&other.running);
        Self {
            end: self.end.max(other.end),
            running: running
                .copied()
                .filter(|&txid| !self.sees(txid) && !other.sees(txid))
                .collect(),
        }
    }

    /// A snapshot that sees what both this one and `other` see.
    pub(super) fn intersection(&self, other: &Self) -> Self {
        let end = self.end.min(other.end);
        let running = self.running.union(&other.running);
        Self {
            end,
            running: running.copied().filter(|&txid| txid < end).collect(),
        }
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
