//! `cargo run` without a database: how the local host uses the Postgres that it starts, joins, restarts and stops.

use std::fs::{File, OpenOptions};
use std::path::PathBuf;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::Client;
use serde_json::json;
use tempfile::TempDir;
use uuid::Uuid;

use crate::bins::program::{LOCAL, Program};
use crate::bins::{the_requests_of_the_readme, the_user, until_listed};
use crate::support::poll::wait_until;

/// A data directory for one test. Dropping it ends a server that a failed test left running.
struct DataDir(TempDir);

impl DataDir {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("data")
    }

    /// Starts the local host on this directory.
    fn start(&self) -> Program {
        self.start_with(&[])
    }

    fn start_with(&self, more: &[(&str, &str)]) -> Program {
        let path = self.path();
        let mut env = vec![
            ("LOCAL_DATA_DIR", path.to_str().unwrap()),
            ("APP_SERVER_PORT", ":0"),
        ];
        env.extend(more);
        Program::start(LOCAL, &[], &env)
    }

    /// The process of the server, if it runs.
    fn server(&self) -> Option<Pid> {
        let file = std::fs::read_to_string(self.path().join("cluster/postmaster.pid")).ok()?;
        let pid = Pid::from_raw(file.lines().next()?.parse().ok()?);
        kill(pid, None).is_ok().then_some(pid)
    }

    /// While this lock is held, no process can start a server.
    fn start_lock(&self) -> File {
        let path = self.path().join("start.lock");
        let file = OpenOptions::new().write(true).open(path).unwrap();
        file.lock().unwrap();
        file
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        if let Some(pid) = self.server() {
            let _ = kill(pid, Signal::SIGQUIT);
        }
    }
}

/// The status of the list, and whether the response has Retry-After.
async fn list(client: &Client, url: &str) -> (u16, bool) {
    let answer = client.get(format!("{url}/users")).send().await.unwrap();
    (
        answer.status().as_u16(),
        answer.headers().contains_key("retry-after"),
    )
}

/// Fails when data is lost between runs, when the next run does not join the server that a killed one left behind, or when
/// SIGTERM leaves the server running.
#[tokio::test]
async fn data_outlives_sigkill_and_sigterm_stops_the_server() {
    let (data, client) = (DataDir::new(), Client::new());
    let mut local = data.start();
    let address = local.url().await;
    let greeting = local.said();
    let place = data.path().canonicalize().unwrap();
    assert!(greeting.contains(place.to_str().unwrap()), "{greeting}");
    the_requests_of_the_readme(&client, &address).await;
    local.kill().await;

    let server = data.server();
    assert!(server.is_some(), "the server ended with the killed process");
    let mut local = data.start();
    let address = local.url().await;
    assert!(local.said().contains("already running"), "{}", local.said());
    assert_eq!(data.server(), server);
    until_listed(&client, &format!("{address}/users"), &the_user()).await;
    local.terminate().await.well();
    assert_eq!(data.server(), None, "the server still runs");

    let mut local = data.start();
    let address = local.url().await;
    until_listed(&client, &format!("{address}/users"), &the_user()).await;
    local.terminate().await.well();
}

/// Fails when a request hangs or gets another status than 503 with Retry-After while Postgres is down, when Postgres is not
/// restarted, or when the API or the listener does not reconnect afterwards.
#[tokio::test]
async fn a_killed_postgres_is_restarted_and_the_api_answers_503_until_then() {
    let (data, client) = (DataDir::new(), Client::new());
    let mut local = data.start();
    let address = local.url().await;
    the_requests_of_the_readme(&client, &address).await;

    let lock = data.start_lock();
    kill(data.server().unwrap(), Signal::SIGKILL).unwrap();
    wait_until("a response says that Postgres is unavailable", async || {
        match list(&client, &address).await {
            (503, has_retry_after) => {
                assert!(has_retry_after, "a 503 without Retry-After");
                true
            }
            // A backend of the killed server may answer one more request.
            (status, _) => {
                assert_eq!(status, 200);
                false
            }
        }
    })
    .await;
    drop(lock);
    wait_until("it recovers", async || {
        list(&client, &address).await.0 == 200
    })
    .await;
    local.until_it_says("has been started again").await;

    let user = "200000bb-1111-2222-3333-000000000001";
    let body = json!({"id": Uuid::now_v7(), "aggregate_id": user, "type_id": 1000,
        "payload": {"id": user, "username": "after", "email": "after@test.test"}});
    let answer = client
        .post(format!("{address}/users"))
        .json(&body)
        .send()
        .await;
    assert_eq!(answer.unwrap().status(), 201);
    let mut both = the_user();
    let after = json!({"id": user, "username": "after", "email": "after@test.test", "version": 1});
    both["result"].as_array_mut().unwrap().push(after);
    until_listed(&client, &format!("{address}/users"), &both).await;
    local.terminate().await.well();
}

/// Fails when a second process cannot use the same data directory, or when the first one stops the server under it.
#[tokio::test]
async fn a_second_process_joins_and_the_last_one_stops_the_server() {
    let (data, client) = (DataDir::new(), Client::new());
    // Together, so that neither finds a running server.
    let (mut first, mut second) = (data.start(), data.start());
    let addresses = [first.url().await, second.url().await];
    the_requests_of_the_readme(&client, &addresses[0]).await;
    until_listed(&client, &format!("{}/users", addresses[1]), &the_user()).await;
    first.terminate().await.well();
    assert!(
        data.server().is_some(),
        "the first process stopped the server"
    );
    the_requests_of_the_readme(&client, &addresses[1]).await;
    second.terminate().await.well();
    assert_eq!(data.server(), None, "the server still runs");
}

/// Fails when `LOCAL_POSTGRES=bring` uses an installed server, or when the download does not work.
#[tokio::test]
async fn local_postgres_bring_downloads_a_server() {
    let (data, client) = (DataDir::new(), Client::new());
    let env: Vec<(String, String)> = std::env::vars()
        .filter(|(name, _)| is_about_registries(name))
        .collect();
    let mut more: Vec<(&str, &str)> = env
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect();
    more.push(("LOCAL_POSTGRES", "bring"));
    let mut local = data.start_with(&more);
    let address = local.url().await;
    the_requests_of_the_readme(&client, &address).await;
    let ended = local.terminate().await;
    let inside = format!("with {}/", data.path().canonicalize().unwrap().display());
    assert!(
        ended.well().err.contains(&inside),
        "an installed server was used: {}",
        ended.err
    );
}

/// Whether a variable configures the package registries of this machine.
fn is_about_registries(name: &str) -> bool {
    let name = name.to_lowercase();
    name == "home"
        || name.starts_with("pip_")
        || name.starts_with("npm_config_")
        || name.ends_with("_proxy")
        || name.ends_with("_ca_certs")
        || name.starts_with("ssl_cert")
}
