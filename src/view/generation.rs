//! Generations: a view may have several tables at once. A reprojection fills a new one beside the one that serves readers, and
//! then makes it serve them instead.
//!
//! A row of `views` is a generation: its lock domain, which names its table, and the hash of the definition that the table was
//! created from. For each definition at most one generation *serves* the readers whose code has that definition. A statement that
//! reads a view checks this in its own snapshot, so all readers of all processes change over at the same moment: the commit of the
//! reprojection's last transaction. A process that finds its generation replaced asks once which one serves it now.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::Row;

use super::{Statements, View};
use crate::db::{DbError, Session};

/// How long an answer is taken for the truth where a statement over a dropped table must not fail.
const MAX_ANSWER_AGE: Duration = Duration::from_secs(30);

/// What a process knows about the generation that serves it.
#[derive(Clone, Debug)]
pub struct Serving {
    /// The statements over its table. If no generation serves the process, they return no row.
    pub sql: Arc<Statements>,
    /// Whether a generation serves it. Before the process has asked, it assumes that the first one does.
    pub exists: bool,
    /// When the process asked.
    pub asked_at: Option<Instant>,
}

impl Serving {
    /// Whether an error of a statement over the table may mean that the table was dropped after another generation replaced it.
    #[must_use]
    pub const fn may_be_dropped(error: &DbError) -> bool {
        matches!(error, DbError::Installation(_))
    }

    /// Whether the process asked a moment ago. A table is dropped a minute after another generation has replaced it at the earliest.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.asked_at
            .is_some_and(|asked_at| asked_at.elapsed() < MAX_ANSWER_AGE)
    }

    pub(super) const fn assumed(sql: Arc<Statements>) -> Self {
        Self {
            sql,
            exists: true,
            asked_at: None,
        }
    }
}

/// What a read of the generation that serves this process found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FromServing<T> {
    /// The answer.
    Read(T),
    /// No generation was created from the definition that this process has: it is new, and its first reprojection is not live yet,
    /// or it is old, and its generation was dropped.
    NoGeneration,
}

/// Which generation serves this process, as [`resolve`] was told.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The view over that generation. If none serves this process, the view over the live one, whose statements check the definition
    /// and so read nothing.
    pub view: View,
    /// Whether a generation serves this process.
    pub exists: bool,
}

/// The answer to a read of the generation `before`, unless another one serves this process by now: then it is `None`, and the caller
/// reads that one. A generation that does not exist was not read.
pub(super) async fn answer_of<T>(
    session: &mut Session<'_>,
    view: &View,
    before: &Serving,
    read: Result<FromServing<T>, DbError>,
) -> Result<Option<FromServing<T>>, DbError> {
    match read {
        Ok(FromServing::NoGeneration) => {}
        Err(ref error) if Serving::may_be_dropped(error) => {}
        read => return read.map(Some),
    }
    let resolved = resolve(session, view).await?;
    if !resolved.exists {
        return Ok(Some(FromServing::NoGeneration));
    }
    if before.exists && resolved.view.lock_domain() == before.sql.table() {
        // The statement failed for another reason.
        return read.map(Some);
    }
    Ok(None)
}

/// The number of the generation with this lock domain.
#[must_use]
pub fn generation_number(lock_domain: &str) -> u32 {
    let number = lock_domain.split_once('#').map(|(_, number)| number);
    number.and_then(|number| number.parse().ok()).unwrap_or(1)
}

/// Asks which generation serves code with this view's definition, and remembers the answer for all clones of the view. The answer
/// is returned whole, because what is remembered may be that of another request.
///
/// # Errors
///
/// Any [`DbError`].
pub async fn resolve(session: &mut Session<'_>, view: &View) -> Result<Resolved, DbError> {
    let asked_at = Instant::now();
    let row = sqlx::query(include_str!("sql/find_serving.sql"))
        .bind(view.name())
        .bind(&*view.definition_hash)
        .fetch_optional(session)
        .await?;
    // Before `migrate up` there is no row, and the statements fail with an error that says so.
    let (name, exists) = match row {
        Some(row) => (row.try_get("name")?, row.try_get("serves")?),
        None => (view.name().to_owned(), false),
    };
    let generation = view.generation(&name);
    view.remember(Serving {
        sql: Arc::clone(&generation.sql),
        exists,
        asked_at: Some(asked_at),
    });
    Ok(Resolved {
        view: generation,
        exists,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::domain;
    use crate::domains::users::Users;

    // Fails when the answer to an earlier question replaces the answer to a later one that came first.
    #[test]
    fn an_answer_does_not_replace_the_answer_to_a_later_question() {
        let view = View::new(domain::<Users>().projection()).unwrap();
        let asked_at = Instant::now();
        let answer = |name, seconds| Serving {
            sql: view.generation(name).sql,
            exists: true,
            asked_at: Some(asked_at + Duration::from_secs(seconds)),
        };
        for (name, seconds, known) in [
            ("users#2", 2, "users#2"),
            ("users", 1, "users#2"),
            ("users#3", 3, "users#3"),
        ] {
            view.remember(answer(name, seconds));
            assert_eq!(view.current().lock_domain(), known);
        }
    }
}
