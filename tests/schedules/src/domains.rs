//! The domains that the hosts of a schedule serve, in two lists: only users, or also accounts and their ledger.

use foldlog::domain::prelude::*;
use foldlog::domain::{Domains, FoldError};
use foldlog::domains::users::Users;
use foldlog::event::Event;

pub use self::example::{AccountEvent, Accounts};

#[expect(
    dead_code,
    reason = "the example's main function and its list of domains"
)]
#[path = "../../../examples/add_a_domain.rs"]
mod example;

/// A deposit of this amount cannot be folded into the ledger: the fold returns an error.
pub const UNFOLDABLE_DEPOSIT_SIZE: i64 = 13;
/// A deposit of this amount cannot be folded into the ledger: the fold panics.
pub const PANICKING_DEPOSIT_SIZE: i64 = 1313;

/// Users only.
pub const FEW: Domains = foldlog::domains![Users];
/// Users, accounts, and the ledger of the accounts.
pub const ALL: Domains = foldlog::domains![Users, Accounts; projections: Ledger];

/// The number of deposits and the last version of each account. Folding an event twice changes the row.
#[derive(Debug)]
pub struct Ledger;

/// A row of the ledger.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Entry {
    deposits: i64,
    last_version: i32,
}

impl Projection for Ledger {
    const NAME: &'static str = "ledger";
    const VIEW: &'static str = "create table ledger (id uuid primary key, version integer not null,
        deposits bigint not null, last_version integer not null)";
    type Event = AccountEvent;
    type Row = Entry;

    fn apply(row: Option<Entry>, event: &Event<AccountEvent>) -> Result<Option<Entry>, FoldError> {
        let mut row = row.unwrap_or_default();
        row.last_version = event.version.0;
        match &event.payload {
            AccountEvent::Deposited { cents } if *cents == UNFOLDABLE_DEPOSIT_SIZE => {
                return Err(FoldError::new("this deposit cannot be folded"));
            }
            AccountEvent::Deposited { cents } => {
                assert_ne!(
                    *cents, PANICKING_DEPOSIT_SIZE,
                    "the fold of this deposit panics"
                );
                row.deposits += 1;
            }
            AccountEvent::Opened { .. } | AccountEvent::Closed {} => {}
        }
        Ok(Some(row))
    }
}
