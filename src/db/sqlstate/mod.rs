//! What each SQLSTATE means for foldlog: who is at fault, what becomes of the statement, and what becomes of the connection.
//! Everything that distinguishes errors of Postgres reads this table.
//!
//! | fault | errors | the client of the API gets |
//! | --- | --- | --- |
//! | a value of the request or of a row | [`Kind::Conflict`], [`Kind::Data`] | 4xx; in a projection the aggregate is parked |
//! | the environment, so that its operator has to act, or time heals it | [`Kind::Unavailable`], [`Kind::Impaired`], [`Kind::Waking`], [`Kind::Refused`], [`Kind::Pooler`], [`Kind::Installation`], [`Kind::Limit`] | 503 and `Retry-After` |
//! | another transaction | [`Kind::Contended`], [`Kind::TimedOut`] | 503 and `Retry-After: 1` |
//! | a statement of foldlog | [`Kind::Statement`] | 500 |

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use self::Kind::{
    Conflict, Contended, Data, Impaired, Installation, Limit, Pooler, Refused, Statement, TimedOut,
    Unavailable, Waking,
};
use self::OnConnection::{Close, CloseAll, Keep};

/// Which error a code becomes; see the variants of [`DbError`](super::DbError).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Unavailable,
    Impaired,
    Waking,
    Refused,
    Pooler,
    Installation,
    Contended,
    TimedOut,
    Conflict,
    Data,
    Limit,
    Statement,
}

/// What becomes of the connection that reported a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnConnection {
    /// It is used again.
    Keep,
    /// It is at fault or unusable, so it is closed.
    Close,
    /// The same is wrong with every connection that the pool has opened so far, so all of them are closed. The next one resolves
    /// the server's name again.
    CloseAll,
}

/// What a code means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meaning {
    /// The code, or its first two characters: its class.
    pub(super) code: &'static str,
    pub(super) kind: Kind,
    pub(super) connection: OnConnection,
    /// How often a request repeats itself on another connection, where nothing may be wrong. Appends are idempotent by their
    /// events' ids, so that it does not matter whether the first attempt took effect.
    pub(super) max_retries: u32,
    /// For the log.
    pub(super) summary: &'static str,
}

const fn meaning(
    code: &'static str,
    kind: Kind,
    connection: OnConnection,
    max_retries: u32,
    summary: &'static str,
) -> Meaning {
    Meaning {
        code,
        kind,
        connection,
        max_retries,
        summary,
    }
}

/// After a restart or a fail-over every connection of a pool may be dead, and only its next statement shows it.
pub(super) const MAX_DEAD_CONNECTIONS: u32 = 3;

/// A class that is not Postgres' own: a function or a trigger of the application raised it.
const UNKNOWN: Meaning = meaning(
    "",
    Data,
    Keep,
    0,
    "a function or a trigger in the database rejected a row",
);

/// Single codes first, then the classes of Postgres' appendix A that they do not cover.
#[rustfmt::skip]
const MEANINGS: &[Meaning] = &[
    meaning("25006", Unavailable, CloseAll, 1, "the server is read-only, as a standby or after a fail-over"),
    meaning("25P03", Unavailable, Close, 1, "the transaction was idle for too long"),
    meaning("25P04", TimedOut, Close, 0, "the transaction took too long"),
    meaning("40002", Contended, Keep, 0, "a constraint rolled the transaction back"),
    meaning("40003", Unavailable, Close, 1, "it is unknown whether the statement took effect"),
    meaning("42501", Installation, Keep, 0, "a privilege is missing"),
    meaning("42702", Installation, Keep, 0, "a column is ambiguous"),
    meaning("42703", Installation, Keep, 0, "a column is missing"),
    meaning("42704", Installation, Keep, 0, "a type or another object is missing"),
    meaning("42846", Installation, Keep, 0, "a column has another type"),
    meaning("42883", Installation, Keep, 0, "a function is missing"),
    meaning("428C9", Installation, Keep, 0, "a column is generated"),
    meaning("42725", Installation, Keep, 0, "a function is ambiguous"),
    meaning("42804", Installation, Keep, 0, "a column has another type"),
    meaning("42809", Installation, Keep, 0, "an object is of another kind"),
    meaning("42P01", Installation, Keep, 0, "a table is missing"),
    meaning("42P05", Pooler, CloseAll, 1, "another client prepared a statement of this name"),
    meaning("42P10", Installation, Keep, 0, "a unique index is missing"),
    meaning("42P22", Installation, Keep, 0, "a column has another collation"),
    meaning("53100", Impaired, Keep, 0, "the disk is full"),
    meaning("53200", Impaired, Close, 0, "the server is out of memory"),
    meaning("53300", Unavailable, Close, 0, "the server has no connection left"),
    meaning("55P03", TimedOut, Keep, 0, "a lock was not available in time"),
    meaning("57014", TimedOut, Keep, 0, "the statement took too long or was cancelled"),
    meaning("57P03", Waking, Close, 0, "the server is starting or waking up"),
    meaning("57P04", Refused, Close, 0, "the database was dropped"),
    // Raised by foldlog's own functions.
    meaning("FL001", Unavailable, Close, MAX_DEAD_CONNECTIONS, "the log was restored and is not checked yet"),
    meaning("FL002", Unavailable, Keep, 0, "a view with a rule over all rows has not caught up since its table was created"),
    meaning("FL003", Installation, Keep, 0, "two indexes of a view have the same name up to the character #; rename or drop one of them"),
    meaning("FL004", Installation, Keep, 0, "an index of a new generation differs from the one that it was copied from"),
    meaning("FL005", Contended, Keep, 0, "a row that was folded before its append was changed, or its generation replaced"),
    meaning("XX001", Impaired, Close, 0, "data is corrupted"),
    meaning("XX002", Impaired, Close, 0, "an index is corrupted"),
    // Classes. A function or a trigger can raise an error of any class, also those of warnings and of features that foldlog
    // does not use.
    meaning("00", Data, Keep, 0, "a function raised a success as an error"),
    meaning("01", Data, Keep, 0, "a function raised a warning as an error"),
    meaning("02", Data, Keep, 0, "a function found no data"),
    meaning("03", Statement, Keep, 0, "the statement is not complete"),
    meaning("08", Unavailable, Close, MAX_DEAD_CONNECTIONS, "the connection failed"),
    meaning("09", Data, Keep, 0, "a trigger failed"),
    meaning("0A", Impaired, CloseAll, 1, "a table has changed since the statement was prepared, or the server does not support it"),
    meaning("0B", Unavailable, Close, 1, "a transaction could not begin"),
    meaning("0F", Data, Keep, 0, "a locator is invalid"),
    meaning("0L", Installation, Keep, 0, "a grant is invalid"),
    meaning("0P", Installation, Close, 0, "a role is missing"),
    meaning("0Z", Data, Keep, 0, "a function used diagnostics wrongly"),
    meaning("10", Data, Keep, 0, "a value is invalid in XQuery"),
    meaning("20", Data, Keep, 0, "a function met no case"),
    meaning("21", Data, Keep, 0, "a statement met more rows than it takes"),
    meaning("22", Data, Keep, 0, "a value is invalid"),
    meaning("23", Conflict, Keep, 0, "a constraint rejected a row"),
    // The session is in another state than foldlog left it in: another client of a pooler was in it.
    meaning("24", Unavailable, Close, 1, "a cursor is in the wrong state"),
    meaning("25", Unavailable, Close, 1, "the session is in the wrong transaction state"),
    meaning("26", Pooler, CloseAll, 1, "a prepared statement is missing"),
    meaning("27", Data, Keep, 0, "a trigger changed the row that a statement writes"),
    meaning("28", Refused, Close, 0, "the login was rejected"),
    meaning("2B", Installation, Keep, 0, "privileges depend on an object"),
    meaning("2D", Data, Keep, 0, "a function ended the transaction"),
    meaning("2F", Data, Keep, 0, "a function failed"),
    meaning("34", Unavailable, Close, 1, "a cursor is missing"),
    meaning("38", Data, Keep, 0, "an external function failed"),
    meaning("39", Data, Keep, 0, "an external function failed"),
    meaning("3B", Unavailable, Close, 1, "a savepoint is missing"),
    meaning("3D", Refused, Close, 0, "the database does not exist"),
    meaning("3F", Installation, Keep, 0, "a schema is missing"),
    meaning("40", Contended, Keep, 0, "the transaction lost against another one"),
    meaning("42", Statement, Keep, 0, "a statement is invalid"),
    meaning("44", Data, Keep, 0, "a view rejected a row"),
    meaning("53", Impaired, Keep, 0, "the server lacks a resource"),
    meaning("54", Limit, Keep, 0, "a limit of Postgres is exceeded"),
    meaning("55", Impaired, Keep, 0, "an object is not ready for the statement"),
    meaning("57", Unavailable, Close, MAX_DEAD_CONNECTIONS, "the server ended the session"),
    meaning("58", Impaired, Close, 0, "the server's system failed"),
    meaning("72", Contended, Keep, 0, "the snapshot is too old"),
    meaning("F0", Impaired, Close, 0, "the server's configuration is invalid"),
    meaning("HV", Data, Keep, 0, "a foreign table failed"),
    meaning("P0", Data, Keep, 0, "a function or a trigger rejected a row"),
    meaning("XX", Impaired, Close, 1, "the server reports an internal error"),
];

/// What a code means.
pub(super) fn find(code: &str) -> Meaning {
    let is_of = |meaning: &&Meaning| code.starts_with(meaning.code);
    MEANINGS.iter().find(is_of).copied().unwrap_or(UNKNOWN)
}

/// What an error of Postgres means; `None` for an error of the driver.
pub(super) fn classify(error: &sqlx::Error) -> Option<Meaning> {
    code(error).map(|code| find(&code))
}

/// The code of an error that Postgres reported.
pub(super) fn code(error: &sqlx::Error) -> Option<Cow<'_, str>> {
    Some(error.as_database_error()?.code().unwrap_or_default())
}

/// What becomes of a connection that returned an error.
pub(super) fn on_connection(error: &sqlx::Error) -> OnConnection {
    match classify(error) {
        Some(meaning) => meaning.connection,
        None => match error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::WorkerCrashed => Close,
            _ => Keep,
        },
    }
}

/// The reason and the code as the end of a sentence; empty for an error of the driver.
pub(super) fn reason(error: &sqlx::Error) -> String {
    let reason = |code: Cow<'_, str>| format!(": {} (SQLSTATE {code})", find(&code).summary);
    code(error).map(reason).unwrap_or_default()
}
