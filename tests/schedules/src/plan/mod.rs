//! A schedule: everything that a seed decides. The order and the kinds of requests and faults follow from the seed; how they
//! interleave with the processes does not.

mod faults;
mod operator;
mod requests;

use uuid::Uuid;

pub use self::faults::{CrashKind, Fault, TimedFault};
pub use self::operator::{OperatorVerb, Order};
use crate::model::Event;
use crate::rng::Rng;

/// How many milliseconds the faults and requests of a schedule take, if the machine is fast enough.
const SCHEDULE_LENGTH: u64 = 1800;

/// The whole schedule of a seed.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent choices of a seed"
)]
pub struct Plan {
    pub seed: u64,
    /// The log starts with events of earlier days, in a cluster with a high transaction counter.
    pub has_history: bool,
    /// `synchronous_commit` of the cluster.
    pub synchronous_commit: bool,
    /// The view of users has the unique index on e-mail addresses.
    pub has_email_rule: bool,
    pub has_standby: bool,
    /// `default_transaction_isolation` of the cluster.
    pub isolation: &'static str,
    /// Silent connections stay silent until the end. They are closed before the end in most schedules, because a schedule that
    /// waits for time limits takes long.
    pub silence_lasts: bool,
    pub hosts: Vec<HostPlan>,
    pub clients: Vec<Vec<Action>>,
    pub transactions: Vec<SlowTransaction>,
    pub orders: Vec<Order>,
    pub faults: Vec<TimedFault>,
}

/// A process.
#[derive(Clone, Debug)]
pub struct HostPlan {
    pub program: Program,
    /// Whether it serves accounts and their ledger, too.
    pub serves_all: bool,
    pub inline: Vec<&'static str>,
    pub pooler: Option<PoolerMode>,
    pub batch_size: u32,
    /// For functions: frozen between invocations, as Lambda does.
    pub freezes: bool,
    /// For functions: the time of an invocation.
    pub timeout_ms: u64,
    /// For command functions: they catch up before they respond.
    pub catches_up: bool,
}

/// `DB_POOLER` of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolerMode {
    /// Any PgBouncer.
    Transaction,
    /// A PgBouncer that tracks named statements.
    Prepared,
}

/// What a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    Local,
    Listener,
    Command,
    Query,
    CatchUp,
}

/// What a client does next.
#[derive(Clone, Debug)]
pub struct Action {
    pub pause_ms: u64,
    /// The first host that it tries, as an index into those that can answer.
    pub host: u64,
    /// Closes the connection after this time.
    pub gives_up_after_ms: Option<u64>,
    pub request: Request,
}

/// A request.
#[derive(Clone, Debug)]
pub enum Request {
    Append(Append),
    Read(Read),
}

/// An append of events, all or none.
#[derive(Clone, Debug)]
pub struct Append {
    pub events: Vec<Event>,
    pub expected: Expected,
}

/// The expected version of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    Any,
    NoStream,
    /// The version that the client knows, plus this.
    Known(i32),
    /// What `Known` became when the request was sent.
    Exact(i32),
}

/// A read of one row.
#[derive(Clone, Debug)]
pub struct Read {
    pub is_user: bool,
    pub id: Uuid,
    pub mode: ReadMode,
}

/// How fresh the row must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadMode {
    Any,
    Strong,
    /// At least the version that the client knows.
    Known,
}

/// A transaction of an application: it gets its transaction id early, appends late, and commits later still.
#[derive(Clone, Debug)]
pub struct SlowTransaction {
    pub at_ms: u64,
    pub before_append_ms: u64,
    pub before_commit_ms: u64,
    pub end: End,
    pub inline: Vec<&'static str>,
    /// Those of one aggregate stand together.
    pub events: Vec<Event>,
}

/// How a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Commit,
    Rollback,
    /// `prepare transaction`, and `commit prepared` after the pause, perhaps after a crash.
    Prepare,
}

impl Plan {
    /// The schedule of a seed.
    pub fn new(seed: u64) -> Self {
        let rng = &mut Rng::new(seed);
        let hosts = hosts(rng);
        let big = faults::Big::pick(rng);
        let has_inline = hosts.iter().any(|host| host.inline.contains(&"users"));
        let ids = requests::Ids::new(rng);
        let clients: Vec<_> = (0..3)
            .map(|client| requests::client(rng, &ids, client))
            .collect();
        let transactions = requests::transactions(rng, &ids, SCHEDULE_LENGTH);
        let faults = faults::faults(rng, big, hosts.len(), SCHEDULE_LENGTH);
        Self {
            seed,
            has_history: big.has_history(rng),
            synchronous_commit: !big.loses_commits(),
            has_email_rule: has_inline || rng.percent(50),
            has_standby: big.has_standby(),
            isolation: rng.pick(&[
                "read committed",
                "read committed",
                "read committed",
                "serializable",
            ]),
            silence_lasts: rng.percent(8),
            hosts,
            clients,
            transactions,
            // With numbers of its own, so that the rest of a schedule does not depend on it.
            orders: operator::orders(&mut Rng::new(seed ^ 0x0DE5), SCHEDULE_LENGTH),
            faults,
        }
    }
}

impl Plan {
    /// The schedule for a machine without a PgBouncer that tracks named statements.
    pub fn avoid_prepared(&mut self) {
        let hosts = self.hosts.iter_mut().filter(|host| host.pooler.is_some());
        hosts.for_each(|host| host.pooler = Some(PoolerMode::Transaction));
    }
}

/// Two servers, one of users only, and one to four other processes.
fn hosts(rng: &mut Rng) -> Vec<HostPlan> {
    let mut hosts = vec![
        host(rng, Program::Local, true),
        host(rng, Program::Local, false),
    ];
    for _ in 0..rng.between(1, 4) {
        let program = rng.pick(&[
            Program::Listener,
            Program::Command,
            Program::Command,
            Program::Query,
            Program::CatchUp,
            Program::CatchUp,
        ]);
        let serves_all = rng.percent(75);
        hosts.push(host(rng, program, serves_all));
    }
    hosts
}

fn host(rng: &mut Rng, program: Program, serves_all: bool) -> HostPlan {
    let appends = matches!(program, Program::Local | Program::Command);
    let inline: &[&[&str]] = match (appends, serves_all) {
        (false, _) => &[&[]],
        (true, false) => &[&[], &["users"]],
        (true, true) => &[
            &[],
            &["users"],
            &["accounts"],
            &["users", "accounts", "ledger"],
        ],
    };
    let is_function = !matches!(program, Program::Local | Program::Listener);
    let poolers: &[_] = if is_function {
        &[
            None,
            Some(PoolerMode::Transaction),
            Some(PoolerMode::Prepared),
        ]
    } else {
        &[None]
    };
    HostPlan {
        program,
        serves_all,
        inline: rng.pick(inline).to_vec(),
        pooler: rng.pick(poolers),
        batch_size: rng.pick(&[1, 3, 10, 2000]),
        freezes: is_function && rng.percent(60),
        timeout_ms: rng.pick(&[700, 1000, 1500, 3000]),
        catches_up: program == Program::Command && rng.percent(40),
    }
}
