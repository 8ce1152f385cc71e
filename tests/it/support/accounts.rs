//! The domain of `examples/add_a_domain.rs`, as a user of the library would write it, and a second projection over its events
//! whose fold can be made to fail.

use std::collections::BTreeSet;
use std::sync::Mutex;

use foldlog::domain::FoldError;
use foldlog::domain::prelude::*;
use foldlog::event::Event;
use uuid::Uuid;

pub use self::example::{AccountEvent, Accounts};

#[expect(dead_code, reason = "the example's main function")]
#[path = "../../../examples/add_a_domain.rs"]
pub mod example;

/// Added to the view's table in the tests: Postgres refuses to write a balance of a million or more.
pub const BALANCE_CHECK: &str =
    "alter table accounts add constraint accounts_rich_check check (balance_cents < 1000000)";

/// The number of deposits and the last version of each account: another view of the same events. The fold of a deposit of
/// 13 cents fails and that of 1313 cents panics, until [`make_foldable`] is called for the account.
pub struct Ledger;

static FOLDABLE: Mutex<BTreeSet<AggregateId>> = Mutex::new(BTreeSet::new());

/// From now on every event of this account can be folded. Per account, because tests run in parallel.
pub fn make_foldable(account: Uuid) {
    FOLDABLE.lock().unwrap().insert(AggregateId(account));
}

/// From now on events of this account cannot be folded any more.
pub fn make_unfoldable(account: Uuid) {
    FOLDABLE.lock().unwrap().remove(&AggregateId(account));
}

fn is_foldable(account: AggregateId) -> bool {
    FOLDABLE.lock().unwrap().contains(&account)
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Entry {
    pub deposits: i64,
    pub last_version: i32,
}

impl Projection for Ledger {
    const NAME: &'static str = "ledger";
    const VIEW: &'static str = "create table ledger (id uuid primary key, version integer not null, deposits bigint not null, \
                                last_version integer not null)";
    type Event = AccountEvent;
    type Row = Entry;

    fn apply(row: Option<Entry>, event: &Event<AccountEvent>) -> Result<Option<Entry>, FoldError> {
        let row = row.unwrap_or(Entry {
            deposits: 0,
            last_version: 0,
        });
        let deposits = match &event.payload {
            AccountEvent::Deposited { cents: 13 } if !is_foldable(event.aggregate_id) => {
                return Err(FoldError::new("a deposit of 13 cents cannot be folded"));
            }
            AccountEvent::Deposited { cents: 1313 } if !is_foldable(event.aggregate_id) => {
                panic!("the fold panics");
            }
            AccountEvent::Deposited { .. } => row.deposits + 1,
            AccountEvent::Opened { .. } | AccountEvent::Closed {} => row.deposits,
        };
        Ok(Some(Entry {
            deposits,
            last_version: event.version.0,
        }))
    }
}
