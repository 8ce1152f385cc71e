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

/// What the rules see, and one row of the view.
#[derive(Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Account {
    owner: String,
    balance_cents: i64,
}

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
    print!("{}", story());
}

/// What becomes of an account when these events are sent.
pub fn story() -> String {
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
    let (mut taken, mut story) = (Vec::new(), String::new());
    for event in sent {
        let type_id = event.type_id();
        let before = Spec::<Accounts>::given(taken.clone());
        let line = match Accounts::check(before.state(), &event) {
            Ok(()) => {
                taken.push(event);
                let after = Spec::<Accounts>::given(taken.clone());
                format!("{type_id} taken: {:?}\n", after.state())
            }
            Err(refused) => format!("{type_id} refused: {refused}\n"),
        };
        story.push_str(&line);
    }
    story
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
