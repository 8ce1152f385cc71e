//! What an append costs: statements, counted as they pass by.

use foldlog::Foldlog;
use foldlog::event::{ExpectedVersion, UntypedEvent, Version};
use foldlog::view::Inline;
use foldlog::{command, db};
use uuid::Uuid;

use crate::support::chaos::Chaos;
use crate::support::db::DOMAINS;
use crate::support::events::{append, deposited, opened};
use crate::support::{TestDb, created, renamed};

// Fails when an append that needs no state loads it, or one that needs it asks twice.
#[tokio::test]
async fn one_round_trip_where_rules_need_no_state_and_two_where_they_do() {
    let test_db = TestDb::new().await;
    let chaos = Chaos::start(&test_db.options).await;
    let foldlog = Foldlog::new(db::Pool::new(chaos.options(), 1), DOMAINS, Inline::new()).unwrap();
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
