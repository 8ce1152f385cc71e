//! postgres-es (cqrs-es): a command replays its aggregate and inserts at the next sequence number. Views are updated after the
//! commit, and an update that fails there is lost.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use cqrs_es::event_sink::EventSink;
use cqrs_es::persist::{GenericQuery, QueryReplay};
use cqrs_es::{Aggregate, AggregateError, DomainEvent, EventEnvelope, Query, View};
use postgres_es::{PostgresEventRepository, PostgresViewRepository, postgres_cqrs};
use serde::{Deserialize, Serialize};
use sqlx_of_peers::postgres::PgPool;

use crate::load::{Load, Measured, pool};
use crate::{Kind, RejectedError, UserEvent, aggregate, aggregates_in_sql};

/// The tables that the documentation of postgres-es prescribes.
const TABLES: &str = "
    create table events (
        aggregate_type text not null,
        aggregate_id text not null,
        sequence bigint check (sequence >= 0) not null,
        event_type text not null,
        event_version text not null,
        payload json not null,
        metadata json not null,
        primary key (aggregate_type, aggregate_id, sequence)
    );
    create table users_view (
        view_id text not null,
        version bigint check (version >= 0) not null,
        payload json not null,
        primary key (view_id)
    )";

impl DomainEvent for UserEvent {
    fn event_type(&self) -> String {
        match self {
            Self::Created { .. } => "Created".to_owned(),
            Self::Renamed { .. } => "Renamed".to_owned(),
        }
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct User {
    exists: bool,
}

impl Aggregate for User {
    const TYPE: &'static str = "user";
    type Command = UserEvent;
    type Event = UserEvent;
    type Error = RejectedError;
    type Services = ();

    async fn handle(
        &mut self,
        event: UserEvent,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), RejectedError> {
        event.check(self.exists)?;
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, _: UserEvent) {
        self.exists = true;
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Row {
    username: String,
    email: String,
}

impl View<User> for Row {
    fn update(&mut self, event: &EventEnvelope<User>) {
        match &event.payload {
            UserEvent::Created {
                username, email, ..
            } => {
                self.username.clone_from(username);
                self.email.clone_from(email);
            }
            UserEvent::Renamed { username } => self.username.clone_from(username),
        }
    }
}

fn view(pool: &PgPool) -> GenericQuery<PostgresViewRepository<Row, User>, Row, User> {
    let rows = PostgresViewRepository::new("users_view", pool.clone());
    GenericQuery::new(Arc::new(rows))
}

pub async fn setup(url: &str) -> Result<()> {
    let pool = pool(url, 1).await?;
    sqlx_of_peers::raw_sql(TABLES).execute(&pool).await?;
    let cqrs = postgres_cqrs::<User>(pool.clone(), vec![], ());
    let first = aggregate(0);
    cqrs.execute(&first.to_string(), UserEvent::created(first))
        .await?;
    // The others are copies of the first, each with its own id.
    let copy = format!(
        "insert into events
         select aggregate_type, aggregate.id::text, sequence, event_type, event_version,
             replace(payload::text, '{first}', aggregate.id::text)::json, metadata
         from events, {};
         analyze",
        aggregates_in_sql(1)
    );
    sqlx_of_peers::raw_sql(&copy).execute(&pool).await?;
    Ok(())
}

pub async fn append(url: &str, kind: Kind, load: Load, with_view: bool) -> Result<Measured> {
    let pool = pool(url, load.clients).await?;
    let queries: Vec<Box<dyn Query<User>>> = if with_view {
        vec![Box::new(view(&pool))]
    } else {
        vec![]
    };
    let cqrs = Arc::new(postgres_cqrs(pool, queries, ()));
    load.run(move |_| {
        let cqrs = cqrs.clone();
        async move {
            loop {
                let (id, event) = kind.next();
                match cqrs.execute(&id.to_string(), event).await {
                    Ok(()) => return Ok(()),
                    Err(AggregateError::AggregateConflict) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
    })
    .await
}

pub async fn project(url: &str) -> Result<f64> {
    let pool = pool(url, 4).await?;
    let (events,): (i64,) = sqlx_of_peers::query_as("select count(*) from events")
        .fetch_one(&pool)
        .await?;
    let begun = Instant::now();
    QueryReplay::new(PostgresEventRepository::new(pool.clone()), view(&pool))
        .replay_all()
        .await?;
    Ok(events as f64 / begun.elapsed().as_secs_f64())
}
