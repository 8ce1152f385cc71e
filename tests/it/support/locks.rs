//! Exact interleavings without a line of product code: a test holds a lock on which a worker must stop, sees it waiting
//! in `pg_stat_activity`, acts, and lets go.

use std::time::Duration;

use sqlx::PgConnection;
use tokio::time::{sleep, timeout};

/// Waits until a statement that contains `text` waits for a lock in this database.
pub async fn until_waiting(connection: &mut PgConnection, text: &str) {
    let look = async {
        loop {
            let waiting: i64 = sqlx::query_scalar(
                "select count(*) from pg_stat_activity where datname = current_database() \
                 and wait_event_type = 'Lock' and query like '%' || $1 || '%'",
            )
            .bind(text)
            .fetch_one(&mut *connection)
            .await
            .unwrap();
            if waiting > 0 {
                break;
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(20), look)
        .await
        .unwrap_or_else(|_| panic!("nobody waits in a statement with {text:?}"));
}
