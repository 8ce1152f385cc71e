//! esrs: a unique key over the aggregate and its sequence number detects a lost race. A transactional handler writes its view in
//! the append's transaction.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use esrs::handler::TransactionalEventHandler;
use esrs::manager::AggregateManager;
use esrs::rebuilder::{PgRebuilder, Rebuilder as _};
use esrs::store::StoreEvent;
use esrs::store::postgres::{PgStore, PgStoreBuilder, PgStoreError};
use esrs::{Aggregate, AggregateState};
use sqlx_of_peers::PgConnection;

use crate::load::{Load, Measured, pool};
use crate::{Kind, RejectedError, UserEvent, aggregate, aggregates_in_sql};

struct User;

impl Aggregate for User {
    const NAME: &'static str = "esrs_user";
    /// Whether the user exists.
    type State = bool;
    type Command = UserEvent;
    type Event = UserEvent;
    type Error = RejectedError;

    fn handle_command(exists: &bool, event: UserEvent) -> Result<Vec<UserEvent>, RejectedError> {
        event.check(*exists)?;
        Ok(vec![event])
    }

    fn apply_event(_: bool, _: UserEvent) -> bool {
        true
    }
}

struct View;

#[async_trait]
impl TransactionalEventHandler<User, PgStoreError, PgConnection> for View {
    async fn handle(
        &self,
        event: &StoreEvent<UserEvent>,
        connection: &mut PgConnection,
    ) -> Result<(), PgStoreError> {
        let query = match &event.payload {
            UserEvent::Created {
                username, email, ..
            } => sqlx_of_peers::query(
                "insert into users (id, username, email) values ($1, $2, $3)
                 on conflict (id) do update set username = excluded.username, email = excluded.email",
            )
            .bind(event.aggregate_id)
            .bind(username)
            .bind(email),
            UserEvent::Renamed { username } => {
                sqlx_of_peers::query("update users set username = $2 where id = $1")
                    .bind(event.aggregate_id)
                    .bind(username)
            }
        };
        query.execute(connection).await?;
        Ok(())
    }
}

pub async fn setup(url: &str) -> Result<()> {
    let pool = pool(url, 1).await?;
    let store: PgStore<User> = PgStoreBuilder::new(pool.clone()).try_build().await?;
    sqlx_of_peers::raw_sql("create table users (id uuid primary key, username text, email text)")
        .execute(&pool)
        .await?;
    let first = aggregate(0);
    AggregateManager::new(store)
        .handle_command(AggregateState::with_id(first), UserEvent::created(first))
        .await??;
    // The others are copies of the first, each with its own id.
    let copy = format!(
        "insert into esrs_user_events (id, aggregate_id, payload, occurred_on, sequence_number)
         select gen_random_uuid(), aggregate.id,
             replace(payload::text, '{first}', aggregate.id::text)::jsonb, occurred_on, sequence_number
         from esrs_user_events, {};
         analyze",
        aggregates_in_sql(1)
    );
    sqlx_of_peers::raw_sql(&copy).execute(&pool).await?;
    Ok(())
}

pub async fn append(url: &str, kind: Kind, load: Load, inline: bool) -> Result<Measured> {
    let builder = PgStoreBuilder::new(pool(url, load.clients).await?).without_running_migrations();
    let builder = if inline {
        builder.add_transactional_event_handler(View)
    } else {
        builder
    };
    let store: PgStore<User> = builder.try_build().await?;
    let manager = Arc::new(AggregateManager::new(store));
    load.run(move |_| {
        let manager = manager.clone();
        async move {
            loop {
                let (id, event) = kind.next();
                let state = match kind {
                    Kind::New => AggregateState::with_id(id),
                    Kind::Existing => manager.load(id).await?.context("a user does not exist")?,
                };
                match manager.handle_command(state, event).await {
                    Ok(handled) => {
                        handled?;
                        return Ok(());
                    }
                    // Another client appended to the same user first.
                    Err(error) if error.to_string().contains("duplicate") => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
    })
    .await
}

pub async fn project(url: &str) -> Result<f64> {
    let pool = pool(url, 4).await?;
    let (events,): (i64,) = sqlx_of_peers::query_as("select count(*) from esrs_user_events")
        .fetch_one(&pool)
        .await?;
    let begun = Instant::now();
    let rebuilder: PgRebuilder<User> =
        PgRebuilder::new().with_transactional_event_handlers(vec![Box::new(View)]);
    rebuilder.all_at_once(pool).await?;
    Ok(events as f64 / begun.elapsed().as_secs_f64())
}
