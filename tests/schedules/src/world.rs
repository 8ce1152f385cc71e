//! The processes and clusters of one schedule.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};

use crate::cluster::Cluster;
use crate::host::Host;
use crate::link::Link;
use crate::plan::{Fault, Plan, PoolerMode};
use crate::pooler::Pooler;
use crate::ports;
use crate::programs::pgbouncer;
use crate::record::Recorder;
use crate::template::Template;

/// A schedule while it runs.
#[derive(Debug)]
pub struct World {
    pub plan: Plan,
    pub recorder: Recorder,
    pub folder: PathBuf,
    pub template: Arc<Template>,
    pub hosts: Vec<Arc<Host>>,
    pub standby: Option<Arc<Cluster>>,
    /// From the standby to the primary.
    pub replication: Option<Link>,
    pub poolers: tokio::sync::Mutex<Vec<Pooler>>,
    /// From the poolers to the primary.
    pub pooler_link: Link,
    primary: Mutex<Arc<Cluster>>,
}

impl World {
    /// Starts the clusters and the pooler, and prepares the hosts.
    pub async fn start(mut plan: Plan, template: Arc<Template>, folder: &Path) -> Result<Self> {
        if pgbouncer(PoolerMode::Prepared).is_none() {
            plan.avoid_prepared();
        }
        let parameters = parameters(&plan);
        let origin = if plan.has_history {
            &template.history
        } else {
            &template.empty
        };
        let place = folder.join("primary");
        let primary = Cluster::copy(origin, place, ports::free()?, &parameters).await?;
        let (mut standby, mut replication) = (None, None);
        if plan.has_standby {
            let link = Link::start(primary.port).await?;
            let place = folder.join("standby");
            let port = ports::free()?;
            let copied = Cluster::copy_as_standby(origin, place, port, &parameters, link.port);
            standby = Some(Arc::new(copied.await?));
            replication = Some(link);
        }
        primary.start().await?;
        if let Some(standby) = &standby {
            standby.start().await?;
        }
        if !plan.has_email_rule {
            primary.execute("drop index users_email_key").await?;
        }
        let pooler_link = Link::start(primary.port).await?;
        let mut poolers = Vec::new();
        let mut pooler_ports = Vec::new();
        for mode in [PoolerMode::Transaction, PoolerMode::Prepared] {
            if plan.hosts.iter().any(|host| host.pooler == Some(mode)) {
                let program = pgbouncer(mode)
                    .with_context(|| format!("there is no PgBouncer for {mode:?}"))?;
                let port = ports::free()?;
                poolers.push(Pooler::start(
                    program,
                    mode,
                    folder,
                    port,
                    pooler_link.port,
                )?);
                pooler_ports.push((mode, port));
            }
        }
        let mut hosts = Vec::new();
        for (index, host) in plan.hosts.iter().enumerate() {
            let of_host = pooler_ports
                .iter()
                .find(|(mode, _)| Some(*mode) == host.pooler);
            let target = of_host.map_or(primary.port, |(_, port)| *port);
            let link = Link::start(target).await?;
            let host = Host::new(index, host.clone(), link).await?;
            hosts.push(Arc::new(host));
        }
        Ok(Self {
            recorder: Recorder::new(),
            folder: folder.to_owned(),
            template,
            hosts,
            standby,
            replication,
            poolers: poolers.into(),
            pooler_link,
            primary: Mutex::new(Arc::new(primary)),
            plan,
        })
    }

    /// The cluster that accepts writes.
    pub fn primary(&self) -> Arc<Cluster> {
        Arc::clone(&self.primary.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes another cluster the primary: new connections lead there.
    pub fn switch_to(&self, cluster: Arc<Cluster>) {
        self.route_all(cluster.port);
        *self.primary.lock().unwrap_or_else(PoisonError::into_inner) = cluster;
    }

    /// Where the new connections of one host lead. Those of a host behind the pooler keep leading to the pooler.
    pub fn route(&self, host: &Host, port: u16) {
        if host.plan.pooler.is_some() {
            self.pooler_link.redirect(port);
        } else {
            host.link.redirect(port);
        }
    }

    fn route_all(&self, port: u16) {
        for host in &self.hosts {
            self.route(host, port);
        }
        self.pooler_link.redirect(port);
    }

    /// Closes the connections between all hosts and Postgres.
    pub fn cut_all(&self) {
        self.pooler_link.cut();
        for host in &self.hosts {
            host.link.cut();
        }
    }

    /// Closes the connections of all links that were made silent.
    pub fn cut_silent(&self) {
        let silenced = self
            .plan
            .faults
            .iter()
            .filter_map(|fault| match fault.fault {
                Fault::Silence { host } => Some(host),
                _ => None,
            });
        for host in silenced {
            self.hosts[host].link.cut();
        }
    }

    /// Whether connections can be made.
    pub fn refuse_all(&self, refuses: bool) {
        self.pooler_link.refuse(refuses);
        for host in &self.hosts {
            host.link.refuse(refuses);
        }
    }

    /// Settings of a cluster that joins during the schedule.
    pub fn parameters(&self) -> Vec<String> {
        parameters(&self.plan)
    }
}

fn parameters(plan: &Plan) -> Vec<String> {
    let mut parameters = vec![format!("default_transaction_isolation={}", plan.isolation)];
    if !plan.synchronous_commit {
        // The longer the WAL writer sleeps, the more commits a crash can lose.
        parameters.push("synchronous_commit=off".to_owned());
        parameters.push("wal_writer_delay=2s".to_owned());
    }
    parameters
}
