//! Writes the appends of a group, and folds their inline views, in one statement or one transaction.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::app::Foldlog;
use crate::db::Retryable as _;
use crate::projection::{self, FoldedFor, ProjectionError};
use crate::store::{self, GroupWriter, GroupedAppend, LockWait, StoredGroup};
use crate::view::View;

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
    let names: Vec<_> = foldlog.inline_views(&types).map(View::name).collect();
    let _share = store::connect_group(foldlog.pool.share_of_views(names)).await?;
    let mut views = foldlog.inline_views(&types);
    let Some(first) = views.next() else {
        let mut connection = store::connect_group(foldlog.pool.acquire()).await?;
        return Ok(store::append_group(&mut connection, group, LockWait::Group).await?);
    };
    let rest = views.next();
    if rest.is_none() {
        let mut connection = store::connect_group(foldlog.pool.acquire()).await?;
        let stored =
            projection::append_known(&mut connection, first, group, LockWait::Group).await?;
        if let Some(stored) = stored {
            return Ok(stored);
        }
    }
    let mut transaction = store::connect_group(foldlog.pool.begin()).await?;
    let stored =
        projection::append_and_fold(&mut transaction, first, group, FoldedFor::Group).await?;
    for view in rest.into_iter().chain(views) {
        projection::fold_stored(&mut transaction, view, group, &stored, FoldedFor::Group).await?;
    }
    transaction.commit().await?;
    Ok(stored)
}
