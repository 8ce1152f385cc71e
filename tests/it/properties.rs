//! Properties of folds, events and numbers, without a database.

use foldlog::domains::users::UserEvent;
use foldlog::event::{
    AggregateId, EventId, Metadata, NewEvent, Payload, Position, RecordedEvent, Version,
};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::support::accounts::{AccountEvent, make_foldable};
use crate::support::db::DOMAINS;

/// One aggregate's events as the store gives them back.
fn recorded<P: Payload>(aggregate: Uuid, payloads: Vec<P>) -> Vec<RecordedEvent> {
    let record = |(index, payload): (i32, P)| {
        let event = NewEvent::new(AggregateId(aggregate), payload)
            .encode()
            .unwrap();
        RecordedEvent {
            id: event.id,
            aggregate_id: event.aggregate_id,
            type_id: event.type_id,
            version: Version(index + 1),
            position: Position(i64::from(index) * 3 + 7),
            created_at: time::OffsetDateTime::UNIX_EPOCH,
            payload: event.payload,
            metadata: event.metadata,
        }
    };
    (0..).zip(payloads).map(record).collect()
}

fn user_event() -> impl Strategy<Value = UserEvent> {
    prop_oneof![
        ("[a-z]{1,8}", "[a-z]{1,5}").prop_map(|(username, host)| UserEvent::Created {
            id: Uuid::nil(),
            email: format!("{username}@{host}"),
            username,
            password: None,
        }),
        "\\PC{1,8}".prop_map(|username| UserEvent::UsernameChanged { username }),
        "[a-z]{1,8}@[a-z]{1,5}".prop_map(|email| UserEvent::EmailChanged { email }),
        Just(UserEvent::Deleted { id: None }),
    ]
}

fn account_event() -> impl Strategy<Value = AccountEvent> {
    prop_oneof![
        2 => "\\PC{0,8}".prop_map(|owner| AccountEvent::Opened { owner }),
        6 => (-1_000_000_i64..1_000_000).prop_map(|cents| AccountEvent::Deposited { cents }),
        1 => Just(AccountEvent::Deposited { cents: 13 }),
        1 => Just(AccountEvent::Closed {}),
    ]
}

/// A row, how many events went into it, and why not more.
type Outcome = (Option<Value>, usize, Option<String>);

/// Folds batch after batch, as passes do, each over the row that the one before left; stops at a failure.
fn fold_in_batches(projection: &str, events: &[RecordedEvent], cuts: &[usize]) -> Outcome {
    let projection = DOMAINS.projections().find(|p| p.name() == projection);
    let (mut row, mut folded): (Option<Box<RawValue>>, usize) = (None, 0);
    let ends = cuts.iter().copied().chain([events.len()]);
    let mut start = 0;
    for end in ends {
        let done = projection
            .unwrap()
            .fold(row.as_deref(), &events[start..end]);
        row = done.row;
        folded += done.folded;
        if let Some(failure) = done.failure {
            return (json(row.as_deref()), folded, Some(failure.to_string()));
        }
        start = end;
    }
    (json(row.as_deref()), folded, None)
}

fn json(row: Option<&RawValue>) -> Option<Value> {
    row.map(|row| serde_json::from_str(row.get()).unwrap())
}

fn cuts(places: &[Index], events: usize) -> Vec<usize> {
    let mut cuts: Vec<usize> = places.iter().map(|place| place.index(events + 1)).collect();
    cuts.sort_unstable();
    cuts
}

proptest! {
    /// Fails when a fold keeps anything outside the row, or a failing event takes its predecessors along.
    #[test]
    fn folding_in_batches_is_folding_at_once(
        users in prop::collection::vec(user_event(), 0..20),
        accounts in prop::collection::vec(account_event(), 0..20),
        places in prop::collection::vec(any::<Index>(), 0..6),
        lucky: bool,
    ) {
        let account = Uuid::now_v7();
        if lucky {
            make_foldable(account);
        }
        let users = recorded(Uuid::now_v7(), users);
        let accounts = recorded(account, accounts);
        for (projection, events) in [("users", &users), ("accounts", &accounts), ("ledger", &accounts)] {
            let at_once = fold_in_batches(projection, events, &[]);
            let in_batches = fold_in_batches(projection, events, &cuts(&places, events.len()));
            prop_assert_eq!(&in_batches, &at_once, "{}", projection);
            let one_by_one: Vec<usize> = (0..=events.len()).collect();
            prop_assert_eq!(&fold_in_batches(projection, events, &one_by_one), &at_once, "{}", projection);
            let bad = events.iter().position(|e| e.payload.get() == r#"{"cents":13}"#);
            if let (Some(bad), "ledger", false) = (bad, projection, lucky) {
                prop_assert_eq!((at_once.1, at_once.2.is_some()), (bad, true));
            } else {
                prop_assert_eq!((at_once.1, at_once.2), (events.len(), None));
            }
        }
    }

    /// Fails when what a payload says is changed by being recorded and read.
    #[test]
    fn a_payload_comes_back_as_it_went(users in prop::collection::vec(user_event(), 1..5), accounts in prop::collection::vec(account_event(), 1..5)) {
        let id = Uuid::now_v7();
        for event in recorded(id, users) {
            let again = NewEvent::new(event.aggregate_id, event.decode::<UserEvent>().unwrap().payload);
            prop_assert_eq!(json(Some(&event.payload)), json(Some(&again.encode().unwrap().payload)));
        }
        for event in recorded(id, accounts) {
            let again = NewEvent::new(event.aggregate_id, event.decode::<AccountEvent>().unwrap().payload);
            prop_assert_eq!(json(Some(&event.payload)), json(Some(&again.encode().unwrap().payload)));
        }
    }

    /// Fails when a number or an id is anything else in JSON than itself.
    #[test]
    fn numbers_and_ids_come_back_as_they_went(version: i32, position: i64, id: u128) {
        let (event, aggregate) = (EventId(Uuid::from_u128(id)), AggregateId(Uuid::from_u128(id)));
        let text = serde_json::to_string(&(Version(version), Position(position), event, aggregate)).unwrap();
        prop_assert_eq!(&text, &format!("[{version},{position},\"{event}\",\"{aggregate}\"]"));
        let back: (Version, Position, EventId, AggregateId) = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(back, (Version(version), Position(position), event, aggregate));
    }
}

/// Fails when missing metadata is not an empty object.
#[test]
fn an_event_without_metadata_has_an_empty_object() {
    let event = NewEvent::new(AggregateId(Uuid::nil()), AccountEvent::Closed {});
    assert_eq!(event.metadata, Metadata::default());
    assert_eq!(serde_json::to_string(&event.metadata).unwrap(), "{}");
}
