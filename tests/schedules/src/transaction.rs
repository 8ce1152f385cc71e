//! Transactions of an application, which append through the library and are open for long.

use std::sync::Arc;

use anyhow::{Result, bail};
use foldlog::Foldlog;
use foldlog::command::Appended;
use foldlog::db::Pool;
use foldlog::domains::users::{UserEvent, Users};
use foldlog::event::{AggregateId, EventId};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::clock::pause;
use crate::domains::{ALL, AccountEvent, Accounts};
use crate::model::{Body, Event};
use crate::plan::{Append, End, Expected, Request, SlowTransaction};
use crate::record::{Attempt, Outcome};
use crate::world::World;

/// How often a prepared transaction is committed: for longer than a crash or a fail-over takes.
const COMMIT_ATTEMPTS: usize = 200;

/// Runs a transaction and records how it ended.
pub async fn run(world: Arc<World>, plan: SlowTransaction) {
    pause(plan.at_ms).await;
    let sent = world.recorder.now();
    let outcome = match append(&world, &plan).await {
        Ok(outcome) => outcome,
        Err(error) => {
            world
                .recorder
                .note(&format!("a slow transaction failed: {error:#}"));
            Outcome::Unknown
        }
    };
    world.recorder.attempt(Attempt {
        host: "transaction".to_owned(),
        inline: plan.inline,
        request: Request::Append(Append {
            events: plan.events,
            expected: Expected::Any,
        }),
        sent,
        received: world.recorder.now(),
        outcome,
    });
}

async fn append(world: &World, plan: &SlowTransaction) -> Result<Outcome> {
    let cluster = world.primary();
    let inline = plan.inline.iter().map(|name| (*name).to_owned()).collect();
    let foldlog = Foldlog::new(Pool::new(cluster.options(), 1), ALL, inline)?;
    let mut connection = cluster.connect().await?;
    let mut transaction = connection.begin().await?;
    sqlx::query("select pg_current_xact_id()")
        .execute(&mut *transaction)
        .await?;
    pause(plan.before_append_ms).await;
    let mut appended = Vec::new();
    for events in plan.events.chunk_by(|a, b| a.aggregate == b.aggregate) {
        let stored = append_all(&foldlog, &mut transaction, events).await?;
        appended.extend(stored.events);
    }
    match plan.end {
        End::Prepare => {
            let name = plan.events[0].id;
            sqlx::raw_sql(AssertSqlSafe(format!("prepare transaction '{name}'")))
                .execute(&mut *transaction)
                .await?;
            pause(plan.before_commit_ms).await;
            commit_prepared(world, &name.to_string()).await?;
        }
        End::Rollback => {
            pause(plan.before_commit_ms).await;
            transaction.rollback().await?;
            return Ok(Outcome::RolledBack);
        }
        End::Commit => {
            pause(plan.before_commit_ms).await;
            transaction.commit().await?;
        }
    }
    let events = appended.iter().map(|event| -> Value {
        json!({
            "id": event.id.0, "aggregate_id": event.aggregate_id.0,
            "version": event.version.0, "position": event.position.0,
        })
    });
    Ok(Outcome::Response {
        status: 201,
        body: json!({"events": events.collect::<Vec<_>>()}),
        has_retry_after: false,
    })
}

/// Commits a prepared transaction on the primary, which may crash or be replaced meanwhile. It is an error if the transaction is
/// gone: it may have been committed by a try whose response was lost.
async fn commit_prepared(world: &World, name: &str) -> Result<()> {
    let exists = format!("select exists (select from pg_prepared_xacts where gid = '{name}')");
    for _ in 0..COMMIT_ATTEMPTS {
        let cluster = world.primary();
        let committed = cluster.execute(&format!("commit prepared '{name}'")).await;
        if committed.is_ok() || matches!(cluster.value::<bool>(&exists).await, Ok(Some(false))) {
            return committed;
        }
        pause(100).await;
    }
    bail!("a prepared transaction cannot be committed")
}

async fn append_all(
    foldlog: &Foldlog,
    connection: &mut PgConnection,
    events: &[Event],
) -> Result<Appended> {
    let aggregate = events[0].aggregate;
    let id = AggregateId(aggregate);
    let ids = events.iter().map(|event| EventId(event.id));
    let appended = if events[0].body.is_user() {
        let events: Result<Vec<_>> = events.iter().map(user_event).collect();
        foldlog
            .append::<Users>(id, events?)
            .ids(ids)
            .in_transaction(connection)
            .await
    } else {
        let events: Result<Vec<_>> = events.iter().map(account_event).collect();
        foldlog
            .append::<Accounts>(id, events?)
            .ids(ids)
            .in_transaction(connection)
            .await
    };
    Ok(appended?)
}

fn user_event(event: &Event) -> Result<UserEvent> {
    Ok(match event.body.clone() {
        Body::Created { username, email } => UserEvent::Created {
            id: event.aggregate,
            username,
            email,
            password: None,
        },
        Body::Renamed { username } => UserEvent::UsernameChanged { username },
        Body::EmailChanged { email } => UserEvent::EmailChanged { email },
        Body::Deleted => UserEvent::Deleted { id: None },
        body => bail!("{body:?} does not belong to a user"),
    })
}

fn account_event(event: &Event) -> Result<AccountEvent> {
    Ok(match event.body.clone() {
        Body::Opened { owner } => AccountEvent::Opened { owner },
        Body::Deposited { cents } => AccountEvent::Deposited { cents },
        Body::Closed => AccountEvent::Closed {},
        body => bail!("{body:?} does not belong to an account"),
    })
}
