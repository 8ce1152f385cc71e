//! The statements that begin foldlog's own transactions.

use super::{Pooler, Role};

/// Begins a transaction of foldlog's own. It asks for READ COMMITTED whatever the database's default is: under
/// REPEATABLE READ a statement that waited for another transaction fails instead of reading what that transaction wrote.
/// The limits end, on the server's side, what a worker that vanished or was frozen left open. `jit` is off because it
/// turned a claim of 7 ms into one of 450 ms, all of it compilation, and `enable_seqscan` because Postgres would plan to read
/// whole tables while it has no statistics. `extra_float_digits` lets Postgres return numbers unrounded. See
/// [`SESSION_SETTINGS`](super::login). `set local` passes through a transaction-mode pooler and ends with the transaction.
macro_rules! begin {
    ($access:literal $(, $more:literal)*) => {
        concat!(
            "begin isolation level read committed, not deferrable",
            $access,
            "; set local idle_in_transaction_session_timeout = '10s'; \
             set local statement_timeout = '30s'; \
             set local lock_timeout = '5s'; \
             set local jit = off; \
             set local extra_float_digits = 1; \
             set local enable_seqscan = off"
            $(, $more)*
        )
    };
}

/// A transaction of several statements, which holds locks from one statement to the next. Plans are generic and walk indexes in
/// their order: a planner that knows how small a backlog is would sort all of it for each batch.
macro_rules! begin_work {
    ($role:literal) => {
        begin!(
            ", read write",
            "; set local plan_cache_mode = force_generic_plan; \
             set local enable_bitmapscan = off",
            $role
        )
    };
}

/// Begins a transaction of several statements on a direct connection, whose session has all other settings: Postgres takes 90 µs to
/// set them again, a tenth of what an append with an inline fold costs it.
const DIRECT: &str = "begin isolation level read committed, not deferrable, read write; \
                      set local enable_bitmapscan = off";

/// Begins a transaction of several statements.
pub(super) const fn several_statements(pooler: Pooler, role: Option<Role>) -> &'static str {
    // The role of a session that a pooler shares is the pooler's choice, so each transaction sets its own.
    match (pooler, role) {
        (Pooler::Transaction, Some(Role::Command)) => {
            begin_work!("; set local role foldlog_command")
        }
        (Pooler::Transaction, Some(Role::CommandInline)) => {
            begin_work!("; set local role foldlog_command_inline")
        }
        (Pooler::Transaction, Some(Role::Query)) => begin_work!("; set local role foldlog_query"),
        (Pooler::Transaction, Some(Role::Projection)) => {
            begin_work!("; set local role foldlog_projection")
        }
        (Pooler::None, _) => DIRECT,
        (Pooler::Prepared, _) | (Pooler::Transaction, None) => begin_work!(""),
    }
}

/// Begins a transaction for one statement behind a pooler, which is planned as it would be outside of a transaction.
pub(super) const fn single_statement(role: Option<Role>) -> &'static str {
    match role {
        Some(Role::Command) => begin!(", read write", "; set local role foldlog_command"),
        Some(Role::CommandInline) => {
            begin!(", read write", "; set local role foldlog_command_inline")
        }
        // On a standby, Postgres refuses to begin a transaction that may write.
        Some(Role::Query) => begin!("", "; set local role foldlog_query"),
        Some(Role::Projection) => begin!(", read write", "; set local role foldlog_projection"),
        None => begin!(", read write"),
    }
}
