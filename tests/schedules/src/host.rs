//! A process of a schedule, and its supervisor, which starts it again whenever it ends.

use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use foldlog::db::Role;
use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::clock::pause;
use crate::cluster::{DATABASE, USER, pid_of};
use crate::link::Link;
use crate::plan::{HostPlan, PoolerMode, Program};
use crate::ports;
use crate::runtime_api::RuntimeApi;
use crate::template::LOGINS;

/// How many milliseconds a process that ended by itself stays down.
const RESTART_DELAY: u64 = 100;
/// How long a client waits for a response over HTTP. Hosts answer within 25 s; a client need not wait that long.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(5);

/// A process, its connection to the database, and what invokes it.
#[derive(Debug)]
pub struct Host {
    pub name: String,
    pub plan: HostPlan,
    pub link: Link,
    port: u16,
    api: Option<RuntimeApi>,
    /// One invocation at a time.
    invoking: tokio::sync::Mutex<()>,
    pid: Mutex<Option<u32>>,
    down_ms: AtomicU64,
    /// A fault has frozen the process.
    is_frozen: AtomicBool,
    stop: CancellationToken,
}

impl Host {
    pub async fn new(index: usize, plan: HostPlan, link: Link) -> Result<Self> {
        let is_function = !matches!(plan.program, Program::Local | Program::Listener);
        let api = if is_function {
            Some(RuntimeApi::start().await?)
        } else {
            None
        };
        let port = ports::free()?;
        Ok(Self {
            name: format!("{index}-{:?}", plan.program).to_lowercase(),
            plan,
            link,
            port,
            api,
            invoking: tokio::sync::Mutex::default(),
            pid: Mutex::default(),
            down_ms: RESTART_DELAY.into(),
            is_frozen: false.into(),
            stop: CancellationToken::new(),
        })
    }

    /// Whether it appends events of this domain.
    pub fn appends(&self, is_user: bool) -> bool {
        matches!(self.plan.program, Program::Local | Program::Command)
            && (is_user || self.plan.serves_all)
    }

    /// Whether it reads the view of this domain.
    pub fn reads(&self, is_user: bool) -> bool {
        matches!(self.plan.program, Program::Local | Program::Query)
            && (is_user || self.plan.serves_all)
    }

    /// Keeps the process running until [`Self::stop`].
    pub async fn supervise(&self, program: &Path, folder: &Path) -> Result<()> {
        while !self.stop.is_cancelled() {
            let mut child = self.spawn(program, folder)?;
            *self.lock_pid() = child.id();
            tokio::select! {
                _ = child.wait() => {}
                () = self.stop.cancelled() => child.kill().await?,
            }
            *self.lock_pid() = None;
            if let Some(api) = &self.api {
                api.forget();
            }
            pause(self.down_ms.swap(RESTART_DELAY, Ordering::SeqCst)).await;
        }
        Ok(())
    }

    fn spawn(&self, program: &Path, folder: &Path) -> Result<Child> {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(folder.join(format!("{}.log", self.name)))?;
        let plan = &self.plan;
        let mut command = Command::new(program);
        command.arg("host").arg(match plan.program {
            Program::Local => "local",
            Program::Listener => "listener",
            Program::Command => "command",
            Program::Query => "query",
            Program::CatchUp => "catch_up",
        });
        command.arg(if plan.serves_all { "all" } else { "few" });
        command.current_dir(folder).env_clear();
        let login = self.login();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env(
            "DATABASE_URL",
            format!(
                "postgres://{login}@127.0.0.1:{}/{DATABASE}?sslmode=disable",
                self.link.port
            ),
        );
        command.env("APP_SERVER_PORT", format!("127.0.0.1:{}", self.port));
        command.env("BATCH_SIZE", plan.batch_size.to_string());
        command.env("INLINE", plan.inline.join(","));
        let pooler = match plan.pooler {
            None => "none",
            Some(PoolerMode::Transaction) => "transaction",
            Some(PoolerMode::Prepared) => "prepared",
        };
        command.env("DB_POOLER", pooler);
        command.env(
            "AFTER_APPEND",
            if plan.catches_up { "catch_up" } else { "none" },
        );
        command.env(
            "RUST_LOG",
            std::env::var("RUST_LOG").unwrap_or_else(|_| "info".to_owned()),
        );
        command.env("RUST_BACKTRACE", "1");
        if let Some(api) = &self.api {
            command.envs(api.env());
        }
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        command
            .kill_on_drop(true)
            .spawn()
            .context("cannot start a host")
    }

    /// The login of the process. Behind a pooler that tracks names, the role is the login's default.
    fn login(&self) -> &'static str {
        if self.plan.pooler != Some(PoolerMode::Prepared) {
            return USER;
        }
        let role = match self.plan.program {
            Program::Local | Program::Listener | Program::CatchUp => Role::Projection,
            Program::Query => Role::Query,
            Program::Command if self.plan.inline.is_empty() => Role::Command,
            Program::Command => Role::CommandInline,
        };
        let found = LOGINS.iter().find(|(_, of_login)| *of_login == role);
        found.map_or(USER, |(login, _)| login)
    }

    /// Sends a signal, if the process runs.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = *self.lock_pid()
            && let Ok(pid) = pid_of(pid)
        {
            // It may have ended.
            let _ = kill(pid, signal);
        }
    }

    /// Kills the process; it is started again after this time.
    pub fn kill(&self, down_ms: u64) {
        self.down_ms.store(down_ms, Ordering::SeqCst);
        self.signal(Signal::SIGKILL);
    }

    /// Freezes the process until [`Self::thaw`].
    pub fn freeze(&self) {
        self.is_frozen.store(true, Ordering::SeqCst);
        self.signal(Signal::SIGSTOP);
    }

    pub fn thaw(&self) {
        self.is_frozen.store(false, Ordering::SeqCst);
        self.signal(Signal::SIGCONT);
    }

    /// Ends the process and its supervisor.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Sends a request and returns the status, the body, and whether the response has `Retry-After`; `None` without a response.
    pub async fn request(
        &self,
        client: &reqwest::Client,
        method: &str,
        path: &str,
        headers: &[(&'static str, String)],
        body: Option<&Value>,
    ) -> Option<(u16, Value, bool)> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        if self.api.is_some() {
            let event = gateway_event(method, path, query, headers, body);
            let answer = self.invoke(&event).await?;
            let status = u16::try_from(answer["statusCode"].as_u64()?).ok()?;
            let text = answer["body"].as_str().unwrap_or_default();
            let retry_after = !answer["headers"]["retry-after"].is_null();
            return Some((
                status,
                serde_json::from_str(text).unwrap_or_default(),
                retry_after,
            ));
        }
        let url = format!("http://127.0.0.1:{}{path}?{query}", self.port);
        let mut request = client
            .request(method.parse().ok()?, url)
            .timeout(CLIENT_TIMEOUT);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.ok()?;
        let status = response.status().as_u16();
        let retry_after = response.headers().contains_key("retry-after");
        // The body may be lost although the head has arrived.
        let text = response.text().await.ok()?;
        Some((
            status,
            serde_json::from_str(&text).unwrap_or_default(),
            retry_after,
        ))
    }

    /// Invokes the function, as Lambda does: thaws it before, freezes it afterwards, and kills it if it takes too long.
    pub async fn invoke(&self, payload: &Value) -> Option<Value> {
        let api = self.api.as_ref()?;
        let _one = self.invoking.lock().await;
        if !self.is_frozen.load(Ordering::SeqCst) {
            self.signal(Signal::SIGCONT);
        }
        let answer = api.invoke(payload, self.plan.timeout_ms);
        let limit = Duration::from_millis(self.plan.timeout_ms);
        let Ok(answer) = timeout(limit, answer).await else {
            self.kill(0);
            return None;
        };
        if self.plan.freezes {
            self.signal(Signal::SIGSTOP);
        }
        answer.ok().flatten()
    }

    fn lock_pid(&self) -> std::sync::MutexGuard<'_, Option<u32>> {
        self.pid.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The request as the event of an HTTP API.
fn gateway_event(
    method: &str,
    path: &str,
    query: &str,
    headers: &[(&'static str, String)],
    body: Option<&Value>,
) -> Value {
    let mut all = json!({"host": "api.example.org", "content-type": "application/json"});
    for (name, value) in headers {
        all[*name] = value.clone().into();
    }
    json!({
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": query, "headers": all,
        "requestContext": {
            "accountId": "1", "apiId": "a", "domainName": "api.example.org", "stage": "$default",
            "http": {"method": method, "path": path, "protocol": "HTTP/1.1",
                     "sourceIp": "203.0.113.7", "userAgent": "schedule"},
            "requestId": "r", "routeKey": "$default", "timeEpoch": 1,
        },
        "body": body.map(ToString::to_string), "isBase64Encoded": false,
    })
}
