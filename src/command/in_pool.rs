//! Appends on connections of the pool: with those of other requests, in one statement, or in a transaction.

use super::decide::Decision;
use super::inline::{append_and_fold, append_known, fold_ahead, has_inline_views, is_far_behind};
use super::target::Attempt;
use super::{AppendError, Batch};
use crate::app::Foldlog;
use crate::db::{DbError, Pool};
use crate::projection::FoldedFor;
use crate::store::{self, ExpectedHeads, Joined, Outcome};
use crate::view::View;

/// Appends together with the appends of other requests, where the process writes them together, or alone.
pub(super) async fn append_or_join(
    pool: &Pool,
    foldlog: &Foldlog,
    batch: &Batch<'_>,
    decision: &Decision,
    return_payloads: bool,
) -> Result<Attempt, AppendError> {
    let alone = append_in_pool(pool, foldlog, batch, decision, return_payloads);
    let ([event], Some(groups)) = (&batch.events[..], &foldlog.groups) else {
        return alone.await;
    };
    let head = decision.heads.get(&event.aggregate_id).copied();
    let known_row = decision.known_row.as_ref();
    match groups
        .join(event, (head, return_payloads), known_row, foldlog)
        .await?
    {
        Joined::Done(outcome) => Ok(outcome.into()),
        Joined::Alone(place) => place.send(alone, Attempt::stored_version).await,
    }
}

/// Appends in a transaction of its own. The doorbell of the listener must not be able to refuse an append: Postgres reports a full
/// queue of notifications, or a failure to write it, at the commit, and then the append is repeated without it.
async fn append_in_pool(
    pool: &Pool,
    foldlog: &Foldlog,
    batch: &Batch<'_>,
    decision: &Decision,
    return_payloads: bool,
) -> Result<Attempt, AppendError> {
    let append_in_transaction = async |silently: bool, folded_for: FoldedFor| {
        let mut transaction = pool.begin().await?;
        if silently {
            store::silence_doorbell(&mut transaction).await?;
        }
        let how = (return_payloads, folded_for);
        let appended =
            append_and_fold(&mut transaction, foldlog, batch, &decision.heads, how).await;
        match &appended {
            Ok(Outcome::Stored(_)) => transaction.commit().await?,
            Err(error) if is_far_behind(error) => transaction.rollback().await?,
            _ => {}
        }
        appended.map(Attempt::from)
    };
    let mut folded_for = FoldedFor::Append;
    let types = batch.events.iter().map(|event| event.type_id);
    let views = foldlog.inline_views(&types).map(View::name);
    let _share = pool.share_of_views(views).await?;
    let mut appended = if has_inline_views(foldlog, batch) {
        match append_known(pool, foldlog, batch, decision).await {
            Ok(None) => Box::pin(append_in_transaction(false, folded_for)).await,
            Ok(Some(outcome)) => Ok(outcome.into()),
            Err(error) => Err(error),
        }
    } else {
        append_in_statement(pool, batch, &decision.heads, return_payloads).await
    };
    if matches!(&appended, Err(error) if is_far_behind(error)) {
        Box::pin(fold_ahead(pool, foldlog, batch)).await?;
        folded_for = FoldedFor::Pieces;
        appended = Box::pin(append_in_transaction(false, folded_for)).await;
    }
    match appended {
        Err(AppendError::Db(DbError::Limit(_) | DbError::Impaired(_))) => {
            Box::pin(append_in_transaction(true, folded_for)).await
        }
        appended => appended,
    }
}

/// Appends in one statement.
async fn append_in_statement(
    pool: &Pool,
    batch: &Batch<'_>,
    heads: &ExpectedHeads,
    return_payloads: bool,
) -> Result<Attempt, AppendError> {
    let mut connection = pool.acquire().await?;
    let outcome = store::append(&mut connection, &batch.events, heads, return_payloads).await?;
    Ok(outcome.into())
}
