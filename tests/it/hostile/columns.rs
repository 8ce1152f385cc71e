//! Columns whose names occur in foldlog's own statements.

use std::convert::Infallible;

use foldlog::db::Pool;
use foldlog::domain::Domains;
use foldlog::domain::prelude::*;
use foldlog::http::Operations;
use foldlog::operate::Operator;
use foldlog::{Foldlog, migrations};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::TestDb;
use crate::support::app::App;

events! {
    /// What can happen to a word.
    pub enum WordEvent in 6000..7000 {
        6000 => Said { text: String },
    }
}

/// Names of aliases, columns and functions in the statements over a view, and words of SQL.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Word {
    v: String,
    f: String,
    g: String,
    r: String,
    go: String,
    set_config: String,
    json: String,
    viewed: String,
    excluded: String,
    select: String,
    user: String,
    position: String,
    events: String,
}

#[derive(Debug)]
struct Words;

impl Domain for Words {
    const NAME: &'static str = "words";
    const VIEW: &'static str = "create table words (id uuid primary key, version integer not null, v text not null, f text not null, \
        g text not null, r text not null, go text not null, set_config text not null, json text not null, viewed text not null, \
        excluded text not null, \"select\" text not null, \"user\" text not null, position text not null, events text not null)";
    type Event = WordEvent;
    type State = Word;
    type Error = Infallible;

    fn check(_: Option<&Word>, _: &WordEvent) -> Result<(), Infallible> {
        Ok(())
    }

    fn apply(_: Option<Word>, WordEvent::Said { text }: &WordEvent) -> Option<Word> {
        let text = || text.clone();
        Some(Word {
            v: text(),
            f: text(),
            g: text(),
            r: text(),
            go: text(),
            set_config: text(),
            json: text(),
            viewed: text(),
            excluded: text(),
            select: text(),
            events: text(),
            user: text(),
            position: text(),
        })
    }
}

const DOMAINS: Domains = foldlog::domains![Words];

async fn app(inline: &[&str]) -> App {
    let db = TestDb::new().await;
    let builder = Foldlog::builder()
        .domains(DOMAINS)
        .inline(inline.iter().copied());
    let foldlog = builder.build(Pool::new(db.options.clone(), 4)).unwrap();
    let mut connection = db.connect().await;
    let schema = foldlog.pool.schema();
    migrations::up(&mut connection, schema, &foldlog.views, foldlog.inline())
        .await
        .unwrap();
    App::with_state(db, |state| {
        let operator = Operator {
            foldlog: foldlog.clone(),
            batch_size: 100,
        };
        state.operations = Operations::InProcess(operator);
        state.foldlog = foldlog;
    })
    .await
}

async fn send(app: &App, method: Method, path: &str, body: Option<&Value>) -> Value {
    let request = app.request(method, path);
    let request = match body {
        Some(body) => request.json(body),
        None => request,
    };
    let response = request.send().await.unwrap();
    let status = response.status();
    let text = response.text().await.unwrap();
    assert!(status.is_success(), "{path} {body:?}: {status} {text}");
    serde_json::from_str(&text).unwrap()
}

async fn append(app: &App, word: Uuid, text: &str) {
    let event = json!({"id": Uuid::now_v7(), "aggregate_id": word, "type_id": 6000, "payload": {"text": text}});
    send(app, Method::POST, "/words", Some(&event)).await;
}

async fn operate(app: &App, verb: Value) -> Value {
    let answer = send(app, Method::POST, "/projections", Some(&verb)).await;
    answer["projections"]["words"].clone()
}

/// Fails when a statement takes a column for one of its own names: then rows are read wrongly, or the projection stops.
#[tokio::test]
async fn columns_may_be_called_as_the_names_in_foldlogs_statements() {
    for inline in [&[][..], &["words"]] {
        let app = app(inline).await;
        let word = Uuid::now_v7();
        for text in ["a", "b"] {
            append(&app, word, text).await;
            let done = operate(&app, json!({})).await;
            assert_eq!(
                (&done["remaining"], &done["parked"]),
                (&json!(0), &json!(0)),
                "{done}"
            );
        }
        for path in [
            format!("/words/{word}"),
            format!("/words/{word}?consistency=strong"),
            format!("/words/{word}?version=2"),
        ] {
            let row = send(&app, Method::GET, &path, None).await;
            let fields = row.as_object().unwrap();
            assert_eq!(fields.len(), 15, "{path}: {row}");
            let texts = fields
                .iter()
                .filter(|(name, _)| *name != "id" && *name != "version");
            for (name, value) in texts {
                assert_eq!(value, "b", "{path}: {name}");
                for more in ["", "&consistency=strong", "&as_of=2100-01-01T00:00:00Z"] {
                    let list =
                        send(&app, Method::GET, &format!("/words?{name}=b{more}"), None).await;
                    assert_eq!(list["result"], json!([row]), "{name}{more}");
                }
            }
        }
        let verified = operate(&app, json!({"verify": "words"})).await;
        assert_eq!(verified["verification"]["differ"], 0, "{verified}");
        app.db.run("update words set v = 'c'").await;
        let repaired = operate(&app, json!({"verify": "words", "repair": true})).await;
        assert_eq!(repaired["verification"]["repaired"], 1, "{repaired}");
        operate(&app, json!({"reproject": "words", "max_changes": 0})).await;
        let row = send(&app, Method::GET, &format!("/words/{word}"), None).await;
        assert_eq!(row["v"], "b");
    }
}
