//! Concurrent appends that are written together, with inline views: one transaction appends and folds them.

use foldlog::Foldlog;
use foldlog::command::AppendError;
use foldlog::db::Pool;
use foldlog::domains::users::UserEvent;
use foldlog::event::{ExpectedVersion, UntypedEvent, Version};
use futures_util::future::{FutureExt as _, join, join_all};
use futures_util::poll;
use uuid::Uuid;

use super::grouped::{Answer, append_all, start, users, version};
use crate::support::chaos::Chaos;
use crate::support::db::DOMAINS;
use crate::support::events::{append, deposited, event, opened};
use crate::support::locks::hold_claim;
use crate::support::workers::{assert_all_applied, version_in_view};
use crate::support::{TestDb, created, renamed};

/// A host that folds all views inline, whose connections are all open.
async fn host(chaos: &Chaos) -> Foldlog {
    host_with(chaos, &["users", "accounts", "ledger"]).await
}

/// A host that folds these views inline, whose connections are all open.
async fn host_with(chaos: &Chaos, inline: &[&'static str]) -> Foldlog {
    let pool = Pool::new(chaos.options(), 4);
    let builder = Foldlog::builder().domains(DOMAINS);
    let builder = builder.inline(inline.iter().copied());
    let foldlog = builder.build(pool).unwrap();
    drop(join_all((0..4).map(|_| foldlog.pool.acquire())).await);
    foldlog
}

fn with_email(user: Uuid, email: &str) -> UntypedEvent {
    let created = UserEvent::Created {
        id: user,
        username: "ada".to_owned(),
        email: email.to_owned(),
        password: None,
    };
    event(user, created)
}

fn change_email(user: Uuid, email: &str) -> UntypedEvent {
    let email = email.to_owned();
    event(user, UserEvent::EmailChanged { email })
}

fn is_taken(answer: &Answer) -> bool {
    matches!(answer, Err(AppendError::SetRule { message, .. }) if message.contains("taken"))
}

/// Fails when concurrent appends with inline views do not share a transaction, or are answered before their fold.
#[tokio::test]
async fn concurrent_inline_appends_share_a_transaction() {
    let db = TestDb::new().await;
    let chaos = Chaos::start(&db.options).await;
    let foldlog = host(&chaos).await;
    let single = {
        let before = chaos.statements();
        append(&foldlog, &users(1)).await;
        chaos.statements() - before
    };
    let mut events = users(40);
    let accounts: Vec<Uuid> = (0..20).map(|_| Uuid::now_v7()).collect();
    events.extend(accounts.iter().map(|account| opened(*account)));
    let before = chaos.statements();
    let answers = append_all(&foldlog, &events).await;
    assert!(answers.iter().all(|answer| version(answer) == 1));
    // A transaction: BEGIN, one that appends and reads, a write for each of three views, two more reads, and COMMIT.
    let statements = chaos.statements() - before;
    assert!(
        statements <= 8 * single,
        "{statements} statements, {single} for one append"
    );
    for account in accounts {
        for view in ["accounts", "ledger"] {
            let seen = version_in_view(&db, view, account).await;
            assert_eq!(seen, Some(Version(1)), "{view}");
        }
    }
    for view in ["users", "accounts", "ledger"] {
        assert_all_applied(&db, view).await;
    }
}

/// Appends an event of each of ten aggregates and of new ones together, in this many statements.
async fn assert_statements(
    chaos: &Chaos,
    foldlog: &Foldlog,
    new: impl Fn(usize) -> Vec<UntypedEvent>,
    next: impl Fn(Uuid) -> UntypedEvent,
    expected: u64,
) {
    let mut statements = 0;
    // On a busy machine the group may take so long that its appends are sent alone.
    for _ in 0..20 {
        let known = new(10);
        append(foldlog, &known).await;
        // Their states are remembered from here on.
        append_all(
            foldlog,
            &known
                .iter()
                .map(|e| next(e.aggregate_id.0))
                .collect::<Vec<_>>(),
        )
        .await;
        let mut events = new(10);
        events.extend(known.iter().map(|event| next(event.aggregate_id.0)));
        let before = chaos.statements();
        let answers = append_all(foldlog, &events).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        statements = chaos.statements() - before;
        if statements == expected {
            break;
        }
    }
    assert_eq!(statements, expected);
}

/// Fails when an append to a remembered or a new aggregate, alone or in a group, takes more than one statement with its fold, although the
/// view of its domain is the only one.
#[tokio::test]
async fn an_append_whose_row_is_known_takes_one_statement_with_its_fold() {
    let db = TestDb::new().await;
    let chaos = Chaos::start(&db.options).await;
    let foldlog = host_with(&chaos, &["users"]).await;
    assert_statements(&chaos, &foldlog, users, |user| renamed(user, "eve"), 1).await;
    assert_all_applied(&db, "users").await;
}

/// Fails when an append that has lost its race makes the others of its group read their rows.
#[tokio::test]
async fn a_lost_race_does_not_make_its_group_read_rows() {
    let db = TestDb::new().await;
    let chaos = Chaos::start(&db.options).await;
    let foldlog = host_with(&chaos, &["users"]).await;
    let mut statements = 0;
    // On a busy machine the group may take so long that its appends are sent alone.
    for _ in 0..20 {
        let known = users(1);
        // By another host, so that this one takes the user for new.
        append(&db.foldlog, &known).await;
        db.catch_up("users").await;
        let again = created(known[0].aggregate_id.0, "again");
        let others = users(10);
        let before = chaos.statements();
        let lost = start(&foldlog, &again, ExpectedVersion::NoStream);
        let (lost, answers) = join(lost, append_all(&foldlog, &others)).await;
        assert!(
            matches!(lost, Err(AppendError::VersionMismatch { .. })),
            "{lost:?}"
        );
        assert!(answers.iter().all(|answer| version(answer) == 1));
        statements = chaos.statements() - before;
        if statements == 3 {
            break;
        }
    }
    // One for the group, one that loads the aggregate of the append that has lost, and one that looks for an earlier append of it.
    assert_eq!(statements, 3);
}

/// Fails when a group uses a connection although the requests for its view have their share of the pool.
#[tokio::test]
async fn a_group_keeps_to_the_share_of_its_view() {
    let db = TestDb::with_inline(&["users"]).await;
    let foldlog = &db.foldlog;
    let mut shares = Vec::new();
    while let Some(share) = foldlog.pool.share_of_views(["users"]).now_or_never() {
        shares.push(share.unwrap());
    }
    let mut grouped = start(foldlog, &users(1)[0], ExpectedVersion::Any);
    // Appends of another domain go on; that of the user does not.
    for _ in 0..5 {
        assert!(poll!(&mut grouped).is_pending());
        append(foldlog, &[opened(Uuid::now_v7())]).await;
    }
    assert_eq!(db.count("select count(*) from users").await, 0);
    drop(shares);
    assert_eq!(version(&grouped.await), 1);
}

/// Fails when an append that has to read its rows, alone or in a group, takes another statement beside BEGIN, one that appends and reads,
/// one that writes, and COMMIT, although each row has all earlier events of its aggregate.
#[tokio::test]
async fn an_append_whose_row_is_read_takes_four_statements_with_its_fold() {
    let db = TestDb::new().await;
    let chaos = Chaos::start(&db.options).await;
    let foldlog = host_with(&chaos, &["ledger"]).await;
    let accounts = |count| (0..count).map(|_| opened(Uuid::now_v7())).collect();
    assert_statements(&chaos, &foldlog, accounts, |id| deposited(id, 1), 4).await;
    assert_all_applied(&db, "ledger").await;
}

/// Fails when a group folds only its own events into rows that also lack earlier ones.
#[tokio::test]
async fn a_group_folds_the_earlier_events_that_a_row_lacks() {
    let db = TestDb::new().await;
    let (behind, absent, ended) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    append(&db.foldlog, &[opened(behind), created(ended, "ada")]).await;
    append(
        &db.foldlog,
        &[event(ended, UserEvent::Deleted { id: None })],
    )
    .await;
    db.catch_up("accounts").await;
    db.catch_up("users").await;
    append(&db.foldlog, &[deposited(behind, 1), opened(absent)]).await;
    let chaos = Chaos::start(&db.options).await;
    let foldlog = host(&chaos).await;
    let mut events = users(2);
    events.extend([
        deposited(behind, 2),
        deposited(absent, 3),
        created(ended, "ada"),
    ]);
    events.extend(users(5));
    let answers = append_all(&foldlog, &events).await;
    let versions: Vec<i32> = answers[2..]
        .iter()
        .filter_map(|a| a.as_ref().ok())
        .map(|a| a.events[0].version.0)
        .collect();
    assert_eq!(versions[..2], [3, 2]);
    for view in ["accounts", "ledger"] {
        assert_eq!(version_in_view(&db, view, behind).await, Some(Version(3)));
        assert_eq!(version_in_view(&db, view, absent).await, Some(Version(2)));
    }
    for view in ["users", "accounts", "ledger"] {
        assert_all_applied(&db, view).await;
    }
}

/// Fails when an append that a set rule or a fold refuses affects the others of its group, or is stored.
#[tokio::test]
async fn a_refused_inline_append_does_not_affect_the_others_of_its_group() {
    let db = TestDb::with_inline(&["users"]).await;
    let chaos = Chaos::start(&db.options).await;
    let foldlog = host(&chaos).await;
    let (ada, bob, account) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    append(
        &foldlog,
        &[
            with_email(ada, "ada@example.org"),
            with_email(bob, "bob@example.org"),
            opened(account),
        ],
    )
    .await;
    let plugs = users(2);
    let (eve, new) = (Uuid::now_v7(), Uuid::now_v7());
    let events = [
        plugs[0].clone(),
        plugs[1].clone(),
        with_email(eve, "BOB@example.org"),
        with_email(new, "new@example.org"),
        // The ledger cannot fold 13 cents.
        deposited(account, 13),
        with_email(Uuid::now_v7(), "twice@example.org"),
        with_email(Uuid::now_v7(), "twice@example.org"),
        with_email(Uuid::now_v7(), "other@example.org"),
    ];
    let answers = append_all(&foldlog, &events).await;
    assert!(is_taken(&answers[2]), "{:?}", answers[2]);
    assert_eq!(version(&answers[3]), 1);
    assert!(
        matches!(&answers[4], Err(AppendError::NotFoldable { index: 0, .. })),
        "{:?}",
        answers[4]
    );
    let twice = &answers[5..7];
    assert_eq!(
        twice.iter().filter(|answer| is_taken(answer)).count(),
        1,
        "{twice:?}"
    );
    assert_eq!(version(&answers[7]), 1);
    assert_eq!(db.count("select count(*) from events").await, 3 + 5);
    for view in ["users", "accounts", "ledger"] {
        assert_all_applied(&db, view).await;
    }
}

/// Fails when appends of a group that take values of each other are all stored although no order of them allows it, or when one that
/// takes a released value leaves the view and the log apart.
#[tokio::test]
async fn inline_appends_of_a_group_that_exchange_values_are_refused_or_stored_as_alone() {
    let db = TestDb::with_inline(&["users"]).await;
    let chaos = Chaos::start(&db.options).await;
    let foldlog = host(&chaos).await;
    let people: Vec<Uuid> = (0..4).map(|_| Uuid::now_v7()).collect();
    for (n, user) in people.iter().enumerate() {
        append(&foldlog, &[with_email(*user, &format!("{n}@example.org"))]).await;
    }
    let plugs = users(2);
    let events = [
        plugs[0].clone(),
        plugs[1].clone(),
        change_email(people[0], "1@example.org"),
        change_email(people[1], "0@example.org"),
        event(people[2], UserEvent::Deleted { id: None }),
        change_email(people[3], "2@example.org"),
    ];
    let answers = append_all(&foldlog, &events).await;
    assert!(
        is_taken(&answers[2]) && is_taken(&answers[3]),
        "{answers:?}"
    );
    assert_eq!(version(&answers[4]), 2);
    // Alone, it may have been sent before the address was released.
    assert!(
        answers[5].is_ok() || is_taken(&answers[5]),
        "{:?}",
        answers[5]
    );
    let stored = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(
        db.count("select count(*) from events").await,
        4 + i64::try_from(stored).unwrap()
    );
    assert_all_applied(&db, "users").await;
}

/// Fails when a parked aggregate keeps the others of its group from being folded.
#[tokio::test]
async fn a_parked_aggregate_does_not_affect_the_others_of_its_group() {
    let db = TestDb::new().await;
    let account = Uuid::now_v7();
    append(&db.foldlog, &[opened(account), deposited(account, 13)]).await;
    assert_eq!(db.catch_up("ledger").await.parked.unwrap(), 1);
    let chaos = Chaos::start(&db.options).await;
    let foldlog = host(&chaos).await;
    let mut events = users(2);
    let others: Vec<Uuid> = (0..6).map(|_| Uuid::now_v7()).collect();
    events.push(deposited(account, 1));
    events.extend(others.iter().map(|account| opened(*account)));
    let answers = append_all(&foldlog, &events).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    for other in others {
        assert_eq!(
            version_in_view(&db, "ledger", other).await,
            Some(Version(1))
        );
    }
    assert_eq!(
        version_in_view(&db, "ledger", account).await,
        Some(Version(1))
    );
}

/// Fails when a group is sent one by one because many events wait in a parked aggregate, which no append folds.
#[tokio::test]
async fn a_parked_aggregate_with_a_long_backlog_does_not_split_its_group() {
    let db = TestDb::new().await;
    let account = Uuid::now_v7();
    append(&db.foldlog, &[opened(account), deposited(account, 13)]).await;
    for view in ["accounts", "ledger"] {
        db.catch_up(view).await;
    }
    let waiting: Vec<_> = (0..300).map(|_| deposited(account, 1)).collect();
    append(&db.foldlog, &waiting).await;
    db.catch_up("accounts").await;
    let chaos = Chaos::start(&db.options).await;
    let foldlog = host(&chaos).await;
    // So that the host remembers the account, and need not load it before the append waits for a group.
    append(&foldlog, &[deposited(account, 1)]).await;
    let mut events = users(5);
    events.push(deposited(account, 1));
    events.push(opened(Uuid::now_v7()));
    let answers = append_all(&foldlog, &events).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    let together = format!(
        "select count(*) from events where txid = \
         (select txid from events where aggregate_id = '{account}' order by version desc limit 1)"
    );
    assert_eq!(db.count(&together).await, 7);
    assert_eq!(db.count("select count(*) from parked").await, 1);
    assert_eq!(db.count("select count(*) from ledger").await, 2);
}

/// Fails when the events of an aggregate that the view is far behind are folded while the other appends of a group wait.
#[tokio::test]
async fn a_group_does_not_wait_for_the_fold_of_a_long_backlog() {
    let db = TestDb::new().await;
    let account = Uuid::now_v7();
    let mut backlog = vec![opened(account)];
    backlog.extend((0..300).map(|_| deposited(account, 1)));
    append(&db.foldlog, &backlog).await;
    let chaos = Chaos::start(&db.options).await;
    let foldlog = host(&chaos).await;
    let mut events = users(2);
    events.push(deposited(account, 1));
    events.extend(users(5));
    let answers = append_all(&foldlog, &events).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    let beside = format!(
        "select count(*) from events where aggregate_id <> '{account}' \
         and txid = (select txid from events where aggregate_id = '{account}' order by version desc limit 1)"
    );
    assert_eq!(db.count(&beside).await, 0);
    for view in ["users", "accounts", "ledger"] {
        assert_all_applied(&db, view).await;
    }
}

/// Fails when the others of a group wait for a worker that has claimed an event of one of them.
#[tokio::test]
async fn a_claim_that_a_worker_holds_does_not_hold_up_the_others() {
    let db = TestDb::new().await;
    let account = Uuid::now_v7();
    let first = opened(account);
    append(&db.foldlog, std::slice::from_ref(&first)).await;
    let chaos = Chaos::start(&db.options).await;
    let foldlog = host(&chaos).await;
    let claim = hold_claim(&db, "ledger", &first).await;
    let plugs = users(2);
    let waits = deposited(account, 1);
    let others = users(5);
    let mut appends = vec![];
    for event in plugs.iter().chain([&waits]).chain(&others) {
        appends.push(start(&foldlog, event, ExpectedVersion::Any));
    }
    let waiting = appends.remove(2);
    let answers = async {
        let answers = join_all(appends).await;
        claim.release().await;
        answers
    };
    let (waited, answers) = tokio::join!(waiting, answers);
    assert!(answers.iter().all(|answer| version(answer) == 1));
    assert_eq!(version(&waited), 2);
    assert_all_applied(&db, "ledger").await;
}
