//! Old and new code with different definitions of a view on one database.

use foldlog::Foldlog;
use foldlog::db::Pool;
use foldlog::domain::prelude::*;
use foldlog::domain::{Domains, FoldError};
use foldlog::event::Event;
use foldlog::migrations;
use foldlog::projection::{self, Budget};
use foldlog::query::{self, Consistency, QueryError};
use foldlog::view::Inline;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{first_page, reproject_to_the_end, some_accounts};
use crate::support::TestDb;
use crate::support::accounts::{AccountEvent, Accounts, Entry, Ledger};
use crate::support::db::DOMAINS;
use crate::support::events::{append, assert_equals_fold, deposited};

/// The ledger of a new build: the sum of the deposits in place of their number.
struct NewLedger;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
struct Total {
    total_cents: i64,
}

impl Projection for NewLedger {
    const NAME: &'static str = Ledger::NAME;
    const VIEW: &'static str = "create table ledger (id uuid not null, version integer not null, total_cents bigint not null, \
                                constraint ledger_pkey primary key (id)); \
                                create index ledger_total_cents_idx on ledger (total_cents)";
    type Event = AccountEvent;
    type Row = Total;

    fn apply(row: Option<Total>, event: &Event<AccountEvent>) -> Result<Option<Total>, FoldError> {
        let total_cents = row.map_or(0, |row| row.total_cents);
        let cents = match &event.payload {
            AccountEvent::Deposited { cents } => *cents,
            AccountEvent::Opened { .. } | AccountEvent::Closed {} => 0,
        };
        Ok(Some(Total {
            total_cents: total_cents + cents,
        }))
    }
}

const NEW: Domains =
    foldlog::domains![foldlog::domains::users::Users, Accounts; projections: NewLedger];

fn host(db: &TestDb, domains: Domains) -> Foldlog {
    Foldlog::new(Pool::new(db.options.clone(), 4), domains, Inline::new()).unwrap()
}

async fn migrate(db: &TestDb, host: &Foldlog) {
    migrations::up(
        &mut db.connect().await,
        host.pool.schema(),
        &host.views,
        host.inline(),
    )
    .await
    .unwrap();
}

async fn get(host: &Foldlog, account: Uuid) -> Value {
    let view = host.view("ledger").unwrap();
    let row = query::get(host, view, AggregateId(account), Consistency::Eventual)
        .await
        .unwrap();
    serde_json::from_str(row.json().get()).unwrap()
}

async fn list(host: &Foldlog) -> Result<usize, QueryError> {
    let view = host.view("ledger").unwrap();
    let page = first_page(host, view).await?;
    Ok(page.rows.len())
}

async fn catch_up(host: &Foldlog) {
    let view = host.view("ledger").unwrap();
    projection::catch_up(&host.pool, view, 100, &Budget::default())
        .await
        .unwrap();
}

/// Fails when old or new code reads a row of the other definition, when one of them fails where the events alone give the answer,
/// or when a table goes away that running code needs.
#[tokio::test]
async fn old_and_new_code_read_their_own_generations() {
    let db = TestDb::new().await;
    let accounts = some_accounts(&db, 10).await;
    let account = accounts[3];
    db.catch_up("ledger").await;
    let (old, new) = (host(&db, DOMAINS), host(&db, NEW));
    let of_old = |version: i32, deposits: i64| json!({"id": account, "version": version, "deposits": deposits, "last_version": version});
    let of_new =
        |version: i32, total: i64| json!({"id": account, "version": version, "total_cents": total});

    // New code before `migrate up`, and after it.
    assert_eq!(get(&new, account).await, of_new(4, 3));
    migrate(&db, &new).await;
    migrate(&db, &new).await;
    catch_up(&new).await;
    assert_eq!(get(&new, account).await, of_new(4, 3));
    assert!(matches!(
        list(&new).await,
        Err(QueryError::NotReprojected("ledger"))
    ));
    assert_eq!(get(&old, account).await, of_old(4, 3));
    assert_eq!(list(&old).await.unwrap(), 10);

    append(&old, &[deposited(account, 5)]).await;
    assert_eq!(get(&old, account).await, of_old(4, 3));
    catch_up(&old).await;
    assert_eq!(get(&old, account).await, of_old(5, 4));

    let reached = reproject_to_the_end(&new, "ledger").await;
    assert_eq!(reached.generation, 2);
    for host in [&new, &host(&db, NEW)] {
        assert_eq!(get(host, account).await, of_new(5, 8));
        assert_eq!(list(host).await.unwrap(), 10);
    }
    let mut connection = db.connect().await;
    let live = new.view("ledger").unwrap().current();
    assert_eq!(live.lock_domain(), "ledger#2");
    assert_equals_fold(&mut connection, &live).await;
    let index = "select count(*) from pg_indexes where tablename = 'ledger#2' and indexname in ('ledger_pkey#2', 'ledger_total_cents_idx#2')";
    assert_eq!(db.count(index).await, 2);

    // Old code goes on, whether it was there before or starts again.
    append(&new, &[deposited(account, 5)]).await;
    catch_up(&new).await;
    for host in [&old, &host(&db, DOMAINS)] {
        catch_up(host).await;
        assert_eq!(get(host, account).await, of_old(6, 5));
        assert_eq!(list(host).await.unwrap(), 10);
    }
    migrate(&db, &old).await;
    migrate(&db, &new).await;
    assert_eq!(get(&new, account).await, of_new(6, 13));
    assert_eq!(
        db.count("select count(*) from views where projection = 'ledger'")
            .await,
        2
    );

    // Without a sign of old code the new code drops its table.
    db.run("update views set retired_at = retired_at - interval '2 hours', used_at = used_at - interval '2 hours'").await;
    catch_up(&new).await;
    assert_eq!(
        db.count("select count(*) from views where projection = 'ledger'")
            .await,
        1
    );
    for host in [&old, &host(&db, DOMAINS)] {
        assert_eq!(get(host, account).await, of_old(6, 5), "from the events");
        assert!(matches!(
            list(host).await,
            Err(QueryError::NotReprojected("ledger"))
        ));
        catch_up(host).await;
    }
    // A reprojection of the old code brings its generation back.
    migrate(&db, &old).await;
    assert_eq!(reproject_to_the_end(&old, "ledger").await.generation, 3);
    assert_eq!(list(&old).await.unwrap(), 10);
    assert_eq!(get(&new, account).await, of_new(6, 13));
    let entry = Entry {
        deposits: 5,
        last_version: 6,
    };
    assert_eq!(
        serde_json::to_value(entry).unwrap()["deposits"],
        get(&old, account).await["deposits"]
    );
}
