//! Servers and processes that are killed, and errors that say what is wrong.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use local_postgres::ManagedPostgres;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use tokio::sync::oneshot;

use crate::data::{Data, assert_row_exists, connect, wait_until, write_row};

/// Fails when only the process that started a server restarts it.
#[tokio::test]
async fn a_process_that_only_joined_restarts_a_killed_server() {
    let data = Data::new();
    let mut process = data.start_process();
    assert!(process.next_line().ends_with("started by this process"));
    let postgres = Arc::new(data.start().await);
    write_row(&postgres).await;
    process.kill();
    let (shutdown, is_shutdown) = oneshot::channel::<()>();
    let supervisor = tokio::spawn({
        let postgres = Arc::clone(&postgres);
        async move { postgres.supervise(async { drop(is_shutdown.await) }).await }
    });
    let backend = connect(&postgres).await; // The killed server leaves this backend behind.
    let old_pid = data.pid();
    data.kill_server();
    wait_until("a new server is ready", || {
        data.pid().is_some_and(|pid| Some(pid) != old_pid)
            && fs::read_to_string(data.path.join("cluster/postmaster.pid"))
                .is_ok_and(|text| text.contains("ready"))
    })
    .await;
    assert_row_exists(&postgres).await;
    drop(backend);
    drop(shutdown);
    supervisor.await.unwrap();
    assert!(postgres.stop_if_unused().await.unwrap());
}

/// Fails when each of several supervisors starts a server.
#[tokio::test]
async fn several_supervisors_start_one_server() {
    let data = Data::new();
    let [a, b, c] = [data.start().await, data.start().await, data.start().await];
    write_row(&a).await;
    data.kill_server();
    let mut started = 0;
    // Repeated, because the process may exist for a moment after the kill.
    let deadline = Instant::now() + Duration::from_mins(1);
    while started == 0 {
        assert!(Instant::now() < deadline, "the server was not restarted");
        let results = tokio::join!(a.ensure_running(), b.ensure_running(), c.ensure_running());
        started += [results.0, results.1, results.2]
            .into_iter()
            .filter(|result| *result.as_ref().unwrap())
            .count();
    }
    assert_eq!(started, 1);
    assert_row_exists(&b).await;
    assert!(!a.stop_if_unused().await.unwrap());
    assert!(!b.stop_if_unused().await.unwrap());
    assert!(c.stop_if_unused().await.unwrap());
}

/// Kills the server while one of its backends is suspended and so keeps the shared memory attached. Postgres then refuses to
/// start, and the restart has to wait until the backend has ended. `between` runs after the kill.
async fn restart_beside_a_suspended_backend(data: &Data, between: impl FnOnce()) {
    let postgres = Arc::new(data.start().await);
    write_row(&postgres).await;
    let mut connection = connect(&postgres).await;
    let backend: i32 = sqlx::query_scalar("select pg_backend_pid()")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    kill(Pid::from_raw(backend), Signal::SIGSTOP).unwrap();
    data.kill_server();
    wait_until("the server's end", || !data.server_is_alive()).await;
    between();
    let restart = tokio::spawn({
        let postgres = Arc::clone(&postgres);
        async move {
            while !postgres.ensure_running().await.unwrap() {
                tokio::task::yield_now().await;
            }
        }
    });
    let log = || fs::read_to_string(data.path.join("postgres.log")).unwrap();
    wait_until("a refused start", || {
        log().contains("pre-existing shared memory block")
    })
    .await;
    kill(Pid::from_raw(backend), Signal::SIGCONT).unwrap();
    restart.await.unwrap();
    assert_row_exists(&postgres).await;
    assert!(postgres.stop_if_unused().await.unwrap());
}

/// Fails when a restart gives up because backends of the killed server are still running.
#[tokio::test]
async fn a_restart_waits_for_the_backends_of_the_killed_server() {
    restart_beside_a_suspended_backend(&Data::new(), || {}).await;
}

/// Fails when handling a reused process ID disables Postgres's own protection against two servers on one cluster.
#[tokio::test]
async fn a_restart_with_a_reused_process_id_waits_for_the_backends_of_the_killed_server() {
    let data = Data::new();
    let mut other = unrelated_process(&data.path);
    restart_beside_a_suspended_backend(&data, || data.write_pid(other.id())).await;
    other.kill().unwrap();
    other.wait().unwrap();
}

/// Fails when a killed server prevents the next start, whether its process ID is unused or belongs to another program.
#[tokio::test]
async fn a_stale_process_id_does_not_prevent_a_start() {
    let data = Data::new();
    let postgres = data.start().await;
    write_row(&postgres).await;
    data.kill_server();
    wait_until("the server's end", || !data.server_is_alive()).await;
    drop(postgres);
    let postgres = data.start().await;
    assert!(
        postgres.description().ends_with("started by this process"),
        "{postgres:?}"
    );
    assert_row_exists(&postgres).await;

    data.kill_server();
    wait_until("the server's end", || !data.server_is_alive()).await;
    drop(postgres);
    let mut other = unrelated_process(&data.path);
    data.write_pid(other.id());
    let postgres = data.start().await;
    assert_row_exists(&postgres).await;
    assert!(postgres.stop_if_unused().await.unwrap());
    let exit = other.try_wait().unwrap();
    assert!(exit.is_none(), "the unrelated process was ended: {exit:?}");
    other.kill().unwrap();
    other.wait().unwrap();
}

/// Fails when an interrupted `initdb` leaves a cluster that the next start tries to use.
#[tokio::test]
async fn an_interrupted_initdb_leaves_nothing_behind() {
    let data = Data::new();
    let process = data.start_process();
    let work_dir = || {
        fs::read_dir(&data.path).ok()?.flatten().find(|entry| {
            entry.file_name().to_string_lossy().starts_with("initdb-")
                && entry.path().join("cluster/PG_VERSION").exists()
        })
    };
    wait_until("initdb has begun", || work_dir().is_some()).await;
    process.kill();
    assert!(
        !data.path.join("cluster").exists(),
        "initdb completed before the kill"
    );
    let postgres = data.start().await;
    assert!(
        postgres.description().ends_with("started by this process"),
        "{postgres:?}"
    );
    write_row(&postgres).await;
    assert!(postgres.stop_if_unused().await.unwrap());
}

/// Fails when the reason for a failed start can only be found in the log file.
#[tokio::test]
async fn the_error_of_a_failed_start_shows_the_end_of_the_log() {
    let data = Data::new();
    let settings = data.settings().parameter("shared_buffers", "plenty");
    let error = ManagedPostgres::start(settings).await.unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("Postgres did not start")
            && error.contains("invalid value for parameter \"shared_buffers\""),
        "{error}"
    );
    assert!(data.start().await.stop_if_unused().await.unwrap());
}

/// Fails when a lost password is replaced silently, or when an error shows the wrong one.
#[tokio::test]
async fn a_wrong_or_missing_password_file_is_an_error() {
    let data = Data::new();
    let postgres = data.start().await;
    let file = data.path.join("password");
    let password = fs::read(&file).unwrap();
    fs::write(&file, "wr0ng").unwrap();
    let error = ManagedPostgres::start(data.settings()).await.unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("rejects the stored password") && !error.contains("wr0ng"),
        "{error}"
    );
    fs::remove_file(&file).unwrap();
    let error = ManagedPostgres::start(data.settings()).await.unwrap_err();
    let error = error.to_string();
    assert!(error.contains("password is missing"), "{error}");
    fs::write(&file, password).unwrap();
    assert!(postgres.stop_if_unused().await.unwrap());
}

impl Data {
    /// Replaces the process ID in the lock files of a killed server.
    fn write_pid(&self, pid: u32) {
        for file in ["cluster/postmaster.pid", "socket/.s.PGSQL.5432.lock"] {
            let file = self.path.join(file);
            let text = fs::read_to_string(&file).unwrap();
            let (_, rest) = text.split_once('\n').unwrap();
            fs::write(&file, format!("{pid}\n{rest}")).unwrap();
        }
    }
}

/// A process that belongs to the server's user, so that Postgres would mistake it for a running server.
fn unrelated_process(data_dir: &std::path::Path) -> std::process::Child {
    let mut command = if geteuid().is_root() {
        let owner = match data_dir.join("cluster").metadata() {
            Ok(meta) => meta.uid(),
            Err(_) => nix::unistd::User::from_name("postgres")
                .unwrap()
                .or_else(|| nix::unistd::User::from_name("nobody").unwrap())
                .unwrap()
                .uid
                .as_raw(),
        };
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &owner.to_string(), "--clear-groups", "sleep"]);
        command
    } else {
        Command::new("sleep")
    };
    command.arg("300").spawn().unwrap()
}
