//! Mutations of the doorbell: each removes or weakens one rule.

/// A change of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// The listener sleeps as soon as it has K.
    NoLastPoll,
    /// The listener takes K while a catch-up is running, and the last poll waits for that one.
    RunningCatchUpIgnored,
    /// LISTEN is committed only when the listener falls asleep.
    KeyTakenBeforeListen,
    /// The listener drops the notifications that have arrived after its last poll.
    DropAfterLastPoll,
    /// The listener holds K in a transaction, so Postgres delivers no notification to it.
    KeyHeldInTransaction,
    /// A connection that was lost is replaced while the listener sleeps, and K is not taken again.
    KeyNotTakenAfterReconnect,
    /// A listener sleeps without K while another one holds it.
    SleepWithoutKey,
    /// An append shares K only until the end of its statement.
    KeyReleasedAfterStatement,
    /// An append releases K before its commit is visible, which Postgres never does.
    KeyReleasedBeforeVisible,
    /// An append notifies before its commit.
    NotifyBeforeCommit,
    /// Harmless: the listener waits for K, for a limited time. Appends meanwhile notify in vain.
    WaitForKey,
}

/// Each mutation that breaks the doorbell, and a scenario that shows it.
pub const MUTATIONS: [(Mutation, &str); 10] = [
    (Mutation::NoLastPoll, "one listener"),
    (Mutation::RunningCatchUpIgnored, "one listener"),
    (Mutation::KeyTakenBeforeListen, "one listener"),
    (Mutation::DropAfterLastPoll, "one listener"),
    (Mutation::KeyHeldInTransaction, "one listener"),
    (
        Mutation::KeyNotTakenAfterReconnect,
        "one listener, lost connections",
    ),
    (Mutation::SleepWithoutKey, "two listeners"),
    (Mutation::KeyReleasedAfterStatement, "one listener"),
    (Mutation::KeyReleasedBeforeVisible, "one listener"),
    (Mutation::NotifyBeforeCommit, "one listener"),
];

/// Changes that the doorbell tolerates.
pub const VARIANTS: [Mutation; 1] = [Mutation::WaitForKey];
