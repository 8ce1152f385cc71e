//! What an append costs: statements, counted as they pass by.

use foldlog::event::{ExpectedVersion, UntypedEvent, Version};
use foldlog::{Foldlog, STATE_CACHE_BYTES};
use foldlog::{command, db};
use uuid::Uuid;

use crate::support::chaos::Chaos;
use crate::support::db::DOMAINS;
use crate::support::events::{append, deposited, opened};
use crate::support::{TestDb, created, renamed};

/// A host whose statements are counted.
fn host(chaos: &Chaos, state_cache_bytes: usize) -> Foldlog {
    Foldlog::builder()
        .domains(DOMAINS)
        .state_cache_bytes(state_cache_bytes)
        .build(db::Pool::new(chaos.options(), 1))
        .unwrap()
}

// Fails when an append to an aggregate that this process has appended to loads the state again, or when one to an unknown
// aggregate that exists takes more than it did without memory.
#[tokio::test]
async fn one_round_trip_where_the_state_is_remembered() {
    let test_db = TestDb::new().await;
    let chaos = Chaos::start(&test_db.options).await;
    let foldlog = host(&chaos, STATE_CACHE_BYTES);
    let ada = Uuid::now_v7();
    append(&foldlog, &[created(ada, "ada")]).await;
    let before = chaos.statements();
    append(&foldlog, &[renamed(ada, "b")]).await;
    append(&foldlog, &[renamed(ada, "c"), renamed(ada, "d")]).await;
    let exact = ExpectedVersion::Exact(Version(4));
    command::execute(&foldlog, &[renamed(ada, "e")], exact, None)
        .await
        .unwrap();
    assert_eq!(chaos.statements() - before, 3);
    let other = host(&chaos, STATE_CACHE_BYTES);
    drop(other.pool.acquire().await.unwrap());
    let before = chaos.statements();
    append(&other, &[renamed(ada, "f")]).await;
    assert_eq!(chaos.statements() - before, 2);
}

// Fails when an append that needs no state loads it, or one that needs it asks twice.
#[tokio::test]
async fn one_round_trip_where_rules_need_no_state_and_two_where_they_do() {
    let test_db = TestDb::new().await;
    let chaos = Chaos::start(&test_db.options).await;
    let foldlog = host(&chaos, 0);
    let (ada, bob) = (Uuid::now_v7(), Uuid::now_v7());
    // The connection asks once whether the log came from elsewhere.
    append(&foldlog, &[created(ada, "ada"), created(bob, "bob")]).await;
    let cost = async |events: &[UntypedEvent], expected| {
        let before = chaos.statements();
        command::execute(&foldlog, events, expected, None)
            .await
            .unwrap();
        chaos.statements() - before
    };
    let (any, none) = (ExpectedVersion::Any, ExpectedVersion::NoStream);
    let (new, other) = (Uuid::now_v7(), Uuid::now_v7());
    // The rules take these of an aggregate that does not exist, so nothing is loaded.
    assert_eq!(cost(&[created(new, "eve")], any).await, 1);
    assert_eq!(cost(&[created(other, "eve")], none).await, 1);
    let account = Uuid::now_v7();
    let many = [
        opened(account),
        deposited(account, 1),
        created(Uuid::now_v7(), "eve"),
    ];
    assert_eq!(cost(&many, any).await, 1);
    // These they judge by what there is: one statement loads it, the other appends.
    assert_eq!(cost(&[renamed(ada, "countess")], any).await, 2);
    let two = ExpectedVersion::Exact(Version(2));
    assert_eq!(cost(&[renamed(ada, "ada")], two).await, 2);
    assert_eq!(
        cost(
            &[renamed(ada, "b"), renamed(bob, "c"), renamed(ada, "d")],
            any
        )
        .await,
        2
    );
}
