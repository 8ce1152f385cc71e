//! The whole of a new domain. In a project it is a file in `src/domains/` and one word in the list of
//! `src/domains/mod.rs`; nothing else knows of it, and the routes, the view and the catch-up are there.
//!
//! `cargo run --example add_a_domain` plays with it, without a database: rules and fold are pure.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

// The domain begins.
use foldlog::domain::prelude::*;

events! {
    /// What can happen to an account. The block 2000–2999 is reserved for this domain.
    pub enum AccountEvent in 2000..3000 {
        2000 => Opened { owner: String },
        2001 => Deposited { cents: i64 },
        2002 => Closed {},
    }
}

/// An account and what is on it.
#[derive(Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Account {
    owner: String,
    balance_cents: i64,
}

rules! {
    /// Why an event is rejected; the client sees the text.
    #[derive(Debug, PartialEq, thiserror::Error)]
    pub enum AccountError {
        /// Opened twice.
        #[error("the account is already open")]
        AlreadyOpen,
        /// Used before it was opened, or after it was closed.
        #[error("there is no open account")]
        NotOpen,
    }
}

/// The domain of accounts.
#[derive(Debug)]
pub struct Accounts;

impl Domain for Accounts {
    const NAME: &'static str = "accounts"; // the route, the view table and the lock domain
    const VIEW: &'static str =
        "create table accounts (id uuid primary key, version integer not null,
        owner text not null, balance_cents bigint not null)";
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
// The domain ends.

/// The one line: in a project this is `src/domains/mod.rs`, with `users::Users` before it.
pub const ALL: foldlog::domain::Domains =
    foldlog::domains![foldlog::domains::users::Users, Accounts];

fn main() {
    print!("{}", transcript());
}

/// Sends events to one account, and says which of them the rules accept.
pub fn transcript() -> String {
    let sent = [
        AccountEvent::Deposited { cents: 5 },
        AccountEvent::Opened {
            owner: "ada".to_owned(),
        },
        AccountEvent::Deposited { cents: 1250 },
        AccountEvent::Opened {
            owner: "bob".to_owned(),
        },
        AccountEvent::Closed {},
    ];
    let (mut accepted, mut transcript) = (Vec::new(), String::new());
    for event in sent {
        let type_id = event.type_id();
        let before = Spec::<Accounts>::given(accepted.clone());
        let line = match Accounts::check(before.state(), &event) {
            Ok(()) => {
                accepted.push(event);
                let after = Spec::<Accounts>::given(accepted.clone());
                format!("{type_id} accepted: {:?}\n", after.state())
            }
            Err(error) => format!("{type_id} rejected: {error}\n"),
        };
        transcript.push_str(&line);
    }
    transcript
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_open_account_takes_deposits() {
        let opened = || AccountEvent::Opened {
            owner: "ada".to_owned(),
        };
        let deposited = |cents| AccountEvent::Deposited { cents };
        let account = |balance_cents| Account {
            owner: "ada".to_owned(),
            balance_cents,
        };
        Spec::<Accounts>::given([opened(), deposited(3)])
            .when(deposited(4))
            .then(Some(account(7)));
        Spec::<Accounts>::given([])
            .when(deposited(4))
            .then_rejected("there is no open account");
        Spec::<Accounts>::given([opened()])
            .when(AccountEvent::Closed {})
            .then(None);
    }
}
