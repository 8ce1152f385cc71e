//! A domain that lives only in the tests, as a user of the library would write it; and a second projection over its
//! events. Its fold can be made to fail, which that of users cannot.

use std::collections::BTreeSet;
use std::sync::Mutex;

use foldlog::domain::FoldError;
use foldlog::domain::prelude::*;
use foldlog::event::Event;
use uuid::Uuid;

events! {
    /// What can happen to an account.
    pub enum AccountEvent in 2000..3000 {
        2000 => Opened { owner: String },
        2001 => Deposited { cents: i64 },
        2002 => Closed {},
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Account {
    pub owner: String,
    pub balance_cents: i64,
}

#[derive(Debug, PartialEq, thiserror::Error)]
pub enum AccountError {
    #[error("the account is already open")]
    AlreadyOpen,
    #[error("there is no open account")]
    NotOpen,
}

pub struct Accounts;

impl Domain for Accounts {
    const NAME: &'static str = "accounts";
    // A balance above a million cannot be written: a write that the database refuses.
    const VIEW: &'static str = "create table accounts (id uuid primary key, version integer not null, owner text not null, \
                                balance_cents bigint not null, constraint accounts_rich_check check (balance_cents < 1000000))";
    type Event = AccountEvent;
    type State = Account;
    type Error = AccountError;

    fn check(account: Option<&Account>, event: &AccountEvent) -> Result<(), AccountError> {
        match (account, event) {
            (Some(_), AccountEvent::Opened { .. }) => Err(AccountError::AlreadyOpen),
            (None, AccountEvent::Deposited { .. } | AccountEvent::Closed {}) => {
                Err(AccountError::NotOpen)
            }
            _ => Ok(()),
        }
    }

    fn apply(account: Option<Account>, event: &AccountEvent) -> Option<Account> {
        match event {
            AccountEvent::Opened { owner } => Some(Account {
                owner: owner.clone(),
                balance_cents: 0,
            }),
            AccountEvent::Deposited { cents } => account.map(|a| Account {
                balance_cents: a.balance_cents + cents,
                ..a
            }),
            AccountEvent::Closed {} => None,
        }
    }
}

/// How much was deposited and when last: another view of the same events. A deposit of 13 cents fails to fold and one of
/// 1313 panics, until the account is [`mend`]ed.
pub struct Ledger;

static MENDED: Mutex<BTreeSet<AggregateId>> = Mutex::new(BTreeSet::new());

/// From now on every event of this account can be folded. By account, because tests run beside each other.
pub fn mend(account: Uuid) {
    MENDED.lock().unwrap().insert(AggregateId(account));
}

/// Whether this account's luck has turned.
fn is_mended(account: AggregateId) -> bool {
    MENDED.lock().unwrap().contains(&account)
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
            AccountEvent::Deposited { cents: 13 } if !is_mended(event.aggregate_id) => {
                return Err(FoldError::new("thirteen cents bring bad luck"));
            }
            AccountEvent::Deposited { cents: 1313 } if !is_mended(event.aggregate_id) => {
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
