//! Typed events to append, and the fold from scratch that views are compared with.

use foldlog::Foldlog;
use foldlog::command::{self, Appended};
use foldlog::domains::users::UserEvent;
use foldlog::event::{
    AggregateId, ExpectedVersion, NewEvent, Payload, Prepared, RecordedEvent, UntypedEvent,
};
use foldlog::store;
use foldlog::view::View;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection, Row};
use uuid::Uuid;

use super::accounts::AccountEvent;
use super::db::DOMAINS;

/// Builds an event that creates this user.
pub fn created(user: Uuid, username: &str) -> UntypedEvent {
    event(
        user,
        UserEvent::Created {
            id: user,
            username: username.to_owned(),
            email: format!("{user}@example.org"),
            password: None,
        },
    )
}

/// Builds an event that renames this user.
pub fn renamed(user: Uuid, username: &str) -> UntypedEvent {
    event(
        user,
        UserEvent::UsernameChanged {
            username: username.to_owned(),
        },
    )
}

/// Builds an event that opens this account.
pub fn opened(account: Uuid) -> UntypedEvent {
    event(
        account,
        AccountEvent::Opened {
            owner: "ada".to_owned(),
        },
    )
}

/// Builds a deposit.
pub fn deposited(account: Uuid, cents: i64) -> UntypedEvent {
    event(account, AccountEvent::Deposited { cents })
}

/// Builds an event with this payload.
pub fn event<P: Payload>(aggregate: Uuid, payload: P) -> UntypedEvent {
    NewEvent::new(AggregateId(aggregate), payload)
        .encode()
        .unwrap()
}

/// Decodes events, as an append does.
pub fn prepare(events: &[UntypedEvent]) -> Vec<Prepared> {
    let prepare = |event: &UntypedEvent| {
        let domain = DOMAINS
            .iter()
            .find(|domain| domain.block().contains(&event.type_id.0))
            .unwrap();
        domain.prepare(event).unwrap()
    };
    events.iter().map(prepare).collect()
}

/// Appends without an expected version.
pub async fn append(foldlog: &Foldlog, events: &[UntypedEvent]) -> Appended {
    command::execute(foldlog, events, ExpectedVersion::Any, None)
        .await
        .unwrap()
}

/// Asserts that a view equals a fold of its claimed events from scratch, and that the claims have no gap.
pub async fn assert_equals_fold(connection: &mut PgConnection, view: &View) {
    let (name, types) = (view.lock_domain(), view.projection.block());
    let rows = sqlx::query(
        "select e.id, e.aggregate_id, e.version, e.position, e.type_id, e.created_at, e.payload, e.metadata \
         from events e join locker l on l.event_id = e.id and l.aggregate_id = e.aggregate_id and l.lock_domain = $1 \
         where e.type_id >= $2 and e.type_id < $3 order by e.aggregate_id, e.version",
    )
    .bind(name)
    .bind(types.start)
    .bind(types.end)
    .fetch_all(&mut *connection)
    .await
    .unwrap();
    let claimed: Vec<RecordedEvent> = rows
        .iter()
        .map(|row| store::decode_event(row).unwrap())
        .collect();
    let mut expected = Vec::new();
    for events in claimed.chunk_by(|a, b| a.aggregate_id == b.aggregate_id) {
        let versions: Vec<i32> = events.iter().map(|e| e.version.0).collect();
        assert_eq!(
            versions,
            (1..=i32::try_from(events.len()).unwrap()).collect::<Vec<_>>(),
            "claims of {name} have a hole"
        );
        let folded = view.projection.fold(None, events);
        assert!(folded.failure.is_none(), "{:?}", folded.failure);
        if let Some(row) = folded.row {
            let mut row: Value = serde_json::from_str(row.get()).unwrap();
            row["id"] = json!(events[0].aggregate_id);
            row["version"] = json!(versions.len());
            expected.push(row);
        }
    }
    let sql = format!("select to_jsonb(v) from \"{name}\" v order by id");
    let rows = sqlx::query(AssertSqlSafe(sql))
        .fetch_all(connection)
        .await
        .unwrap();
    let actual: Vec<Value> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(
        actual, expected,
        "the view {name} differs from the fold of its claimed events"
    );
}
