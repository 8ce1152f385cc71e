//! How many events were appended over time, in intervals of equal length.

use std::ops::Range;

use time::{Duration, OffsetDateTime};

use super::QueryError;
use crate::app::Foldlog;
use crate::db::RetryPolicy;
use crate::store::read_positions;

/// An interval, and about how many events of the whole log were appended in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activity {
    /// The interval.
    pub time: Range<OffsetDateTime>,
    /// How many events: a difference of positions, which have gaps.
    pub events: u64,
}

/// Counts the events of the whole log in `count` intervals of equal length, apart from a microsecond. The cost does not depend on the
/// number of events.
///
/// # Errors
///
/// If the database fails.
pub async fn activity(
    foldlog: &Foldlog,
    time: Range<OffsetDateTime>,
    count: u32,
) -> Result<Vec<Activity>, QueryError> {
    let times = split(&time, count);
    let mut retries = RetryPolicy::default();
    let mut positions = loop {
        let read = async { read_positions(&mut *foldlog.pool.acquire().await?, &times).await };
        match read.await {
            Err(error) if retries.should_retry(&foldlog.pool, &error) => {}
            read => break read?,
        }
    };
    // A caller's transaction may get its id long before it appends. Its events then have higher positions than some events that follow
    // them in the order of ids, and without the maximum these positions would be counted twice.
    let mut highest = i64::MIN;
    for position in &mut positions {
        highest = highest.max(*position);
        *position = highest;
    }
    let events = |step: usize| match positions.get(step..step + 2) {
        Some([before, after]) => after.abs_diff(*before),
        _ => 0,
    };
    let intervals = times.windows(2).enumerate().map(|(step, ends)| Activity {
        time: ends[0]..ends[1],
        events: events(step),
    });
    Ok(intervals.collect())
}

/// The ends of `count` intervals, from the start of `time` to its end. In microseconds, as Postgres compares times.
fn split(time: &Range<OffsetDateTime>, count: u32) -> Vec<OffsetDateTime> {
    let length = (time.end - time.start).whole_microseconds();
    let end = |step: u32| {
        let after = length * i128::from(step) / i128::from(count.max(1));
        time.start + Duration::microseconds(i64::try_from(after).unwrap_or(i64::MAX))
    };
    (0..=count).map(end).collect()
}
