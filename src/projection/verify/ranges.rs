//! Cuts the aggregates into ranges of ids, which several sessions and invocations take one after the other.

use uuid::Uuid;

use super::MAX_PAGE_EVENTS;
use crate::db::{DbError, Pool};
use crate::projection::ProjectionError;
use crate::projection::cut::{self, Cut};

/// The most ranges. With more of them, the sessions end at nearly the same time.
const MAX_RANGES: i64 = 16;

/// A range of aggregate ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IdRange {
    pub first: Uuid,
    pub last: Uuid,
}

/// Cuts ranges with about as many events each. They contain each id once.
pub(super) async fn cut(pool: &Pool) -> Result<Vec<IdRange>, ProjectionError> {
    let mut connection = pool.acquire().await?;
    let how = Cut {
        max_ranges: MAX_RANGES,
        min_events: i64::from(MAX_PAGE_EVENTS),
        sampled_pages: 200,
    };
    match cut::cut(&mut connection, how).await {
        // One range is slower, but needs no sample.
        Err(DbError::TimedOut(_)) => Ok(between(&[])),
        boundaries => Ok(between(&boundaries?)),
    }
}

/// The ranges that begin at the lowest id and at these, which are in order.
fn between(boundaries: &[Uuid]) -> Vec<IdRange> {
    let mut ranges = Vec::with_capacity(boundaries.len() + 1);
    let mut first = Uuid::nil();
    for boundary in boundaries.iter().filter(|boundary| !boundary.is_nil()) {
        let last = Uuid::from_u128(boundary.as_u128() - 1);
        ranges.push(IdRange { first, last });
        first = *boundary;
    }
    let last = Uuid::max();
    ranges.push(IdRange { first, last });
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails when the ranges leave out an id or contain one twice.
    #[test]
    fn the_ranges_contain_each_id_once() {
        let ids = [0, 1, 7, u128::MAX].map(Uuid::from_u128);
        let ranges = between(&ids);
        assert_eq!(ranges.len(), 4);
        assert_eq!(ranges[0].first, Uuid::nil());
        assert_eq!(ranges[3].last, Uuid::max());
        for pair in ranges.windows(2) {
            assert_eq!(pair[0].last.as_u128() + 1, pair[1].first.as_u128());
        }
    }
}
