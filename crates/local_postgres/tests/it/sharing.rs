//! Several processes use one server.

use std::sync::Arc;

use crate::data::{Data, Process, assert_row_exists, write_row};

/// Fails when data is lost between runs, when the first user stops the server under the second one, or when the last one
/// leaves it running.
#[tokio::test]
async fn data_is_kept_and_the_last_user_stops_the_server() {
    let data = Data::new();
    let first = data.start().await;
    let end = format!("data in {}, started by this process", data.path.display());
    assert!(first.description().ends_with(&end), "{first:?}");
    write_row(&first).await;
    let second = data.start().await;
    assert!(
        second.description().ends_with("already running"),
        "{second:?}"
    );
    assert!(!first.stop_if_unused().await.unwrap());
    assert!(!first.ensure_running().await.unwrap());
    assert_row_exists(&second).await;
    assert!(second.stop_if_unused().await.unwrap());
    assert!(!data.server_is_alive() && data.pid().is_none());
    assert!(!second.stop_if_unused().await.unwrap());
    let third = data.start().await;
    assert_row_exists(&third).await;
    assert!(third.stop_if_unused().await.unwrap());
}

/// Fails when a killed process takes the server with it, or when its lock survives it.
#[tokio::test]
async fn the_server_outlives_a_killed_process_and_the_next_one_joins_it() {
    let data = Data::new();
    let mut process = data.start_process();
    assert!(process.next_line().ends_with("started by this process"));
    let pid = data.pid();
    process.kill();
    let postgres = data.start().await;
    assert!(
        postgres.description().ends_with("already running"),
        "{postgres:?}"
    );
    assert_eq!(data.pid(), pid);
    write_row(&postgres).await;
    assert!(postgres.stop_if_unused().await.unwrap());
}

/// Fails when two processes create a cluster or start a server at the same time.
#[tokio::test]
async fn one_of_several_processes_that_start_together_starts_the_server() {
    let data = Data::new();
    let mut processes = [(); 3].map(|()| data.start_process());
    let lines = processes.each_mut().map(Process::next_line);
    let count = |end: &str| lines.iter().filter(|line| line.ends_with(end)).count();
    assert_eq!(count("started by this process"), 1, "{lines:?}");
    assert_eq!(count("already running"), 2, "{lines:?}");
    let [a, b, c] = processes;
    assert!(!a.end());
    assert!(!b.end());
    assert!(data.server_is_alive());
    assert!(c.end());
    assert!(!data.server_is_alive());
}

/// Fails when a process joins a server that another one is stopping.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_starts_while_the_last_user_stops_gets_a_server() {
    let data = Arc::new(Data::new());
    write_row(&data.start().await).await;
    let tasks = [(); 3].map(|()| {
        let data = Arc::clone(&data);
        tokio::spawn(async move {
            let mut stopped = 0;
            for _ in 0..6 {
                let postgres = data.start().await;
                assert_row_exists(&postgres).await;
                stopped += usize::from(postgres.stop_if_unused().await.unwrap());
            }
            stopped
        })
    });
    let mut stopped = 0;
    for task in tasks {
        stopped += task.await.unwrap();
    }
    assert!(stopped >= 1, "the last user did not stop the server");
    assert!(!data.server_is_alive());
}
