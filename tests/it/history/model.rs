//! Random histories of users, and the responses about their past compared with a plain fold in memory.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::macros::{datetime, offset};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::support::app::App;

/// How many users are generated.
const HISTORY_COUNT: usize = 2000;
/// How many users are checked at a time.
const MAX_CONCURRENCY: usize = 8;
/// A part of every password that no response may contain.
const HASH: &str = "$argon2id$v=19$hidden";

/// A pseudo-random generator (splitmix64), so that a failure repeats.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to `end` - 1.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    fn pick<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())]
    }
}

/// The fields of a user that clients see; `None` if there is no user.
type Fields = Option<BTreeMap<&'static str, String>>;

/// A generated event, and the user after it.
struct Event {
    id: Uuid,
    type_id: i16,
    name: &'static str,
    payload: Value,
    /// The payload as it is shown.
    shown: Value,
    actor: Option<&'static str>,
    created_at: OffsetDateTime,
    after: Fields,
}

struct History {
    user: Uuid,
    events: Vec<Event>,
    /// How many events are projected.
    projected: usize,
}

impl History {
    fn random(random: &mut Random) -> Self {
        let user = Uuid::from_u128((u128::from(random.next()) << 64) | u128::from(random.next()));
        let mut time = datetime!(2026-01-01 0:00 UTC)
            + Duration::microseconds(i64::try_from(random.below(1_000_000)).unwrap());
        let mut fields = Fields::None;
        let mut events: Vec<Event> = Vec::new();
        let length = 1 + random.below(8);
        for at in 0..length {
            let (type_id, name, payload, shown) = change(random, user, &mut fields, at == 0);
            events.push(Event {
                id: Uuid::from_u128(u128::from(random.next())),
                type_id,
                name,
                payload,
                shown,
                actor: random.pick(&[None, Some("ada"), Some("bob")]),
                created_at: time,
                after: fields.clone(),
            });
            // Several events may have the same time.
            time += Duration::microseconds(random.pick(&[0, 1, 2, 1000, 60_000_000]));
        }
        let projected = random.below(length + 1);
        Self {
            user,
            events,
            projected,
        }
    }

    fn rows(&self) -> impl Iterator<Item = Value> {
        self.events.iter().enumerate().map(|(at, event)| {
            let metadata = event.actor.map_or(json!({"note": 1}), |actor| json!({"actor": actor}));
            json!({
                "id": event.id, "aggregate_id": self.user, "version": at + 1, "type_id": event.type_id,
                "payload": event.payload, "metadata": metadata, "created_at": text(event.created_at),
            })
        })
    }

    /// The fields after so many events.
    fn fields_after(&self, version: usize) -> Fields {
        version
            .checked_sub(1)
            .and_then(|at| self.events[at].after.clone())
    }

    /// How many events were recorded at this time or earlier.
    fn version_at(&self, time: OffsetDateTime) -> usize {
        self.events
            .iter()
            .filter(|event| event.created_at <= time)
            .count()
    }

    fn path(&self, below: &str) -> String {
        format!("/users/{}{below}", self.user)
    }
}

/// Changes the fields and returns the event: type id, name, payload, and payload as it is shown.
fn change(
    random: &mut Random,
    user: Uuid,
    fields: &mut Fields,
    is_first: bool,
) -> (i16, &'static str, Value, Value) {
    let word = random.pick(&["a", "b", "ä\"\\", "null"]).to_owned();
    let email = format!("{}@example.org", random.pick(&["x", "y"]));
    let Some(known) = fields else {
        *fields = Some([("username", word.clone()), ("email", email.clone())].into());
        if !is_first {
            let payload = json!({"username": word, "email": email});
            return (1006, "Restored", payload.clone(), payload);
        }
        let shown = json!({"id": user, "username": word, "email": email});
        let mut payload = shown.clone();
        if random.below(2) == 0 {
            payload["password"] = json!(HASH);
        }
        return (1000, "Created", payload, shown);
    };
    match random.below(5) {
        0 => {
            known.insert("username", word.clone());
            let payload = json!({"username": word});
            (1002, "UsernameChanged", payload.clone(), payload)
        }
        1 => {
            known.insert("username", word.clone());
            (
                1005,
                "UsernameChanged",
                json!({"name": word}),
                json!({"username": word}),
            )
        }
        2 => {
            known.insert("email", email.clone());
            let payload = json!({"email": email});
            (1003, "EmailChanged", payload.clone(), payload)
        }
        3 => (
            1001,
            "PasswordChanged",
            json!({"password": HASH}),
            json!({}),
        ),
        _ => {
            *fields = None;
            (1004, "Deleted", json!({}), json!({}))
        }
    }
}

fn text(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).unwrap()
}

/// The fields that differ, as a response has them.
fn changes(before: &Fields, after: &Fields) -> Value {
    let value = |fields: &Fields, name| fields.as_ref().map(|fields| fields[name].clone());
    let names = ["username", "email"].into_iter();
    let pairs = names.map(|name| (name, value(before, name), value(after, name)));
    let differing = pairs.filter(|(_, before, after)| before != after);
    differing
        .map(|(name, before, after)| (name.to_owned(), json!([before, after])))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// Asserts that a read of the row returned the state after `version` events.
async fn assert_row(app: &App, history: &History, query: &str, version: usize) {
    let answer = app.read(&history.path(query)).await;
    match history.fields_after(version) {
        None if version == 0 => {
            answer.problem(404, "not-found");
        }
        None => {
            answer.problem(410, "deleted");
        }
        Some(fields) => {
            let mut row = json!(fields);
            row["id"] = json!(history.user);
            row["version"] = json!(version);
            assert_eq!((answer.status, &answer.body), (200, &row), "{query}");
            assert_eq!(answer.header("etag"), format!("\"{version}\""));
        }
    }
}

async fn assert_rows(app: &App, history: &History) {
    let newest = history.events.len();
    for version in 1..=newest {
        assert_row(app, history, &format!("?version={version}"), version).await;
    }
    let beyond = app
        .read(&history.path(&format!("?version={}", newest + 1)))
        .await;
    beyond.problem(404, "not-found");
    assert_eq!(beyond.body["version"], newest);
    let mut times: Vec<OffsetDateTime> = history
        .events
        .iter()
        .map(|event| event.created_at)
        .collect();
    times.dedup();
    let instants = times.iter().enumerate().flat_map(|(at, time)| {
        // Between two times only the precision that Postgres does not store is left.
        let between = Duration::nanoseconds(if at % 3 == 0 { 999 } else { 0 });
        [*time - Duration::microseconds(1), *time + between]
    });
    for instant in instants {
        let version = history.version_at(instant);
        let query = format!("?as_of={}", text(instant.to_offset(offset!(-5))));
        assert_row(app, history, &query, version).await;
    }
    assert_row(app, history, "?as_of=2999-01-01T00:00:00Z", newest).await;
}

/// Asserts that the pages of a history, put together, are the events that `keeps` selects.
async fn assert_history(
    app: &App,
    history: &History,
    limit: usize,
    filter: &str,
    keeps: impl Fn(&Event, &Value) -> bool,
) {
    let mut expected = Vec::new();
    for (at, event) in history.events.iter().enumerate() {
        let changes = changes(&history.fields_after(at), &event.after);
        if keeps(event, &changes) {
            expected.push(json!({
                "id": event.id, "version": at + 1, "payload": event.shown, "changes": changes,
                "type": event.name, "created_at": text(event.created_at),
            }));
        }
    }
    for order in ["asc", "desc"] {
        let (mut found, mut after) = (Vec::new(), String::new());
        loop {
            let path = history.path(&format!(
                "/events?order={order}&limit={limit}{filter}{after}"
            ));
            let page = app.read(&path).await;
            assert_eq!(page.status, 200, "{page:?}");
            assert!(!page.body.to_string().contains("hidden"), "{page:?}");
            let events = page.body["result"].as_array().unwrap();
            assert!(events.len() <= limit);
            found.extend(events.iter().map(|event| {
                let names = ["id", "version", "payload", "changes", "type", "created_at"];
                names
                    .map(|name| (name, event[name].clone()))
                    .into_iter()
                    .collect::<BTreeMap<_, _>>()
            }));
            match page.body["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        if order == "desc" {
            found.reverse();
        }
        assert_eq!(json!(found), json!(expected), "{order} {limit} {filter}");
    }
}

async fn assert_diff_and_blame(app: &App, history: &History, random: &mut Random) {
    let newest = history.events.len();
    let mut moment = || {
        let version = random.below(newest + 1);
        if version == 0 || random.below(2) == 0 {
            return (version, version.to_string());
        }
        let time = history.events[version - 1].created_at;
        let until = history
            .events
            .iter()
            .filter(|event| event.created_at <= time);
        (until.count(), text(time))
    };
    let ((from, from_text), (to, to_text)) = (moment(), moment());
    let diff = app
        .read(&history.path(&format!("/diff?from={from_text}&to={to_text}")))
        .await;
    let (before, after) = (history.fields_after(from), history.fields_after(to));
    assert_eq!(
        diff.body["changes"],
        changes(&before, &after),
        "{from} {to} {diff:?}"
    );
    assert_eq!(
        (&diff.body["from"]["version"], &diff.body["to"]["version"]),
        (&json!(from), &json!(to))
    );
    assert_eq!(diff.body["to"]["deleted"], after.is_none() && to > 0);

    let version = 1 + random.below(newest);
    let blame = app
        .read(&history.path(&format!("/blame?version={version}")))
        .await;
    let Some(fields) = history.fields_after(version) else {
        blame.problem(410, "deleted");
        return;
    };
    assert_eq!(
        blame.body["fields"].as_object().unwrap().len(),
        fields.len()
    );
    for (name, value) in fields {
        let mut changing = (1..=version).rev();
        let set = changing.find(|at| {
            changes(&history.fields_after(at - 1), &history.fields_after(*at))[name].is_array()
        });
        let setter = &history.events[set.unwrap() - 1];
        let expected = json!({
            "value": value, "version": set, "event_id": setter.id, "type": setter.name, "actor": setter.actor,
            "created_at": text(setter.created_at),
        });
        assert_eq!(blame.body["fields"][name], expected, "{name} {version}");
    }
}

async fn assert_explanation(app: &App, history: &History) {
    let (newest, projected) = (history.events.len(), history.projected);
    let answer = app.read(&history.path("/explain")).await;
    let row = history.fields_after(projected).map(|_| projected);
    let state = match row {
        _ if projected < newest => "behind",
        Some(_) => "current",
        None => "deleted",
    };
    let range = |first: usize, last: usize| {
        if first <= last {
            json!([[first, last]])
        } else {
            json!([])
        }
    };
    let body = &answer.body;
    assert_eq!(
        json!([body["state"], body["version"], body["newest"]]),
        json!([state, row, newest])
    );
    assert_eq!(body["claimed"]["ranges"], range(1, projected));
    assert_eq!(body["waiting"]["ranges"], range(projected + 1, newest));
    assert_eq!(body["revision"].is_null(), projected == 0);
}

async fn insert(app: &App, rows: Vec<Value>) {
    sqlx::query(
        "insert into events (id, aggregate_id, version, type_id, payload, metadata, created_at)
         select id, aggregate_id, version, type_id, payload, metadata, created_at
         from json_to_recordset($1::text::json) as e (id uuid, aggregate_id uuid, version integer, type_id smallint,
             payload jsonb, metadata jsonb, created_at timestamptz)",
    )
    .bind(Value::from(rows).to_string())
    .execute(&mut app.db.connect().await)
    .await
    .unwrap();
}

// Fails when the row at a version or at an instant, a history in any order, page size or filter, a diff or a blame differs from a
// plain fold, or shows a secret; or when an explanation differs from what is projected.
#[tokio::test]
async fn the_past_of_random_histories_equals_a_fold_in_memory() {
    let app = App::new().await;
    let mut random = Random(11);
    let histories: Vec<History> = (0..HISTORY_COUNT)
        .map(|_| History::random(&mut random))
        .collect();
    let rows = |is_projected: bool| {
        let of = |history: &History| {
            let projected = history.projected;
            let rows = history.rows().enumerate();
            let half = rows.filter(move |(at, _)| (*at < projected) == is_projected);
            half.map(|(_, row)| row).collect::<Vec<_>>()
        };
        histories.iter().flat_map(of).collect()
    };
    insert(&app, rows(true)).await;
    assert!(app.db.catch_up("users").await.done);
    insert(&app, rows(false)).await;
    let (app, seeds) = (&app, histories.iter().enumerate());
    stream::iter(seeds)
        .for_each_concurrent(MAX_CONCURRENCY, |(seed, history)| async move {
            let mut random = Random(seed as u64);
            assert_rows(app, history).await;
            assert_explanation(app, history).await;
            assert_diff_and_blame(app, history, &mut random).await;
            let limit = 1 + random.below(history.events.len() + 1);
            match seed % 4 {
                0 => {
                    let actor = |event: &Event, _: &Value| event.actor == Some("ada");
                    assert_history(app, history, limit, "&actor=ada", actor).await;
                }
                1 => {
                    let field = |_: &Event, changes: &Value| changes["email"].is_array();
                    assert_history(app, history, limit, "&field=email", field).await;
                }
                _ => assert_history(app, history, limit, "", |_, _| true).await,
            }
        })
        .await;
}
