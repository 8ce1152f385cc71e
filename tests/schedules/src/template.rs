//! The clusters that each schedule copies: made once per run.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use foldlog::Foldlog;
use foldlog::db::{DbError, Pool, PoolSettings, Pooler, Role};
use foldlog::domains::users::{UserEvent, Users};
use foldlog::event::AggregateId;
use foldlog::projection::{Budget, catch_up};
use tokio::process::Command;
use uuid::Uuid;

use crate::check::log::{Log, Stored};
use crate::cluster::{Cluster, DATABASE, USER};
use crate::domains::{ALL, AccountEvent, Accounts};
use crate::ports;
use crate::rng::Rng;

/// The transaction counter of the cluster with a history. It stays within the first page of the commit log, which exists.
const MIN_HISTORY_XID: u32 = 20_000;

/// Logins that work as one role by default, as a pooler that tracks named statements needs them.
pub const LOGINS: [(&str, Role); 4] = [
    ("schedule_command", Role::Command),
    ("schedule_command_inline", Role::CommandInline),
    ("schedule_query", Role::Query),
    ("schedule_projection", Role::Projection),
];

/// What these logins need in clusters with another default.
const ISOLATION_SETTINGS: [&str; 3] = [
    "default_transaction_isolation = 'read committed'",
    "default_transaction_read_only = off",
    "default_transaction_deferrable = off",
];

/// Stopped clusters, and a dump.
#[derive(Debug)]
pub struct Template {
    /// An empty log and a low transaction counter.
    pub empty: PathBuf,
    /// A log with events, of which the last are not projected, and a high transaction counter.
    pub history: PathBuf,
    /// A dump of `history`.
    pub dump: PathBuf,
    /// The events of `history`, by id.
    pub events: HashMap<Uuid, Stored>,
    /// This program, copied, so that a new build does not replace it during the run.
    pub program: PathBuf,
}

impl Template {
    pub async fn create(folder: &Path) -> Result<Self> {
        let program = folder.join("schedules");
        std::fs::copy(std::env::current_exe()?, &program)?;
        let empty = Cluster::create(folder.join("empty"), ports::free()?).await?;
        empty.start().await?;
        empty.create_database().await?;
        migrate(&program, folder, empty.port).await?;
        create_logins(&empty).await?;
        empty.stop().await?;

        let history =
            Cluster::copy(&empty.folder, folder.join("history"), ports::free()?, &[]).await?;
        history.raise_counter(MIN_HISTORY_XID).await?;
        history.start().await?;
        write_history(&history).await?;
        let dump = folder.join("history.dump");
        std::fs::create_dir(folder.join("dumps"))?;
        if let Some((uid, gid)) = crate::programs::server_user()? {
            std::os::unix::fs::chown(folder.join("dumps"), Some(uid), Some(gid))?;
        }
        history.dump(&folder.join("dumps/history.dump")).await?;
        std::fs::rename(folder.join("dumps/history.dump"), &dump)?;
        let log = Log::read(&mut history.connect().await?).await?;
        history.stop().await?;
        Ok(Self {
            empty: empty.folder.clone(),
            history: history.folder.clone(),
            dump,
            events: log
                .events()
                .map(|event| (event.id, event.clone()))
                .collect(),
            program,
        })
    }
}

async fn migrate(program: &Path, folder: &Path, port: u16) -> Result<()> {
    let mut command = Command::new(program);
    command
        .args(["host", "migrate", "all", "up"])
        .current_dir(folder);
    command.env(
        "DATABASE_URL",
        format!("postgres://{USER}@127.0.0.1:{port}/{DATABASE}"),
    );
    command.env("INLINE", "users").stdin(Stdio::null());
    crate::programs::run(&mut command)
        .await
        .context("cannot migrate the template")
}

/// Creates the logins with the defaults that foldlog asks for when it connects without them.
async fn create_logins(cluster: &Cluster) -> Result<()> {
    for (login, role) in LOGINS {
        let mut sql = format!("create role {login} login;");
        for setting in ISOLATION_SETTINGS {
            write!(
                sql,
                "alter role {login} in database {DATABASE} set {setting};"
            )?;
        }
        cluster.execute(&sql).await?;
        let pool = Pool::open(PoolSettings {
            pooler: Pooler::Prepared,
            role: Some(role),
            ..PoolSettings::new(cluster.options().username(login), 1)
        });
        let refused = pool.acquire().await.map(drop);
        let Err(DbError::SessionDefaults { fixes, .. }) = refused else {
            bail!("a login without defaults is not refused: {refused:?}");
        };
        let here = format!(" in database {DATABASE} set ");
        cluster.execute(&fixes.replace(" set ", &here)).await?;
    }
    Ok(())
}

/// Users and accounts of earlier days. The events of the second half are not projected.
async fn write_history(cluster: &Cluster) -> Result<()> {
    let foldlog = Foldlog::new(
        Pool::new(cluster.options(), 2),
        ALL,
        std::collections::BTreeSet::new(),
    )?;
    let mut rng = Rng::new(0);
    for round in 0..2 {
        for _ in 0..6 {
            let (user, account) = (rng.uuid(), AggregateId(rng.uuid()));
            let created = UserEvent::Created {
                id: user,
                username: "before".to_owned(),
                email: format!("{user}@example.org"),
                password: None,
            };
            foldlog
                .append::<Users>(AggregateId(user), [created])
                .await?;
            let owner = "before".to_owned();
            let events = [
                AccountEvent::Opened { owner },
                AccountEvent::Deposited { cents: 100 },
            ];
            foldlog.append::<Accounts>(account, events).await?;
        }
        if round == 0 {
            for view in foldlog.views.iter() {
                catch_up(&foldlog.pool, view, 100, &Budget::default()).await?;
            }
        }
    }
    foldlog.pool.close();
    Ok(())
}
