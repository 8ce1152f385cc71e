//! disintegrate: a decision queries the events that it depends on, and its insert is SERIALIZABLE, so that it fails if there are
//! newer ones. A listener hands each event to a handler at least once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use async_trait::async_trait;
use disintegrate::{
    Decision, DecisionError, Event, EventListener, NoSnapshot, PersistedEvent, StateMutate,
    StateQuery, StreamQuery, query,
};
use disintegrate_postgres::{
    PgEventId, PgEventListener, PgEventListenerConfig, PgEventStore, decision_maker,
};
use disintegrate_serde::serde::json::Json;
use serde::{Deserialize, Serialize};
use sqlx_of_peers::postgres::PgPool;
use uuid::Uuid;

use crate::load::{Load, Measured, pool};
use crate::{Kind, RejectedError, UserEvent, aggregate, aggregates_in_sql};

/// Events per batch of the listener, and how often it asks for more.
const FETCH_SIZE: usize = 1000;
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A listener that does not reach the end of the log is measured by what it did until then.
const MAX_PROJECTION: Duration = Duration::from_secs(60);

type Store = PgEventStore<DomainEvent, Json<DomainEvent>>;

#[derive(Clone, Debug, PartialEq, Eq, Event, Serialize, Deserialize)]
#[stream(Users, [UserCreated, UserRenamed])]
enum DomainEvent {
    UserCreated {
        #[id]
        user_id: String,
        username: String,
        email: String,
    },
    UserRenamed {
        #[id]
        user_id: String,
        username: String,
    },
}

#[derive(Clone, Default, StateQuery, Serialize, Deserialize)]
#[state_query(Users)]
struct User {
    #[id]
    user_id: String,
    exists: bool,
}

impl StateMutate for User {
    fn mutate(&mut self, _: Self::Event) {
        self.exists = true;
    }
}

struct Append {
    user_id: Uuid,
    event: UserEvent,
}

impl Decision for Append {
    type Event = DomainEvent;
    type StateQuery = User;
    type Error = RejectedError;

    fn state_query(&self) -> User {
        User {
            user_id: self.user_id.to_string(),
            exists: false,
        }
    }

    fn process(&self, user: &User) -> Result<Vec<DomainEvent>, RejectedError> {
        self.event.check(user.exists)?;
        let user_id = self.user_id.to_string();
        Ok(vec![match self.event.clone() {
            UserEvent::Created {
                username, email, ..
            } => DomainEvent::UserCreated {
                user_id,
                username,
                email,
            },
            UserEvent::Renamed { username } => DomainEvent::UserRenamed { user_id, username },
        }])
    }
}

pub async fn setup(url: &str) -> Result<()> {
    let pool = pool(url, 3).await?;
    let store = Store::try_new(pool.clone(), Json::default()).await?;
    sqlx_of_peers::raw_sql("create table users (id text primary key, username text, email text)")
        .execute(&pool)
        .await?;
    let first = aggregate(0);
    let decision = Append {
        user_id: first,
        event: UserEvent::created(first),
    };
    decision_maker(store, NoSnapshot).make(decision).await?;
    // The others are copies of the first, each with its own id.
    let copy = format!(
        "insert into event (event_type, payload, user_id)
         select event_type,
             convert_to(replace(convert_from(payload, 'utf8'), '{first}', aggregate.id::text), 'utf8'), aggregate.id::text
         from event, {};
         analyze",
        aggregates_in_sql(1)
    );
    sqlx_of_peers::raw_sql(&copy).execute(&pool).await?;
    Ok(())
}

pub async fn append(url: &str, kind: Kind, load: Load) -> Result<Measured> {
    let pool = pool(url, load.clients + 2).await?;
    let store = Store::new_uninitialized(pool, Json::default());
    let decisions = Arc::new(decision_maker(store, NoSnapshot));
    load.run(move |_| {
        let decisions = decisions.clone();
        async move {
            loop {
                let (user_id, event) = kind.next();
                match decisions.make(Append { user_id, event }).await {
                    Ok(_) => return Ok(()),
                    // A lost race, or a transaction that Postgres could not serialize.
                    Err(DecisionError::EventStore(_) | DecisionError::StateStore(_)) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
    })
    .await
}

struct View {
    query: StreamQuery<PgEventId, Users>,
    pool: PgPool,
    handled: Arc<AtomicU64>,
}

#[async_trait]
impl EventListener<PgEventId, Users> for View {
    type Error = sqlx_of_peers::Error;

    fn id(&self) -> &'static str {
        "users"
    }

    fn query(&self) -> &StreamQuery<PgEventId, Users> {
        &self.query
    }

    async fn handle(&self, event: PersistedEvent<PgEventId, Users>) -> Result<(), Self::Error> {
        let query = match event.into_inner() {
            Users::UserCreated {
                user_id,
                username,
                email,
            } => sqlx_of_peers::query(
                "insert into users (id, username, email) values ($1, $2, $3)
                 on conflict (id) do update set username = excluded.username, email = excluded.email",
            )
            .bind(user_id)
            .bind(username)
            .bind(email),
            Users::UserRenamed { user_id, username } => {
                sqlx_of_peers::query("update users set username = $2 where id = $1")
                    .bind(user_id)
                    .bind(username)
            }
        };
        query.execute(&self.pool).await?;
        self.handled.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

pub async fn project(url: &str) -> Result<f64> {
    let pool = pool(url, 6).await?;
    let store = Store::new_uninitialized(pool.clone(), Json::default());
    let (events,): (i64,) = sqlx_of_peers::query_as("select count(*) from event")
        .fetch_one(&pool)
        .await?;
    let events = u64::try_from(events)?;
    let handled = Arc::new(AtomicU64::new(0));
    let view = View {
        query: query!(Users),
        pool,
        handled: handled.clone(),
    };
    let begun = Instant::now();
    let seen = handled.clone();
    let finished = async move {
        while seen.load(Ordering::Relaxed) < events && begun.elapsed() < MAX_PROJECTION {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    PgEventListener::builder(store)
        .register_listener(
            view,
            PgEventListenerConfig::poller(POLL_INTERVAL).fetch_size(FETCH_SIZE),
        )
        .start_with_shutdown(finished)
        .await?;
    Ok(handled.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64())
}
