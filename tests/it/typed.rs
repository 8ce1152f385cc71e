//! The typed API in process: append, get, list, and an append in the caller's own transaction.

use foldlog::command::AppendError;
use foldlog::db::Pool;
use foldlog::domains::users::{UserEvent, Users};
use foldlog::event::{AggregateId, EventId, ExpectedVersion, Metadata, Version};
use foldlog::query::QueryError;
use foldlog::{BuildError, Foldlog, FoldlogBuilder};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use crate::support::TestDb;
use crate::support::accounts::{AccountEvent, Accounts};

fn opened() -> AccountEvent {
    AccountEvent::Opened {
        owner: "ada".to_owned(),
    }
}

const fn deposited(cents: i64) -> AccountEvent {
    AccountEvent::Deposited { cents }
}

fn user(id: AggregateId, email: &str) -> UserEvent {
    UserEvent::Created {
        id: id.0,
        username: "ada".to_owned(),
        email: email.to_owned(),
        password: None,
    }
}

fn new_id() -> AggregateId {
    AggregateId(Uuid::now_v7())
}

// Fails when a typed append ignores the expected version, the event ids or the metadata, or is not decided by the rules.
#[tokio::test]
async fn a_typed_append_has_an_expected_version_ids_and_metadata() {
    let db = TestDb::new().await;
    let (foldlog, id, event_id) = (&db.foldlog, new_id(), EventId(Uuid::now_v7()));
    let mut metadata = Metadata::default();
    metadata.insert("reason", "asked by phone").unwrap();
    let open = || {
        let append = foldlog.append::<Accounts>(id, [opened()]);
        let append = append.expecting(ExpectedVersion::NoStream);
        append.ids([event_id]).metadata(&metadata)
    };
    let first = open().await.unwrap();
    assert!(!first.duplicate);
    let again = open().await.unwrap();
    assert!(again.duplicate);
    assert_eq!(first.events, again.events);
    let with_reason =
        "select count(*) from events where metadata = '{\"reason\": \"asked by phone\"}'";
    assert_eq!(db.count(with_reason).await, 1);

    let deposit = |version| {
        let append = foldlog.append::<Accounts>(id, [deposited(5), deposited(6)]);
        append.expecting(Version(version))
    };
    assert_eq!(deposit(1).await.unwrap().events[1].version, Version(3));
    let stale = deposit(1).await.unwrap_err();
    assert!(
        matches!(stale, AppendError::VersionMismatch { actual, .. } if actual == Version(3)),
        "{stale}"
    );
    let rejected = foldlog.append::<Accounts>(id, [opened()]).await;
    let rejected = rejected.unwrap_err().to_string();
    assert!(rejected.contains("already open"), "{rejected}");
    let empty = foldlog.append::<Accounts>(id, []).await.unwrap_err();
    assert!(matches!(empty, AppendError::Empty), "{empty}");
}

// Fails when a typed read returns another state or version than the events give, or an unprojected one without `strong`.
#[tokio::test]
async fn typed_reads_return_states_with_their_versions() {
    let db = TestDb::new().await;
    let (foldlog, id) = (&db.foldlog, new_id());
    assert_eq!(foldlog.get::<Accounts>(id).await.unwrap(), None);
    let events = [opened(), deposited(5)];
    foldlog.append::<Accounts>(id, events).await.unwrap();
    assert_eq!(foldlog.get::<Accounts>(id).await.unwrap(), None);
    let strong = foldlog.get::<Accounts>(id).strong().await.unwrap();
    let (account, version) = strong.unwrap();
    assert_eq!(version, Version(2));
    db.catch_up("accounts").await;
    let eventual = foldlog.get::<Accounts>(id).await.unwrap();
    assert_eq!(eventual.unwrap().0, account);
    let behind = foldlog.get::<Accounts>(id).min_version(Version(3)).await;
    assert!(matches!(behind, Err(QueryError::Behind { .. })));

    let mut ids: Vec<AggregateId> = (0..3).map(|_| new_id()).collect();
    for id in &ids {
        foldlog.append::<Accounts>(*id, [opened()]).await.unwrap();
    }
    db.catch_up("accounts").await;
    ids.insert(0, id);
    let page = foldlog.list::<Accounts>().limit(3).await.unwrap();
    assert_eq!(
        page.rows.iter().map(|row| row.id).collect::<Vec<_>>(),
        ids[..3]
    );
    let rest = foldlog
        .list::<Accounts>()
        .starting_after(page.next.unwrap());
    let rest = rest.await.unwrap();
    assert_eq!(
        rest.rows.iter().map(|row| row.id).collect::<Vec<_>>(),
        ids[3..]
    );
    assert_eq!(rest.next, None);
    let smallest = foldlog.list::<Accounts>().limit(0).await.unwrap();
    assert_eq!(smallest.rows.len(), 1);
    assert!(smallest.next.is_some());
    let rich = foldlog.list::<Accounts>().filter("balance_cents", 5);
    assert_eq!(rich.await.unwrap().rows[0].state, account);
    let unknown = foldlog.list::<Accounts>().filter("nothing", 5).await;
    assert!(matches!(unknown, Err(QueryError::UnknownFilter(_))));
}

/// A database with a table of the caller's own.
async fn with_notes(inline: &[&str]) -> (TestDb, PgConnection) {
    let db = TestDb::with_inline(inline).await;
    db.run("create table notes (text text not null)").await;
    let connection = db.connect().await;
    (db, connection)
}

async fn write_note(transaction: &mut PgConnection) {
    sqlx::query("insert into notes (text) values ('note')")
        .execute(transaction)
        .await
        .unwrap();
}

const NOTES: &str = "select count(*) from notes";
const EVENTS: &str = "select count(*) from events";

// Fails when an append in the caller's transaction is committed without it, or not with it, or its inline view is.
#[tokio::test]
async fn an_append_in_the_callers_transaction_commits_and_rolls_back_with_it() {
    let (db, mut connection) = with_notes(&["users"]).await;
    for commits in [true, false] {
        let id = new_id();
        let mut transaction = connection.begin().await.unwrap();
        write_note(&mut transaction).await;
        let events = [user(id, &format!("{id}@example.org"))];
        let append = db.foldlog.append::<Users>(id, events);
        let appended = append.in_transaction(&mut transaction).await.unwrap();
        assert_eq!(appended.events[0].version, Version(1));
        if commits {
            transaction.commit().await.unwrap();
        } else {
            transaction.rollback().await.unwrap();
        }
        // The second round adds nothing.
        for count in [NOTES, EVENTS, "select count(*) from users"] {
            assert_eq!(db.count(count).await, 1, "{count}");
        }
    }
}

// Fails when an append that is rejected, loses a race or breaks a set rule aborts the caller's transaction.
#[tokio::test]
async fn the_callers_transaction_goes_on_after_a_failed_append() {
    let (db, mut connection) = with_notes(&["users"]).await;
    let (ada, bob) = (new_id(), new_id());
    let create = |id, email: &str| db.foldlog.append::<Users>(id, [user(id, email)]);
    create(ada, "ada@example.org").await.unwrap();

    let mut transaction = connection.begin().await.unwrap();
    write_note(&mut transaction).await;
    let again = create(ada, "ada@example.org");
    let again = again.in_transaction(&mut transaction).await.unwrap_err();
    assert!(matches!(again, AppendError::Rejected { .. }), "{again}");
    let stale = create(ada, "ada@example.org").expecting(Version(7));
    let stale = stale.in_transaction(&mut transaction).await.unwrap_err();
    assert!(
        matches!(stale, AppendError::VersionMismatch { .. }),
        "{stale}"
    );
    let taken = create(bob, "ada@example.org");
    let taken = taken.in_transaction(&mut transaction).await.unwrap_err();
    assert!(matches!(taken, AppendError::SetRule { .. }), "{taken}");

    // The optimistic first append loses against the existing aggregate, and the loaded state then allows it.
    let renamed = UserEvent::UsernameChanged {
        username: "grace".to_owned(),
    };
    let renamed = db.foldlog.append::<Users>(ada, [renamed]);
    renamed.in_transaction(&mut transaction).await.unwrap();
    write_note(&mut transaction).await;
    transaction.commit().await.unwrap();
    assert_eq!(db.count(NOTES).await, 2);
    assert_eq!(db.count(EVENTS).await, 2);
}

// Fails when an append in a transaction overtakes one that committed meanwhile, or leaves the transaction unusable.
#[tokio::test]
async fn an_append_in_a_transaction_sees_what_committed_before_it() {
    let (db, mut connection) = with_notes(&[]).await;
    let id = new_id();
    let mut transaction = connection.begin().await.unwrap();
    write_note(&mut transaction).await;
    db.foldlog.append::<Accounts>(id, [opened()]).await.unwrap();
    let append = db.foldlog.append::<Accounts>(id, [deposited(5)]);
    let appended = append.in_transaction(&mut transaction).await.unwrap();
    assert_eq!(appended.events[0].version, Version(2));
    transaction.commit().await.unwrap();
    assert_eq!(db.count(EVENTS).await, 2);
}

/// A domain whose name and block of type ids are parameters of the test.
macro_rules! domain_named {
    ($module:ident, $name:literal, $from:literal .. $to:literal) => {
        mod $module {
            use foldlog::domain::prelude::*;

            events! {
                /// What can happen.
                pub enum TestEvent in $from..$to {
                    $from => Happened {},
                }
            }

            #[derive(Debug, Serialize, Deserialize, ToSchema)]
            pub struct State {
                count: i32,
            }

            #[derive(Debug)]
            pub struct Test;

            impl Domain for Test {
                const NAME: &'static str = $name;
                const VIEW: &'static str = "";
                type Event = TestEvent;
                type State = State;
                type Error = std::convert::Infallible;

                fn check(_: Option<&State>, _: &TestEvent) -> Result<(), Self::Error> {
                    Ok(())
                }

                fn apply(state: Option<State>, _: &TestEvent) -> Option<State> {
                    state
                }
            }
        }
    };
}

domain_named!(first, "first", 100..200);
domain_named!(same_name, "first", 300..400);
domain_named!(same_block, "second", 150..250);
domain_named!(reserved, "events", 500..600);

// Fails when the builder accepts domains that `domains!` rejects at compile time, or an inline projection that does not exist.
#[test]
fn the_builder_rejects_domains_that_cannot_be_served_together() {
    let pool = || Pool::new(PgConnectOptions::new(), 1);
    let first = || Foldlog::builder().domain::<first::Test>();
    let error = |builder: FoldlogBuilder| builder.build(pool()).unwrap_err();
    assert!(matches!(
        error(first().domain::<same_name::Test>()),
        BuildError::DuplicateName("first")
    ));
    assert!(matches!(
        error(first().domain::<same_block::Test>()),
        BuildError::OverlappingBlocks("first", "second")
    ));
    assert!(matches!(
        error(first().domain::<reserved::Test>()),
        BuildError::ReservedName("events")
    ));
    let unknown = error(first().inline(["frist"])).to_string();
    assert!(
        unknown.contains("`frist`") && unknown.contains("first"),
        "{unknown}"
    );
    first().inline(["first"]).build(pool()).unwrap();
}

// Fails when a typed list of the newest or of a past state, or the typed feed, returns something else than the events give.
#[tokio::test]
async fn typed_lists_and_the_feed_return_what_the_events_give() {
    let db = TestDb::new().await;
    let (foldlog, id) = (&db.foldlog, new_id());
    let first = foldlog.append::<Accounts>(id, [opened()]).await.unwrap();
    let then = first.events[0].created_at;
    let later = foldlog.append::<Accounts>(id, [deposited(5)]).await;
    assert_eq!(foldlog.list::<Accounts>().await.unwrap().rows, []);
    let newest = foldlog.list::<Accounts>().strong().await.unwrap();
    assert_eq!(newest.rows[0].version, Version(2));
    let past = foldlog.list::<Accounts>().filter("balance_cents", 0);
    let past = past.as_of(then).limit(1).await.unwrap();
    assert_eq!((past.rows.len(), past.rows[0].version), (1, Version(1)));
    assert_eq!(past.next, None);

    let page = foldlog.feed().domain::<Accounts>().limit(1).await.unwrap();
    assert_eq!(page.events[0].id, first.events[0].id);
    let next = page.next.unwrap();
    let rest = foldlog.feed().starting_after(next).types(["Deposited"]);
    let rest = rest.await.unwrap();
    assert_eq!(rest.events[0].id, later.unwrap().events[0].id);
    let backward = foldlog.feed().newest_first(None).limit(5).await.unwrap();
    assert_eq!(backward.events[0].id, rest.events[0].id);
    assert_eq!(backward.newest, rest.next);
    let unknown = foldlog.feed().types(["Nothing"]).await;
    assert!(matches!(unknown, Err(QueryError::UnknownType(_))));
}
