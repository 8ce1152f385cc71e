//! Event sourcing and CQRS on one Postgres: commands append events, projections fold the log into views exactly once and
//! in order, queries read the views. No broker, no leader, no checkpoint.
//!
//! # A domain, appended to and read in process
//!
//! A domain says what can happen ([`events!`]), what is allowed ([`Domain::check`](domain::Domain::check)) and what follows
//! ([`Domain::apply`](domain::Domain::apply)). foldlog stores the events, runs the rules against the current state, and
//! maintains a table with one row per aggregate.
//!
//! ```no_run
//! use foldlog::Foldlog;
//! use foldlog::db::Pool;
//! use foldlog::domain::prelude::*;
//! use uuid::Uuid;
//!
//! events! {
//!     /// What can happen to an account. The block 2000–2999 of type ids is reserved for this domain.
//!     pub enum AccountEvent in 2000..3000 {
//!         2000 => Opened { owner: String },
//!         2001 => Deposited { cents: i64 },
//!     }
//! }
//!
//! /// An account and what is on it.
//! #[derive(Debug, PartialEq, Serialize, Deserialize, ToSchema)]
//! pub struct Account {
//!     owner: String,
//!     balance_cents: i64,
//! }
//!
//! rules! {
//!     /// Why an event is rejected; the client sees the text.
//!     #[derive(Debug, thiserror::Error)]
//!     pub enum AccountError {
//!         #[error("the account is already open")]
//!         AlreadyOpen,
//!         #[error("there is no open account")]
//!         NotOpen,
//!     }
//! }
//!
//! #[derive(Debug)]
//! pub struct Accounts;
//!
//! impl Domain for Accounts {
//!     const NAME: &'static str = "accounts";
//!     const VIEW: &'static str = "create table accounts (id uuid primary key, version integer not null,
//!         owner text not null, balance_cents bigint not null)";
//!     type Event = AccountEvent;
//!     type State = Account;
//!     type Error = AccountError;
//!
//!     fn check(account: Option<&Account>, event: &AccountEvent) -> Result<(), AccountError> {
//!         match (account, event) {
//!             (Some(_), AccountEvent::Opened { .. }) => Err(AccountError::AlreadyOpen),
//!             (None, AccountEvent::Deposited { .. }) => Err(AccountError::NotOpen),
//!             _ => Ok(()),
//!         }
//!     }
//!
//!     fn apply(account: Option<Account>, event: &AccountEvent) -> Option<Account> {
//!         match event {
//!             AccountEvent::Opened { owner } => Some(Account { owner: owner.clone(), balance_cents: 0 }),
//!             AccountEvent::Deposited { cents } => {
//!                 account.map(|a| Account { balance_cents: a.balance_cents + cents, ..a })
//!             }
//!         }
//!     }
//! }
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let pool = Pool::new("postgres://localhost/bank".parse()?, 10);
//! let foldlog = Foldlog::builder().domain::<Accounts>().build(pool)?;
//!
//! let ada = AggregateId(Uuid::now_v7());
//! foldlog.append::<Accounts>(ada, [AccountEvent::Opened { owner: "ada".to_owned() }]).await?;
//! foldlog.append::<Accounts>(ada, [AccountEvent::Deposited { cents: 500 }]).await?;
//! let (account, version) = foldlog.get::<Accounts>(ada).strong().await?.ok_or("not found")?;
//! assert_eq!((account.balance_cents, version), (500, Version(2)));
//! # Ok(())
//! # }
//! ```
//!
//! [`migrations::up`] creates the tables. A [`projection::Listener`], or the program `listener`, keeps the rows up to date; a
//! strong read does not depend on it, because it folds newer events on top of the row.
//!
//! # Where to read on
//!
//! 1. [`domain`]: writing domains and projections, and testing them with [`Spec`](domain::Spec). [`event`] has the types that
//!    their signatures name, among them [`Secret`](event::Secret) and [`Password`](event::Password).
//! 2. [`Foldlog`]: [append](Foldlog::append), [get](Foldlog::get), [list](Foldlog::list), and an append in
//!    [your own transaction](Append::in_transaction).
//! 3. [`hosts`]: the programs that serve the domains, one line each, on a server or on AWS Lambda. [`http::router`]: the same
//!    routes inside a server of your own.
//! 4. [`testing`]: a migrated database for each test.
//! 5. [`projection`]: the argument that foldlog loses no event and folds none twice, with the name of the test of each step.
//!
//! The repository's `docs/guides` has the same as a tutorial, `examples/embed` is a complete crate that builds on foldlog, and
//! `ARCHITECTURE.md` is the map of the code with its invariants. The other modules are the parts that foldlog itself is
//! composed of.
//!
//! # Cargo features
//!
//! | feature | what it adds |
//! | --- | --- |
//! | none | the library, and the hosts `listener` and `migrate` |
//! | `local` (default) | the host `local`, which finds, downloads or starts a Postgres, and [`testing`] |
//! | `lambda` | the hosts on AWS Lambda; enables `aws` |
//! | `aws` | database logins from Secrets Manager or IAM |
//! | `users` (default) | the example domain [`mod@domains`], and the programs that serve it |

mod app;
#[cfg(feature = "aws")]
pub mod aws;
pub mod client;
pub mod command;
pub mod config;
pub mod db;
pub mod domain;
#[cfg(feature = "users")]
pub mod domains;
pub mod event;
pub mod hosts;
pub mod http;
#[cfg(feature = "lambda")]
pub mod lambda;
#[cfg(feature = "local")]
pub mod local;
pub mod migrations;
pub mod operate;
pub mod projection;
pub mod query;
pub mod run;
pub mod state;
pub mod store;
pub mod telemetry;
#[cfg(feature = "local")]
pub mod testing;
mod typed;
pub mod view;

// `events!` refers to this crate as `foldlog`, in the example domain and in unit tests as elsewhere.
#[cfg(any(test, feature = "users"))]
extern crate self as foldlog;

pub use self::app::{
    BuildError, Foldlog, FoldlogBuilder, NotServedError, STATE_CACHE_BYTES, Served,
};
pub use self::typed::{Append, Feed, Get, History, List, PastEvent, RevertTo, Row, Rows};
pub use serde;
pub use utoipa;

/// The crates that the macros refer to.
#[doc(hidden)]
pub mod __private {
    pub use serde;
    pub use serde_json;
    pub use utoipa;
}
