//! Writes the appends of a group, and folds their inline views, in one transaction.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::app::Foldlog;
use crate::db::Retryable as _;
use crate::event::AggregateId;
use crate::projection::{self, FoldedFor, ProjectionError};
use crate::store::{self, GroupWriter, GroupedAppend, StoredGroup};

impl GroupWriter for Foldlog {
    fn write<'a>(&'a self, group: &'a [GroupedAppend]) -> BoxFuture<'a, Option<StoredGroup>> {
        write(self, group)
            .map(|written| match written {
                Ok(stored) => Some(stored),
                Err(error) => {
                    if matches!(&error, ProjectionError::Db(error) if error.is_retryable()) {
                        self.pool.mark_suspect();
                    }
                    tracing::debug!(
                        "sends {} appends alone, because their group failed: {error}",
                        group.len()
                    );
                    None
                }
            })
            .boxed()
    }
}

async fn write(foldlog: &Foldlog, group: &[GroupedAppend]) -> Result<StoredGroup, ProjectionError> {
    let types = group.iter().map(|append| append.type_id);
    if foldlog.inline_views(&types).next().is_none() {
        let mut connection = store::connect_group(foldlog.pool.acquire()).await?;
        return Ok(store::append_group(&mut connection, group).await?);
    }
    let mut transaction = store::connect_group(foldlog.pool.begin()).await?;
    let stored = store::append_group(&mut transaction, group).await?;
    for view in foldlog.inline_views(&types) {
        let block = view.projection.block();
        let is_folded = |append: &&GroupedAppend| {
            block.contains(&append.type_id.0) && stored.contains_key(&append.aggregate_id)
        };
        let appends = group.iter().filter(is_folded);
        let aggregates: Vec<AggregateId> = appends.map(|append| append.aggregate_id).collect();
        if aggregates.is_empty() {
            continue;
        }
        projection::fold_inline(&mut transaction, view, &aggregates, FoldedFor::Group).await?;
    }
    transaction.commit().await?;
    Ok(stored)
}
