//! A domain whose rules never look at the state: each append is one statement, whatever is there already.

use foldlog::Foldlog;
use foldlog::command::{self, AppendError};
use foldlog::db::Pool;
use foldlog::domain::Domains;
use foldlog::domain::prelude::*;
use foldlog::event::ExpectedVersion;
use foldlog::migrations;
use foldlog::projection::{self, Budget};
use foldlog::view::Inline;
use std::convert::Infallible;
use uuid::Uuid;

use crate::support::TestDb;
use crate::support::chaos::Chaos;
use crate::support::events::{append, event};

events! {
    /// What is noted about a thing.
    pub enum Noted in 3000..4000 {
        3000 => Line { text: String },
    }
}

/// How many lines there are.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
struct Lines {
    lines: i64,
}

struct Notes;

impl Domain for Notes {
    const NAME: &'static str = "notes";
    const VIEW: &'static str =
        "create table notes (id uuid primary key, version integer not null, lines bigint not null)";
    const STATELESS: bool = true;
    type Event = Noted;
    type State = Lines;
    type Error = Infallible;

    fn check(_: Option<&Lines>, _: &Noted) -> Result<(), Infallible> {
        Ok(())
    }

    fn apply(lines: Option<Lines>, _: &Noted) -> Option<Lines> {
        Some(Lines {
            lines: lines.map_or(0, |l| l.lines) + 1,
        })
    }
}

const DOMAINS: Domains = foldlog::domains![Notes];

// Fails when the state is loaded all the same, when the versions do not follow each other, or when the expected version
// is not compared.
#[tokio::test]
async fn a_stateless_domain_appends_in_one_statement() {
    let db = TestDb::new().await;
    let chaos = Chaos::start(&db.options).await;
    let foldlog = Foldlog::new(Pool::new(chaos.options(), 1), DOMAINS, Inline::new()).unwrap();
    migrations::up(
        &mut db.connect().await,
        foldlog.pool.schema(),
        &foldlog.views,
        foldlog.inline(),
    )
    .await
    .unwrap();
    let thing = Uuid::now_v7();
    let line = || {
        event(
            thing,
            Noted::Line {
                text: "a line".to_owned(),
            },
        )
    };
    append(&foldlog, &[line()]).await;
    let before = chaos.statements();
    let appended = append(&foldlog, &[line(), line()]).await;
    assert_eq!(appended.events[1].version, Version(3));
    let exact = |version| ExpectedVersion::Exact(Version(version));
    command::execute(&foldlog, &[line()], exact(3), None)
        .await
        .unwrap();
    assert_eq!(chaos.statements() - before, 2);
    let stale = command::execute(&foldlog, &[line()], exact(3), None).await;
    assert!(
        matches!(
            stale,
            Err(AppendError::VersionMismatch {
                actual: Version(4),
                ..
            })
        ),
        "{stale:?}"
    );
    let caught_up = projection::catch_up(&foldlog.pool, &foldlog.views[0], 100, &Budget::default())
        .await
        .unwrap();
    assert_eq!((caught_up.applied, caught_up.done), (4, true));
    assert_eq!(db.count("select lines from notes").await, 4);
}
