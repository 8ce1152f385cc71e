//! Many clients on few server connections of a pooler, with every answer checked. `POOLER_STATEMENTS=20000 cargo test
//! --all-features --test it -- pooler_load::` runs the whole number.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use foldlog::Foldlog;
use foldlog::command;
use foldlog::db::{Pool, PoolSettings, Role};
use foldlog::event::{AggregateId, ExpectedVersion, UntypedEvent, Version};
use foldlog::query::{self, Consistency};
use foldlog::store;
use foldlog::view::Inline;
use sqlx::postgres::PgConnectOptions;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::support::bouncer::{Bouncer, set_login_defaults};
use crate::support::db::DOMAINS;
use crate::support::{TestDb, created, renamed};

/// Clients of the pooler, on four server connections.
const CLIENT_COUNT: usize = 40;

/// Requests that each client sends in turn.
const KIND_COUNT: usize = 7;

/// One client: a user of its own, and what it knows about it.
struct Client {
    foldlog: Foldlog,
    number: usize,
    user: Uuid,
    username: String,
    version: i32,
    last: UntypedEvent,
}

impl Client {
    fn new(foldlog: Foldlog, number: usize) -> Self {
        let user = Uuid::now_v7();
        let username = format!("client{number}");
        Self {
            foldlog,
            number,
            user,
            last: created(user, &username),
            username,
            version: 0,
        }
    }

    async fn append(&self, event: &UntypedEvent, expected: ExpectedVersion) -> Option<(i32, bool)> {
        let events = [event.clone()];
        let appended = command::execute(&self.foldlog, &events, expected, None).await;
        let appended = appended.ok()?;
        let stored = &appended.events[0];
        (stored.id == event.id).then_some((stored.version.0, appended.duplicate))
    }

    /// Sends a request, and returns whether the answer was right.
    async fn send(&mut self, turn: usize) -> bool {
        if self.version == 0 {
            self.version = 1;
            return self.append(&self.last, ExpectedVersion::NoStream).await == Some((1, false));
        }
        let now = ExpectedVersion::Exact(Version(self.version));
        match turn % KIND_COUNT {
            0 => {
                self.username = format!("client{}in{turn}", self.number);
                self.last = renamed(self.user, &self.username);
                self.version += 1;
                self.append(&self.last, now).await == Some((self.version, false))
            }
            1 => {
                let users = self.foldlog.view("users").unwrap();
                let id = AggregateId(self.user);
                let row = query::get(&self.foldlog, users, id, Consistency::Strong).await;
                let row = serde_json::to_value(row.unwrap()).unwrap();
                row.to_string().contains(&format!("\"{}\"", self.username))
            }
            // The same event again, and an event that expects another version.
            2 => self.append(&self.last, ExpectedVersion::Any).await == Some((self.version, true)),
            3 => {
                let stale = ExpectedVersion::Exact(Version(self.version + 7));
                let event = renamed(self.user, "nothing");
                self.append(&event, stale).await.is_none()
            }
            4 => {
                let mut session = self.foldlog.pool.acquire().await.unwrap();
                let ids = [self.last.id];
                let mut found = Vec::new();
                store::find_events(&mut session, &ids, |event| found.push(event))
                    .await
                    .unwrap();
                found.len() == 1 && found[0].id == self.last.id
            }
            // Statements whose results differ in type.
            5 => {
                let mut session = self.foldlog.pool.acquire().await.unwrap();
                let turn = i64::try_from(turn).unwrap();
                let sum = sqlx::query_scalar::<_, i64>("select $1::bigint + 1").bind(turn);
                sum.fetch_one(&mut *session).await.unwrap() == turn + 1
            }
            _ => {
                let mut transaction = self.foldlog.pool.begin().await.unwrap();
                let text = sqlx::query_scalar::<_, String>("select $1::text || '!'");
                let text = text.bind(&self.username).fetch_one(&mut *transaction).await;
                transaction.commit().await.unwrap();
                text.unwrap() == format!("{}!", self.username)
            }
        }
    }
}

/// Sends the requests of all clients, and asserts that every answer is right.
async fn assert_every_answer_is_right(db: &TestDb, bouncer: &Bouncer) {
    let requests = std::env::var("POOLER_STATEMENTS").map_or(2_000, |n| n.parse().unwrap());
    let pool = Pool::open(PoolSettings {
        pooler: bouncer.pooler(),
        role: Some(Role::CommandInline),
        login: Arc::new(bouncer.options()),
        ..PoolSettings::new(PgConnectOptions::new_without_pgpass(), CLIENT_COUNT)
    });
    let foldlog = Foldlog::new(pool, DOMAINS, Inline::new()).unwrap();
    let right = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for number in 0..CLIENT_COUNT {
        let (mut client, right) = (Client::new(foldlog.clone(), number), Arc::clone(&right));
        clients.spawn(async move {
            for turn in 0..requests / CLIENT_COUNT {
                // By number, so that the clients send different statements at the same time.
                if client.send(turn + number).await {
                    right.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }
    clients.join_all().await;
    let right = right.load(Ordering::Relaxed);
    assert_eq!(right, requests, "{right} of {requests} answers were right");
    let users = db.count("select count(*) from events where version = 1");
    assert_eq!(usize::try_from(users.await), Ok(CLIENT_COUNT));
}

/// Fails when a statement has a name or stands outside of a transaction behind a pooler that does not track names.
#[tokio::test]
async fn every_answer_is_right_behind_a_pooler_in_transaction_mode() {
    let db = TestDb::new().await;
    let bouncer = Bouncer::start(&db.options).await;
    assert_every_answer_is_right(&db, &bouncer).await;
}

/// The same as for older poolers with one that tracks names. Fails when a named statement runs as another client's, or with
/// another role.
#[tokio::test]
async fn every_answer_is_right_behind_a_pooler_that_tracks_names() {
    let db = TestDb::new().await;
    set_login_defaults(&db.options, Some(Role::CommandInline)).await;
    let Some(bouncer) = Bouncer::start_tracking(&db.options, "").await else {
        return;
    };
    assert_every_answer_is_right(&db, &bouncer).await;
}

/// Fails when `DB_POOLER=transaction` depends on the version of the pooler.
#[tokio::test]
async fn every_answer_is_right_in_transaction_mode_of_a_pooler_that_tracks_names() {
    let db = TestDb::new().await;
    let Some(bouncer) = Bouncer::start_tracking(&db.options, "").await else {
        return;
    };
    assert_every_answer_is_right(&db, &bouncer.in_transaction_mode()).await;
}

/// Fails when clients of a pooler that tracks names replace each other's statements: here it keeps fewer than foldlog has.
#[tokio::test]
async fn every_answer_is_right_when_the_pooler_keeps_few_statements() {
    let db = TestDb::new().await;
    set_login_defaults(&db.options, Some(Role::CommandInline)).await;
    let more = "max_prepared_statements = 2";
    let Some(bouncer) = Bouncer::start_tracking(&db.options, more).await else {
        return;
    };
    assert_every_answer_is_right(&db, &bouncer).await;
}
