//! What a domain author writes: the rules and the fold of one bounded context, and projections over its events.
//!
//! All of it is pure and synchronous: no clock, no I/O, no SQL. Time and ids arrive with the event, so a fold gives the
//! same view today, in a year, and on another machine.

mod erased;
mod fold;
mod own_view;
mod prepare;
mod registry;
mod rejected;
mod rules;
mod schema_names;
mod spec;

use std::borrow::Cow;

use serde::Serialize;
use serde::de::DeserializeOwned;
use utoipa::ToSchema;

pub use self::erased::{AnyDomain, AnyProjection, domain, projection};
pub(crate) use self::fold::decode;
pub use self::fold::{AnyFold, FoldError, FoldErrorKind, Folded};
pub(crate) use self::prepare::prepare;
pub(crate) use self::registry::is_reserved;
pub use self::registry::{Domains, check_blocks};
pub use self::rejected::RejectedError;
pub use self::rules::Rules;
pub(crate) use self::schema_names::{find_ambiguous, schema_names};
pub use self::spec::Spec;
use crate::event::{AggregateId, Event, Payload};

/// What the file of a domain imports.
///
/// It re-exports the derives of serde and utoipa. A crate that has no `serde` among its own dependencies names the path
/// of foldlog's in each of its derives, because serde's derive looks for the crate `serde` otherwise:
///
/// ```
/// use foldlog::domain::prelude::*;
///
/// #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
/// #[serde(crate = "foldlog::serde")]
/// pub struct Account {
///     owner: String,
/// }
/// ```
pub mod prelude {
    pub use serde::{Deserialize, Serialize};
    pub use utoipa::{self, ToSchema};

    pub use super::{Domain, FoldError, Projection, Rules, SetRule, Spec};
    pub use crate::event::{
        AggregateId, Event, EventId, NewEvent, Password, Payload, Secret, TypeId, Version,
    };
    pub use crate::events;
    pub use crate::rules;
}

/// One bounded context: its events, its rules, its state, and the view that shows the state.
///
/// A domain has one file with everything in it, and one word in a list ([`domains!`](crate::domains!)):
///
/// ```
/// use foldlog::domain::prelude::*;
///
/// events! {
///     /// What can happen to an account. The block 2000–2999 is reserved for this domain.
///     pub enum AccountEvent in 2000..3000 {
///         2000 => Opened { owner: String },
///         2001 => Deposited { cents: i64 },
///         2002 => Closed {},
///     }
/// }
///
/// /// An account and what is on it.
/// #[derive(Debug, PartialEq, Serialize, Deserialize, ToSchema)]
/// pub struct Account {
///     owner: String,
///     balance_cents: i64,
/// }
///
/// rules! {
///     /// Why an event is rejected; the client sees the text, and the name in snake case.
///     #[derive(Debug, PartialEq, thiserror::Error)]
///     pub enum AccountError {
///         #[error("the account is already open")]
///         AlreadyOpen,
///         #[error("there is no open account")]
///         NotOpen,
///     }
/// }
///
/// #[derive(Debug)]
/// pub struct Accounts;
///
/// impl Domain for Accounts {
///     const NAME: &'static str = "accounts";
///     const VIEW: &'static str = "create table accounts (id uuid primary key, version integer not null,
///         owner text not null, balance_cents bigint not null)";
///     type Event = AccountEvent;
///     type State = Account;
///     type Error = AccountError;
///
///     fn check(account: Option<&Account>, event: &AccountEvent) -> Result<(), AccountError> {
///         match (account, event) {
///             (Some(_), AccountEvent::Opened { .. }) => Err(AccountError::AlreadyOpen),
///             (None, AccountEvent::Deposited { .. } | AccountEvent::Closed {}) => Err(AccountError::NotOpen),
///             _ => Ok(()),
///         }
///     }
///
///     fn apply(account: Option<Account>, event: &AccountEvent) -> Option<Account> {
///         match event {
///             AccountEvent::Opened { owner } => Some(Account { owner: owner.clone(), balance_cents: 0 }),
///             AccountEvent::Deposited { cents } => {
///                 account.map(|a| Account { balance_cents: a.balance_cents + cents, ..a })
///             }
///             AccountEvent::Closed {} => None,
///         }
///     }
/// }
///
/// Spec::<Accounts>::given([AccountEvent::Opened { owner: "ada".to_owned() }])
///     .when(AccountEvent::Deposited { cents: 5 })
///     .then(Some(Account { owner: "ada".to_owned(), balance_cents: 5 }));
/// ```
pub trait Domain: 'static {
    /// The name of the route, of the view table and of the lock domain. A lower-case SQL identifier of at most 40 bytes.
    const NAME: &'static str;
    /// The DDL of the view table: `id uuid primary key, version integer not null`, and one column for each field of
    /// [`Self::State`]. A view is disposable, so this is not a migration; see `ARCHITECTURE.md` on how it may change.
    const VIEW: &'static str;
    /// Rules over all rows of the view. Only a view that is folded inline enforces them.
    const SET_RULES: &'static [SetRule] = &[];
    /// Increase it when you change the fold in a way that examples of the events do not show; foldlog then reports that the view has to
    /// be reprojected, as it does by itself when the examples show it.
    const FOLD_VERSION: u32 = 1;
    /// The column of the view by which people recognize a row, such as a name. The OpenAPI document says so to the console.
    const TITLE: Option<&'static str> = None;
    /// Set it when [`Self::check`] never looks at the state. Appends then always take one round trip, but nothing
    /// prevents events after the one that ended an aggregate.
    const STATELESS: bool = false;
    /// The events, declared with [`events!`](crate::events).
    type Event: Payload;
    /// What the rules see, and one row of the view: a struct whose fields are the columns of the view.
    type State: Serialize + DeserializeOwned + ToSchema + Send + 'static;
    /// Why an event is rejected, declared with [`rules!`](crate::rules). The client sees the text and the name.
    type Error: Rules;

    /// Checks an event by itself, independent of what came before it. The client gets an error as a 422: it has to send
    /// a different event.
    ///
    /// Only new events are validated, so a rule may become stricter without making the log unreadable.
    ///
    /// # Errors
    ///
    /// Why the event is rejected.
    fn validate(aggregate_id: AggregateId, event: &Self::Event) -> Result<(), Self::Error> {
        let _ = (aggregate_id, event);
        Ok(())
    }

    /// The JSON pointer (RFC 6901) to the field of the payload that [`Self::validate`] rejected with this error, such as
    /// `/email`; empty, the default, when no single field is wrong.
    fn pointer(error: &Self::Error) -> Cow<'static, str> {
        let _ = error;
        Cow::Borrowed("")
    }

    /// Checks an event against the aggregate's current state; `None` means that the aggregate does not exist. The client
    /// gets an error as a 409: the same event may be accepted later. An aggregate whose fold ended in `None` is deleted,
    /// and its events are rejected with a 410 before this function is called, except those that [`Self::may_follow_end`].
    ///
    /// # Errors
    ///
    /// Why the event is rejected.
    fn check(state: Option<&Self::State>, event: &Self::Event) -> Result<(), Self::Error>;

    /// One step of the fold; `None` ends the aggregate and removes its row. It cannot fail, because a recorded event has
    /// happened.
    fn apply(state: Option<Self::State>, event: &Self::Event) -> Option<Self::State>;

    /// Whether this event may follow the one that ended the aggregate, such as the restoration of something deleted. It is
    /// then accepted without [`Self::check`], and [`Self::apply`] begins with `None`. By default no event may.
    fn may_follow_end(event: &Self::Event) -> bool {
        let _ = event;
        false
    }

    /// The events that bring an aggregate from its current state back to `target`, an earlier one; `current` is `None` when
    /// the aggregate has ended. They are checked like the events of a client. What no event can bring back, such as a
    /// password, does not change. `None`, the default: the domain does not revert this aggregate.
    fn revert(current: Option<&Self::State>, target: &Self::State) -> Option<Vec<Self::Event>> {
        let _ = (current, target);
        None
    }
}

/// A fold of events into a view. Each [`Domain`] has one for its own view; further projections over the same events have
/// their own name, table and pace.
///
/// ```
/// use foldlog::domain::prelude::*;
/// use foldlog::domains::users::UserEvent;
///
/// /// How often each user was renamed.
/// #[derive(Debug, Serialize, Deserialize, ToSchema)]
/// pub struct Renames {
///     count: i32,
/// }
///
/// #[derive(Debug)]
/// pub struct RenameCounter;
///
/// impl Projection for RenameCounter {
///     const NAME: &'static str = "renames";
///     const VIEW: &'static str =
///         "create table renames (id uuid primary key, version integer not null, count integer not null)";
///     type Event = UserEvent;
///     type Row = Renames;
///
///     fn apply(row: Option<Renames>, event: &Event<UserEvent>) -> Result<Option<Renames>, FoldError> {
///         let count = row.map_or(0, |row| row.count);
///         let renamed = matches!(event.payload, UserEvent::UsernameChanged { .. });
///         Ok(Some(Renames { count: count + i32::from(renamed) }))
///     }
/// }
///
/// let domains = foldlog::domains![foldlog::domains::users::Users; projections: RenameCounter];
/// ```
pub trait Projection: 'static {
    /// The name of the view table and of the lock domain. A lower-case SQL identifier.
    const NAME: &'static str;
    /// The DDL of the view table, as in [`Domain::VIEW`].
    const VIEW: &'static str;
    /// Rules over all rows of the view. Only a view that is folded inline enforces them.
    const SET_RULES: &'static [SetRule] = &[];
    /// Increase it when you change the fold in a way that examples of the events do not show; foldlog then reports that the view has to
    /// be reprojected, as it does by itself when the examples show it.
    const FOLD_VERSION: u32 = 1;
    /// The events that it folds.
    type Event: Payload;
    /// One row of the view: a struct whose fields are the columns of the view.
    type Row: Serialize + DeserializeOwned + ToSchema + Send + 'static;

    /// One step of the fold; `None` removes the row. An error or a panic parks the aggregate.
    ///
    /// # Errors
    ///
    /// Why the event cannot be folded. The text is stored with the parked aggregate; leave payload values out of it.
    fn apply(
        row: Option<Self::Row>,
        event: &Event<Self::Event>,
    ) -> Result<Option<Self::Row>, FoldError>;
}

/// A rule over all rows of a view, enforced by a unique index. It holds only where the view is folded inline, in the
/// append's own transaction, where the index rejects the append. Elsewhere the index is left out, because a later fold
/// could only park the second aggregate.
///
/// ```
/// # use foldlog::domain::SetRule;
/// const UNIQUE_EMAIL: SetRule = SetRule {
///     name: "users_email_key",
///     unique_on: "(lower(email))",
///     message: "the e-mail address is taken by another user",
/// };
/// ```
#[derive(Clone, Copy, Debug)]
pub struct SetRule {
    /// The name of the unique index.
    pub name: &'static str,
    /// What is unique: the part of `create unique index … on …` behind the table's name, with its parentheses.
    pub unique_on: &'static str,
    /// What the client is told when the rule rejects its event (409).
    pub message: &'static str,
}

impl SetRule {
    /// Whether an index with this name enforces the rule: that of a later generation of the view has a number at its end.
    pub(crate) fn is_enforced_by(&self, index: &str) -> bool {
        index.split('#').next() == Some(self.name)
    }

    /// Whether the rule is about this column.
    pub(crate) fn mentions(&self, column: &str) -> bool {
        let identifier = |c: char| c.is_ascii_alphanumeric() || c == '_';
        self.unique_on
            .split(|c| !identifier(c))
            .any(|word| word == column)
    }
}

/// A list of domains, and of projections beside the domains' own views.
///
/// Two domains with the same block of type ids, or with the same name, do not compile.
///
/// ```
/// use foldlog::domain::Domains;
/// use foldlog::domains::users::Users;
///
/// pub const ALL: Domains = foldlog::domains![Users];
///
/// let names: Vec<&str> = foldlog::domains![Users].iter().map(|domain| domain.name()).collect();
/// assert_eq!(names, ["users"]);
/// ```
#[macro_export]
macro_rules! domains {
    ($($domain:ty),* $(,)? $(; projections: $($projection:ty),* $(,)?)?) => {
        {
            // Constants, so that the slices live for ever wherever the list is written.
            const DOMAINS: &[&dyn $crate::domain::AnyDomain] = &[$( $crate::domain::domain::<$domain>() ),*];
            const PROJECTIONS: &[&dyn $crate::domain::AnyProjection] =
                &[$( $( $crate::domain::projection::<$projection>() ),* )?];
            const _: () = $crate::domain::check_blocks(&[$(
                (
                    <$domain as $crate::domain::Domain>::NAME,
                    <<$domain as $crate::domain::Domain>::Event as $crate::event::Payload>::BLOCK,
                )
            ),*]);
            $crate::domain::Domains::new(DOMAINS, PROJECTIONS)
        }
    };
}
