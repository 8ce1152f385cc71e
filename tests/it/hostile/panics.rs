//! A domain whose serialization panics: a read answers with a problem, and the server goes on.

use std::convert::Infallible;

use foldlog::domain::prelude::*;
use foldlog::view::Inline;
use foldlog::{Foldlog, migrations};
use serde::Serializer;
use serde_json::json;
use uuid::Uuid;

use crate::support::TestDb;
use crate::support::app::App;

events! {
    /// What can happen to a label.
    pub enum LabelEvent in 8000..9000 {
        8000 => Labelled { text: Text },
    }
}

/// A text that cannot be serialized when it is a `bomb`.
#[derive(Clone, Debug, PartialEq, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct Text(String);

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert_ne!(self.0, "bomb");
        self.0.serialize(serializer)
    }
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Label {
    text: Text,
}

#[derive(Debug)]
struct Labels;

impl Domain for Labels {
    const NAME: &'static str = "labels";
    const VIEW: &'static str =
        "create table labels (id uuid primary key, version integer not null, text text not null)";
    type Event = LabelEvent;
    type State = Label;
    type Error = Infallible;

    fn check(_: Option<&Label>, _: &LabelEvent) -> Result<(), Infallible> {
        Ok(())
    }

    fn apply(_: Option<Label>, event: &LabelEvent) -> Option<Label> {
        let LabelEvent::Labelled { text } = event.clone();
        Some(Label { text })
    }
}

// Fails when a panic in a row's `Serialize` closes the connection of a read, or ends the server.
#[tokio::test]
async fn a_row_that_cannot_be_serialized_is_a_problem_and_no_panic() {
    let db = TestDb::new().await;
    let domains = foldlog::domains![Labels];
    let foldlog = Foldlog::new(db.pool().clone(), domains, Inline::new()).unwrap();
    let mut connection = db.connect().await;
    let schema = foldlog.pool.schema();
    let migrated = migrations::up(&mut connection, schema, &foldlog.views, foldlog.inline()).await;
    migrated.unwrap();
    let (stored, folded) = (Uuid::now_v7(), Uuid::now_v7());
    db.run(&format!(
        "insert into labels (id, version, text) values ('{stored}', 1, 'bomb');
         insert into events (id, aggregate_id, version, type_id, payload)
         values (gen_random_uuid(), '{folded}', 1, 8000, '{{\"text\":\"bomb\"}}')"
    ))
    .await;
    let app = App::with_foldlog(db, foldlog).await;
    let read = async |path: String| {
        let response = app
            .client
            .get(format!("{}{path}", app.url))
            .send()
            .await
            .unwrap();
        let (status, body) = (response.status().as_u16(), response.text().await.unwrap());
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        (status, body["type"].clone())
    };
    let unfoldable = (503, json!("urn:foldlog:problem:unavailable"));
    assert_eq!(read("/labels".to_owned()).await, unfoldable);
    assert_eq!(read(format!("/labels/{stored}")).await, unfoldable);
    assert_eq!(
        read(format!("/labels/{folded}?consistency=strong")).await,
        unfoldable
    );
    assert_eq!(read("/health".to_owned()).await.0, 200);
}
