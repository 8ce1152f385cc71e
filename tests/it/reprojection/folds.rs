//! A fold that changes while the definition of its view stays the same.

use foldlog::Foldlog;
use foldlog::db::Pool;
use foldlog::domain::prelude::*;
use foldlog::domain::{Domains, FoldError};
use foldlog::event::Event;
use foldlog::migrations;
use foldlog::view::Inline;
use serde_json::{Value, json};

use super::{reproject_to_the_end, some_accounts};
use crate::support::TestDb;
use crate::support::accounts::{AccountEvent, Accounts, Entry, Ledger};
use crate::support::app::App;

/// The ledger of a build that counts in another way, or says that it does.
struct OtherLedger<const FACTOR: i64, const FOLD_VERSION: u32>;

impl<const FACTOR: i64, const FOLD_VERSION: u32> Projection for OtherLedger<FACTOR, FOLD_VERSION> {
    const NAME: &'static str = Ledger::NAME;
    const VIEW: &'static str = Ledger::VIEW;
    const FOLD_VERSION: u32 = FOLD_VERSION;
    type Event = AccountEvent;
    type Row = Entry;

    fn apply(row: Option<Entry>, event: &Event<AccountEvent>) -> Result<Option<Entry>, FoldError> {
        let before = row.as_ref().map_or(0, |row| row.deposits);
        let folded = Ledger::apply(row, event)?;
        Ok(folded.map(|row| Entry {
            deposits: before + (row.deposits - before) * FACTOR,
            ..row
        }))
    }
}

/// The ledger of a build whose author has written comments.
struct CommentedLedger;

/// What was deposited.
#[derive(Serialize, Deserialize, ToSchema)]
struct CommentedEntry {
    /// How many deposits there were.
    deposits: i64,
    /// The version of the last event.
    last_version: i32,
}

impl Projection for CommentedLedger {
    const NAME: &'static str = Ledger::NAME;
    const VIEW: &'static str = Ledger::VIEW;
    type Event = AccountEvent;
    type Row = CommentedEntry;

    fn apply(
        row: Option<CommentedEntry>,
        event: &Event<AccountEvent>,
    ) -> Result<Option<CommentedEntry>, FoldError> {
        let row = row.map(|row| Entry {
            deposits: row.deposits,
            last_version: row.last_version,
        });
        let folded = Ledger::apply(row, event)?;
        Ok(folded.map(|row| CommentedEntry {
            deposits: row.deposits,
            last_version: row.last_version,
        }))
    }
}

const SAME: Domains =
    foldlog::domains![foldlog::domains::users::Users, Accounts; projections: CommentedLedger];
const OTHER: Domains =
    foldlog::domains![foldlog::domains::users::Users, Accounts; projections: OtherLedger<2, 1>];
const DECLARED: Domains =
    foldlog::domains![foldlog::domains::users::Users, Accounts; projections: OtherLedger<1, 2>];

/// A process of another build, with the API in front of it.
async fn build(db: TestDb, domains: Domains) -> App {
    let foldlog = Foldlog::new(Pool::new(db.options.clone(), 4), domains, Inline::new()).unwrap();
    App::with_foldlog(db, foldlog).await
}

/// The projections that `migrate up` of another build names.
async fn migrate(db: &TestDb, domains: Domains) -> Vec<&'static str> {
    let foldlog = Foldlog::new(Pool::new(db.options.clone(), 1), domains, Inline::new()).unwrap();
    migrations::up(
        &mut db.connect().await,
        foldlog.pool.schema(),
        &foldlog.views,
        foldlog.inline(),
    )
    .await
    .unwrap()
}

async fn ledger(app: &App, path: &str) -> Value {
    app.read(path).await.body["projections"]["ledger"].clone()
}

/// Fails when a fold that was changed is not noticed, whether examples of the events show it or its author declares it; when one that was
/// not changed is; or when a reprojection does not settle the matter.
#[tokio::test]
async fn a_changed_fold_is_reported_until_the_view_is_reprojected() {
    for changed in [OTHER, DECLARED] {
        let db = TestDb::new().await;
        some_accounts(&db, 5).await;
        for projection in ["users", "accounts", "ledger"] {
            db.catch_up(projection).await;
        }
        assert_eq!(migrate(&db, SAME).await, [""; 0]);
        assert_eq!(migrate(&db, changed).await, ["ledger"]);
        // It is asked for as often as it was not done.
        assert_eq!(migrate(&db, changed).await, ["ledger"]);
        let app = build(db, changed).await;
        let health = app.read("/health").await.body;
        assert_eq!(health["status"], "degraded");
        assert_eq!(health["projections"]["ledger"]["fold_changed"], true);
        assert_eq!(health["projections"]["accounts"]["fold_changed"], false);
        assert_eq!(ledger(&app, "/projections").await["fold_changed"], true);

        let foldlog = Foldlog::new(Pool::new(app.db.options.clone(), 4), changed, Inline::new());
        reproject_to_the_end(&foldlog.unwrap(), "ledger").await;
        let health = app.read("/health").await.body;
        assert_eq!(health["status"], "up", "{health}");
        assert_eq!(ledger(&app, "/projections").await["fold_changed"], false);
        assert_eq!(migrate(&app.db, changed).await, [""; 0]);
        // The earlier build is now the one with another fold.
        assert_eq!(migrate(&app.db, SAME).await, ["ledger"]);
        let same = build(app.db, SAME).await;
        assert_eq!(ledger(&same, "/health").await["fold_changed"], true);
    }
}

/// Fails when rows of a build that recorded no fold count as rows of another fold, or a later change of the fold is not noticed.
#[tokio::test]
async fn the_rows_of_a_build_without_recorded_folds_count_as_current() {
    let db = TestDb::new().await;
    db.run("update views set fold_hash = null").await;
    let app = App::with_db(db).await;
    assert_eq!(ledger(&app, "/health").await["fold_changed"], json!(null));
    assert_eq!(app.read("/health").await.body["status"], "up");
    assert_eq!(migrate(&app.db, SAME).await, [""; 0]);
    assert_eq!(ledger(&app, "/health").await["fold_changed"], false);
    assert_eq!(migrate(&app.db, OTHER).await, ["ledger"]);
}
