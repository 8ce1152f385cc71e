//! The faults of a schedule.

use crate::rng::Rng;

/// A fault and when it happens.
#[derive(Clone, Debug)]
pub struct TimedFault {
    pub at_ms: u64,
    pub fault: Fault,
}

/// How Postgres crashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashKind {
    /// `pg_ctl stop -m immediate`.
    Immediate,
    /// SIGKILL to the postmaster.
    KillPostmaster,
    /// SIGKILL to one of foldlog's backends: Postgres restarts by itself.
    KillBackend,
}

/// What goes wrong. Hosts are named by their index.
#[derive(Clone, Debug)]
pub enum Fault {
    /// SIGKILL; the process is started again after a while.
    Kill { host: usize, down_ms: u64 },
    /// SIGTERM and a new process, as a deployment does.
    Replace { host: usize },
    /// SIGSTOP, and SIGCONT after a while.
    Freeze { host: usize, ms: u64 },
    /// All connections of the host are closed.
    Cut { host: usize },
    /// The connections of the host stay open, but nothing passes any more.
    Silence { host: usize },
    /// The host cannot connect for a while.
    Refuse { host: usize, ms: u64 },
    /// All connections between the pooler and Postgres are closed.
    CutPooler,
    /// The pooler is killed and started again.
    KillPooler,
    /// Postgres ends all sessions of foldlog.
    TerminateBackends,
    /// A foreign session locks a table of foldlog for a while.
    LockTable { table: &'static str, ms: u64 },
    /// An operator deletes the rows of a table of foldlog.
    DeleteFrom { table: &'static str },
    /// Postgres crashes and recovers.
    Crash { kind: CrashKind, down_ms: u64 },
    /// A dump is taken, and restored into the same database after a while.
    RestoreInPlace { after_ms: u64 },
    /// A dump of another cluster, whose transaction counter is higher, is restored into the database.
    RestoreHistory,
    /// A dump is restored into a new cluster, whose transaction counter is lower, and all hosts connect there.
    MoveToNewCluster,
    /// The standby has everything, the primary stops, the standby is promoted.
    SwitchOver,
    /// The standby is behind when the primary is lost, and is promoted.
    FailOver { lag_ms: u64 },
    /// New connections of the host lead to the read-only standby for a while.
    Misroute { host: usize, ms: u64 },
}

/// The fault that decides about the arrangement: at most one such fault in a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Big {
    None,
    LostCommits,
    RestoreInPlace,
    RestoreHistory,
    MoveToNewCluster,
    SwitchOver,
    FailOver,
    Misroute,
}

impl Big {
    pub(super) fn pick(rng: &mut Rng) -> Self {
        rng.pick(&[
            Self::None,
            Self::None,
            Self::LostCommits,
            Self::LostCommits,
            Self::RestoreInPlace,
            Self::RestoreHistory,
            Self::MoveToNewCluster,
            Self::SwitchOver,
            Self::FailOver,
            Self::FailOver,
            Self::Misroute,
        ])
    }

    pub(super) fn loses_commits(self) -> bool {
        self == Self::LostCommits
    }

    pub(super) fn has_standby(self) -> bool {
        matches!(self, Self::SwitchOver | Self::FailOver | Self::Misroute)
    }

    pub(super) fn has_history(self, rng: &mut Rng) -> bool {
        match self {
            Self::MoveToNewCluster => true,
            Self::RestoreHistory => false,
            _ => rng.percent(30),
        }
    }
}

/// Two to six faults, in the order of their times.
pub(super) fn faults(rng: &mut Rng, big: Big, hosts: usize, duration_ms: u64) -> Vec<TimedFault> {
    let mut faults: Vec<TimedFault> = (0..rng.between(2, 6))
        .map(|_| TimedFault {
            at_ms: rng.below(duration_ms),
            fault: small(rng, hosts),
        })
        .collect();
    let at_ms = rng.between(duration_ms / 4, duration_ms);
    let fault = match big {
        Big::None => None,
        Big::LostCommits => Some(crash(rng)),
        Big::RestoreInPlace => Some(Fault::RestoreInPlace {
            after_ms: rng.between(50, 500),
        }),
        Big::RestoreHistory => Some(Fault::RestoreHistory),
        Big::MoveToNewCluster => Some(Fault::MoveToNewCluster),
        Big::SwitchOver => Some(Fault::SwitchOver),
        Big::FailOver => Some(Fault::FailOver {
            lag_ms: rng.between(0, 400),
        }),
        Big::Misroute => Some(Fault::Misroute {
            host: rng.index(hosts),
            ms: rng.between(100, 500),
        }),
    };
    faults.extend(fault.map(|fault| TimedFault { at_ms, fault }));
    faults.sort_by_key(|fault| fault.at_ms);
    faults
}

fn crash(rng: &mut Rng) -> Fault {
    Fault::Crash {
        kind: rng.pick(&[
            CrashKind::Immediate,
            CrashKind::KillPostmaster,
            CrashKind::KillBackend,
        ]),
        down_ms: rng.pick(&[0, 100, 300]),
    }
}

fn small(rng: &mut Rng, hosts: usize) -> Fault {
    let host = rng.index(hosts);
    let ms = rng.between(50, 700);
    match rng.below(21) {
        0..=3 => Fault::Kill {
            host,
            down_ms: rng.pick(&[0, 50, 300]),
        },
        4 => Fault::Replace { host },
        5..=7 => Fault::Freeze { host, ms },
        8..=10 => Fault::Cut { host },
        11 | 12 => Fault::Silence { host },
        13 => Fault::Refuse { host, ms },
        14 => Fault::CutPooler,
        15 => Fault::KillPooler,
        16 => Fault::TerminateBackends,
        17 => Fault::LockTable {
            table: rng.pick(&["parked", "settled", "locker", "users", "log"]),
            ms,
        },
        18 => Fault::DeleteFrom {
            table: rng.pick(&["settled", "parked"]),
        },
        _ => crash(rng),
    }
}
