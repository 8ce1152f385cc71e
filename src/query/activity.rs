//! How many events were appended over time, in intervals of equal length.

use std::ops::Range;

use time::OffsetDateTime;

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

/// Counts the events of the whole log in `count` intervals of equal length. The cost does not depend on the number of events.
///
/// # Errors
///
/// If the database fails.
pub async fn activity(
    foldlog: &Foldlog,
    time: Range<OffsetDateTime>,
    count: u32,
) -> Result<Vec<Activity>, QueryError> {
    let length = (time.end - time.start) / count.max(1);
    let times: Vec<_> = (0..=count).map(|step| time.start + length * step).collect();
    let mut retries = RetryPolicy::default();
    let positions = loop {
        let read = async { read_positions(&mut *foldlog.pool.acquire().await?, &times).await };
        match read.await {
            Err(error) if retries.should_retry(&foldlog.pool, &error) => {}
            read => break read?,
        }
    };
    let events = |step: usize| match positions.get(step..step + 2) {
        Some([before, after]) => after.saturating_sub(*before).max(0).unsigned_abs(),
        _ => 0,
    };
    let intervals = times.windows(2).enumerate().map(|(step, ends)| Activity {
        time: ends[0]..ends[1],
        events: events(step),
    });
    Ok(intervals.collect())
}
