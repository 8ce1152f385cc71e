//! What must hold at the end of a schedule.

pub mod log;
mod responses;
#[cfg(test)]
mod tests;
mod views;

use std::collections::HashMap;

use anyhow::Result;
use sqlx::PgConnection;
use uuid::Uuid;

use self::log::{Log, Stored};
use crate::record::{Attempt, Loss};

/// What was seen from outside.
#[derive(Debug)]
pub struct Seen<'a> {
    pub attempts: &'a [Attempt],
    pub losses: &'a [Loss],
    /// The events of a restored history.
    pub history: &'a HashMap<Uuid, Stored>,
    /// From when on reads may be answered by a replica.
    pub stale_from: Option<std::time::Duration>,
}

/// Checks the log, the responses and the views; returns one sentence per violation.
pub async fn check(connection: &mut PgConnection, seen: &Seen<'_>) -> Result<Vec<String>> {
    let log = Log::read(connection).await?;
    let mut problems = log.problems();
    problems.extend(responses::problems(&log, seen));
    problems.extend(views::problems(connection, &log).await?);
    Ok(problems)
}
