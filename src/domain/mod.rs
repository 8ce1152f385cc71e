//! What a domain author writes: the rules and the fold of one bounded context, and projections over its events.
//!
//! All of it is pure and synchronous: no clock, no I/O, no SQL. Time and ids come in with the event, so a fold gives the
//! same view today, in a year, and on another machine. (The idea is esrs': "this trait is purposefully synchronous".)

mod erased;
mod spec;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::erased::{
    AnyDomain, AnyProjection, Domains, Folded, Refusal, check_blocks, domain, projection,
};
pub use self::spec::Spec;
use crate::event::{AggregateId, Event, Payload};

/// What a domain's file imports.
pub mod prelude {
    pub use serde::{Deserialize, Serialize};

    pub use super::{Domain, Projection, SetRule, Spec};
    pub use crate::event::{
        AggregateId, Event, NewEvent, Password, Payload, Secret, TypeId, Version,
    };
    pub use crate::events;
}

/// One bounded context: its events, its rules, its state, and the view that shows the state.
///
/// The whole of a domain is in the crate's documentation; the list it goes into is in `src/domains/mod.rs`.
pub trait Domain: 'static {
    /// The route, the view table and the lock domain. A lower-case SQL identifier.
    const NAME: &'static str;
    /// The DDL of the view table: `id uuid primary key, version integer not null`, and a column a field of
    /// [`Self::State`]. A view is disposable, so this is no migration; see `ARCHITECTURE.md` on how it may change.
    const VIEW: &'static str;
    /// Set-wide rules on the view, which only an inline projection can promise.
    const SET_RULES: &'static [SetRule] = &[];
    /// Whether [`Self::check`] never looks at the state. Appends then take one round trip always, but nothing stops
    /// events after the one that ended an aggregate.
    const STATELESS: bool = false;
    /// The events, declared with [`events!`](crate::events).
    type Event: Payload;
    /// What the rules see, and one row of the view: a struct whose fields are the view's columns.
    type State: Serialize + DeserializeOwned + Clone + Send + 'static;
    /// Why an event is refused; its text is shown to the client.
    type Refused: std::error::Error + Send + Sync + 'static;

    /// What must hold of an event by itself, whatever came before it. A refusal is the client's mistake (422).
    ///
    /// Only new events are asked, so a rule may be made stricter without making the log unreadable.
    ///
    /// # Errors
    ///
    /// Why the event is refused.
    fn validate(aggregate_id: AggregateId, event: &Self::Event) -> Result<(), Self::Refused> {
        let _ = (aggregate_id, event);
        Ok(())
    }

    /// Whether the event may follow: `None` is an aggregate that does not exist. A refusal is a conflict (409). An
    /// aggregate whose fold has ended in `None` is deleted, and answers 410 before this is asked.
    ///
    /// # Errors
    ///
    /// Why the event is refused.
    fn check(state: Option<&Self::State>, event: &Self::Event) -> Result<(), Self::Refused>;

    /// One step of the fold; `None` ends the aggregate and removes its row. Total: what was recorded did happen.
    fn apply(state: Option<Self::State>, event: &Self::Event) -> Option<Self::State>;
}

/// Anything that folds events into a view. Each [`Domain`] is one; others over the same events have a name, a table and
/// a pace of their own.
pub trait Projection: 'static {
    /// The view table and the lock domain. A lower-case SQL identifier.
    const NAME: &'static str;
    /// The DDL of the view table, as in [`Domain::VIEW`].
    const VIEW: &'static str;
    /// Set-wide rules on the view, which only an inline projection can promise.
    const SET_RULES: &'static [SetRule] = &[];
    /// What identifies a row of the view.
    const KEY: ViewKey = ViewKey::Aggregate;
    /// The events it folds.
    type Event: Payload;
    /// One row of the view: a struct whose fields are the view's columns.
    type Row: Serialize + DeserializeOwned + Send + 'static;

    /// One step of the fold; `None` removes the row. An error or a panic parks the aggregate.
    ///
    /// # Errors
    ///
    /// Why the event cannot be folded. The text is kept with the parked aggregate for whoever mends it; leave payload
    /// values out of it.
    fn apply(
        row: Option<Self::Row>,
        event: &Event<Self::Event>,
    ) -> Result<Option<Self::Row>, Unfoldable>;
}

impl<D: Domain> Projection for D {
    const NAME: &'static str = <D as Domain>::NAME;
    const VIEW: &'static str = <D as Domain>::VIEW;
    const SET_RULES: &'static [SetRule] = <D as Domain>::SET_RULES;
    type Event = D::Event;
    type Row = D::State;

    fn apply(
        row: Option<D::State>,
        event: &Event<D::Event>,
    ) -> Result<Option<D::State>, Unfoldable> {
        Ok(<D as Domain>::apply(row, &event.payload))
    }
}

/// What identifies a row of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ViewKey {
    /// One row an aggregate: `id` is the aggregate's id.
    Aggregate,
}

/// A rule over all rows of a view, kept by a unique index. It holds only where the projection is folded inline, in the
/// append's own transaction: the index then refuses the append. Folded later it could only park the second aggregate,
/// so elsewhere the index is left out.
#[derive(Clone, Copy, Debug)]
pub struct SetRule {
    /// The name of the index or constraint.
    pub name: &'static str,
    /// The statement that creates it.
    pub definition: &'static str,
    /// What the client is told when it refuses (409).
    pub refusal: &'static str,
}

/// Why an event cannot be folded.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unfoldable(Box<dyn std::error::Error + Send + Sync>);

impl Unfoldable {
    /// With the reason that is shown beside the parked aggregate.
    pub fn new(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(reason.into())
    }
}

/// A list of domains, and of projections beside the domains' own: `domains![Users, Accounts; projections: Ledger]`.
///
/// That two domains claim the same block of type ids, or that two share a name, does not compile.
#[macro_export]
macro_rules! domains {
    ($($domain:ty),* $(,)? $(; projections: $($projection:ty),* $(,)?)?) => {
        {
            const _: () = $crate::domain::check_blocks(&[$(
                (
                    <$domain as $crate::domain::Domain>::NAME,
                    <<$domain as $crate::domain::Domain>::Event as $crate::event::Payload>::BLOCK,
                )
            ),*]);
            $crate::domain::Domains::new(
                &[$( $crate::domain::domain::<$domain>() ),*],
                &[
                    $( $crate::domain::projection::<$domain>(), )*
                    $( $( $crate::domain::projection::<$projection>(), )* )?
                ],
            )
        }
    };
}
