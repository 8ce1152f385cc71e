//! Lists of the past compared with a plain fold in memory, for random histories.

use std::collections::BTreeMap;

use foldlog::domains::users::UserEvent;
use foldlog::event::{Password, UntypedEvent};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::macros::datetime;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::support::TestDb;
use crate::support::accounts::AccountEvent;
use crate::support::app::App;
use crate::support::events::event;

const AGGREGATE_COUNT: usize = 1500;
const MAX_EVENTS: usize = 8;
const BEGIN: OffsetDateTime = datetime!(2026-01-01 0:00 UTC);
/// Few, so that many events have the same time.
const INSTANT_COUNT: i64 = 40;
const NAMES: [&str; 3] = ["ada", "bob", "eve"];

/// An aggregate's row as the model has it: the fields of the view.
type Row = BTreeMap<String, Value>;

/// The events of an aggregate with their times, and the row after each.
struct History {
    id: Uuid,
    is_user: bool,
    events: Vec<(UntypedEvent, OffsetDateTime)>,
    rows: Vec<Option<Row>>,
}

fn random_history(random: &mut StdRng) -> History {
    let (id, is_user) = (Uuid::from_u128(random.random()), random.random());
    let mut history = History {
        id,
        is_user,
        events: Vec::new(),
        rows: Vec::new(),
    };
    let mut instant = 0;
    for number in 0..random.random_range(1..=MAX_EVENTS) {
        instant += random.random_range(i64::from(number == 0)..=INSTANT_COUNT / 6);
        let row = history.rows.last().cloned().flatten();
        if number > 0 && row.is_none() {
            break;
        }
        let mut row = row.unwrap_or_default();
        let name = *NAMES.choose(random).unwrap();
        let (event, row) = if is_user {
            user_event(random, id, name, number == 0, &mut row)
        } else {
            account_event(random, id, name, number == 0, &mut row)
        };
        history
            .events
            .push((event, BEGIN + Duration::seconds(instant)));
        history.rows.push(row);
    }
    history
}

fn user_event(
    random: &mut StdRng,
    id: Uuid,
    name: &str,
    is_first: bool,
    row: &mut Row,
) -> (UntypedEvent, Option<Row>) {
    let (username, email) = (name.to_owned(), format!("{name}@example.org"));
    let payload = match random.random_range(0..10) {
        _ if is_first => {
            row.insert("username".to_owned(), json!(username));
            row.insert("email".to_owned(), json!(email));
            let password = None;
            UserEvent::Created {
                id,
                username,
                email,
                password,
            }
        }
        0 => return (event(id, UserEvent::Deleted { id: None }), None),
        1..4 => {
            row.insert("email".to_owned(), json!(email));
            UserEvent::EmailChanged { email }
        }
        4 => UserEvent::PasswordChanged {
            password: Password::new("$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA".to_owned()),
        },
        _ => {
            row.insert("username".to_owned(), json!(username));
            UserEvent::UsernameChanged { username }
        }
    };
    (event(id, payload), Some(row.clone()))
}

fn account_event(
    random: &mut StdRng,
    id: Uuid,
    name: &str,
    is_first: bool,
    row: &mut Row,
) -> (UntypedEvent, Option<Row>) {
    if is_first {
        let owner = name.to_owned();
        row.insert("owner".to_owned(), json!(owner));
        row.insert("balance_cents".to_owned(), json!(0));
        return (event(id, AccountEvent::Opened { owner }), Some(row.clone()));
    }
    let balance = row["balance_cents"].as_i64().unwrap();
    let cents = random.random_range(1..4);
    row.insert("balance_cents".to_owned(), json!(balance + cents));
    (
        event(id, AccountEvent::Deposited { cents }),
        Some(row.clone()),
    )
}

async fn insert(db: &TestDb, histories: &[History]) {
    let mut connection = db.connect().await;
    for history in histories {
        let (mut ids, mut types, mut payloads, mut times) = (vec![], vec![], vec![], vec![]);
        for (event, time) in &history.events {
            ids.push(event.id.0);
            types.push(event.type_id.0);
            payloads.push(event.payload.get());
            times.push(*time);
        }
        sqlx::query(
            "insert into events (id, aggregate_id, version, type_id, payload, created_at) \
             select e.id, $1, e.version, e.type_id, e.payload::jsonb, e.created_at \
             from unnest($2::uuid[], $3::smallint[], $4::text[], $5::timestamptz[]) \
                 with ordinality as e (id, type_id, payload, created_at, version)",
        )
        .bind(history.id)
        .bind(ids)
        .bind(types)
        .bind(payloads)
        .bind(times)
        .execute(&mut connection)
        .await
        .unwrap();
    }
}

/// The rows that a list has to have.
fn expected(
    histories: &[History],
    users: bool,
    time: OffsetDateTime,
    filters: &[(&str, Value)],
) -> Vec<Value> {
    let mut rows = Vec::new();
    for history in histories.iter().filter(|history| history.is_user == users) {
        let past = history.events.iter().filter(|(_, at)| *at <= time).count();
        let Some(row) = past
            .checked_sub(1)
            .and_then(|last| history.rows[last].clone())
        else {
            continue;
        };
        if filters.iter().all(|(name, value)| row[*name] == *value) {
            let mut row = json!(row);
            row["id"] = json!(history.id);
            row["version"] = json!(past);
            rows.push(row);
        }
    }
    rows
}

async fn listed(app: &App, path: &str, limit: usize) -> Vec<Value> {
    let (mut rows, mut after) = (Vec::new(), String::new());
    loop {
        let page = app.read(&format!("{path}&limit={limit}{after}")).await;
        assert_eq!(page.status, 200, "{page:?}");
        let found = page.body["result"].as_array().unwrap();
        assert!(found.len() <= limit);
        rows.extend(found.iter().cloned());
        match page.body["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return rows,
        }
    }
}

// Fails when any page of a list differs from the fold of the events up to its time, at an instant with events or between two.
#[tokio::test]
async fn lists_of_the_past_equal_a_fold_in_memory_at_every_instant() {
    let mut random = StdRng::seed_from_u64(11);
    let mut histories: Vec<History> = (0..AGGREGATE_COUNT)
        .map(|_| random_history(&mut random))
        .collect();
    histories.sort_by_key(|history| history.id);
    let app = App::new().await;
    insert(&app.db, &histories).await;
    let last = histories.iter().flat_map(|history| &history.events);
    let last = last.map(|(_, at)| *at).max().unwrap();
    let mut time = BEGIN - Duration::milliseconds(500);
    while time <= last + Duration::seconds(1) {
        let users = random.random();
        let filters: Vec<(&str, Value)> = match (random.random_range(0..3), users) {
            (0, true) => vec![("username", json!(NAMES.choose(&mut random).unwrap()))],
            (1, true) => vec![
                ("username", json!("ada")),
                ("email", json!("bob@example.org")),
            ],
            (0, false) => vec![("balance_cents", json!(random.random_range(0..6)))],
            (1, false) => vec![("owner", json!("eve"))],
            _ => vec![],
        };
        let domain = if users { "users" } else { "accounts" };
        let mut path = format!("/{domain}?as_of={}", time.format(&Rfc3339).unwrap());
        for (name, value) in &filters {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), ToOwned::to_owned);
            path = format!("{path}&{name}={text}");
        }
        let limit = *[37, 100, 250, 1000].choose(&mut random).unwrap();
        let rows = listed(&app, &path, limit).await;
        assert_eq!(
            rows,
            expected(&histories, users, time, &filters),
            "{path} {limit}"
        );
        time += Duration::milliseconds(500);
    }
}
