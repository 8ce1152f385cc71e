//! Domains and events with the names of other schemas. `scripts/openapi-types.sh` generates code from the snapshot, and counts
//! the types.

use std::collections::BTreeMap;

use foldlog::db::Pool;
use foldlog::domain::prelude::*;
use foldlog::domains;
use foldlog::http::document;
use foldlog::{BuildError, Foldlog, FoldlogBuilder};
use serde_json::Value;
use sqlx::postgres::PgConnectOptions;

use super::assert_snapshot;

/// A domain whose payloads contain a type that is named like an event.
macro_rules! awkward_domain {
    ($module:ident, $name:literal, $from:literal .. $to:literal, $title:expr, { $($id:literal => $event:ident),* }) => {
        mod $module {
            use super::*;

            events! {
                /// What can happen.
                pub enum AwkwardEvent in $from..$to {
                    $( $id => $event { note: Deleted } ),*
                }
            }

            #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
            pub struct Deleted {
                text: String,
            }

            #[derive(Debug, Serialize, Deserialize, ToSchema)]
            pub struct Row {
                page: i32,
                note: Deleted,
                hint: Option<Secret<String>>,
            }

            #[derive(Debug)]
            pub struct Awkward;

            impl Domain for Awkward {
                const NAME: &'static str = $name;
                const VIEW: &'static str = "";
                const TITLE: Option<&'static str> = $title;
                type Event = AwkwardEvent;
                type State = Row;
                type Error = std::convert::Infallible;

                fn check(_: Option<&Row>, _: &AwkwardEvent) -> Result<(), Self::Error> {
                    Ok(())
                }

                fn apply(row: Option<Row>, _: &AwkwardEvent) -> Option<Row> {
                    row
                }
            }
        }
    };
}

awkward_domain!(problem, "problem", 100..200, None, {
    100 => Row, 101 => Page, 102 => Event, 103 => Deleted, 104 => Rule, 105 => RuleBroken, 106 => DryRun
});
awkward_domain!(any, "any", 200..300, None, { 200 => Row, 201 => Page, 202 => Event, 203 => Domain, 204 => DryRun });
awkward_domain!(event, "event", 300..400, None, { 300 => Row, 301 => Page, 302 => Event, 303 => Saved, 304 => Appended });
awkward_domain!(appended, "appended", 400..500, None, { 400 => Event, 401 => Row });
awkward_domain!(dry, "dry", 500..600, None, { 500 => Run, 501 => OfAnyDomain });
// Together with `event` these have one name for two schemas.
awkward_domain!(event_event, "event_event", 600..700, None, { 600 => Renamed });
awkward_domain!(payloads, "payloads", 700..800, None, { 700 => Created, 701 => CreatedPayload });
awkward_domain!(cases, "cases", 800..900, None, { 800 => Setup, 801 => SetUp });
awkward_domain!(hidden_title, "hidden_title", 900..1000, Some("hint"), { 900 => Created });
awkward_domain!(no_title, "no_title", 900..1000, Some("name"), { 900 => Created });

fn awkward_document() -> Value {
    let domains = domains![
        problem::Awkward,
        any::Awkward,
        event::Awkward,
        appended::Awkward,
        dry::Awkward
    ];
    document(&domains, true)
}

/// The name that generators of TypeScript give a schema, an operation or another part of the document.
fn pascal_case(name: &str) -> String {
    let words = name.split(['.', '_', '-']);
    let capital = |word: &str| {
        let (first, rest) = word.split_at(1);
        first.to_ascii_uppercase() + rest
    };
    words.map(capital).collect()
}

// Fails when two schemas of domains with awkward names become one type in generated code, or when a schema of all domains has a name
// that a domain can have.
#[test]
fn schemas_of_domains_with_awkward_names_have_different_names_in_generated_code() {
    let document = awkward_document();
    let mut types: BTreeMap<String, &String> = BTreeMap::new();
    for name in document["components"]["schemas"]
        .as_object()
        .unwrap()
        .keys()
    {
        let other = types.insert(pascal_case(name).to_ascii_lowercase(), name);
        assert_eq!(other, None, "{name}");
    }
    for name in types.values().filter(|name| !name.contains('.')) {
        let name = pascal_case(name);
        for ending in ["Event", "Row", "Page", "Rule", "BrokenRule", "DryRun"] {
            let domain = name.strip_suffix(ending).unwrap_or_default();
            assert!(domain.is_empty(), "a domain can have a schema `{name}`");
        }
        for inside in ["Event", "Payload", "Row"] {
            let at = name.rfind(inside).unwrap_or_default();
            assert_eq!(at, 0, "a domain can have a schema `{name}`");
        }
    }
    assert_snapshot("tests/snapshots/openapi_names.json", &document);
}

// Fails when foldlog starts although generated code would have one name for two schemas, or does not say which; or when it refuses
// names that only look alike.
#[test]
fn foldlog_refuses_schemas_that_have_one_name_in_generated_code() {
    let pool = || Pool::new(PgConnectOptions::new(), 1);
    let refused = |builder: FoldlogBuilder| match builder.build(pool()) {
        Err(BuildError::AmbiguousSchemas(one, other)) => [one, other],
        other => panic!("{other:?}"),
    };
    let awkward = Foldlog::builder()
        .domain::<problem::Awkward>()
        .domain::<any::Awkward>()
        .domain::<event::Awkward>()
        .domain::<appended::Awkward>()
        .domain::<dry::Awkward>();
    awkward.build(pool()).unwrap();
    let nested = Foldlog::builder()
        .domain::<event::Awkward>()
        .domain::<event_event::Awkward>();
    assert_eq!(refused(nested), ["event.event.Event", "event_event.event"]);
    let payloads = Foldlog::builder().domain::<payloads::Awkward>();
    assert_eq!(
        refused(payloads),
        [
            "payloads.event.Created.payload",
            "payloads.event.CreatedPayload"
        ]
    );
    let cases = Foldlog::builder().domain::<cases::Awkward>();
    assert_eq!(refused(cases), ["cases.event.Setup", "cases.event.SetUp"]);
}

// Fails when foldlog starts with a title that is a secret or no column: the console would show nothing in place of a row.
#[test]
fn foldlog_refuses_a_title_that_clients_do_not_see() {
    let pool = || Pool::new(PgConnectOptions::new(), 1);
    let hidden = Foldlog::builder().domain::<hidden_title::Awkward>();
    let unknown = Foldlog::builder().domain::<no_title::Awkward>();
    for (builder, title) in [(hidden, "hint"), (unknown, "name")] {
        let refused = builder.build(pool());
        assert!(matches!(refused, Err(BuildError::NoTitle(_, named)) if named == title));
    }
}
