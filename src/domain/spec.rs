//! Given these events, when this one is sent, then … : tests of a domain, without a database.
//!
//! The three steps are three types, so a specification that says nothing does not compile. (Learnt from cqrs-es' test
//! framework and disintegrate's typestate harness.)

use std::fmt::Debug;
use std::marker::PhantomData;

use super::Domain;
use crate::event::AggregateId;

/// The beginning of a specification of the domain `D`.
///
/// ```
/// # use foldlog::domain::prelude::*;
/// use foldlog::domains::users::{UserEvent, Users};
///
/// Spec::<Users>::given([])
///     .when(UserEvent::UsernameChanged { username: "ada".to_owned() })
///     .then_refused("the user does not exist");
/// ```
#[derive(Debug)]
pub struct Spec<D: Domain>(PhantomData<fn() -> D>);

/// What has happened.
#[derive(Debug)]
pub struct Given<D: Domain> {
    aggregate_id: AggregateId,
    state: Option<D::State>,
    ended: bool,
}

/// What is sent, and what the rules said.
#[derive(Debug)]
pub struct When<D: Domain> {
    outcome: Result<Option<D::State>, String>,
}

impl<D: Domain> Spec<D> {
    /// These events are recorded, without asking the rules: what was recorded did happen. The aggregate is the nil id.
    pub fn given(events: impl IntoIterator<Item = D::Event>) -> Given<D> {
        Self::given_of(AggregateId(uuid::Uuid::nil()), events)
    }

    /// The same, of an aggregate with this id.
    pub fn given_of(
        aggregate_id: AggregateId,
        events: impl IntoIterator<Item = D::Event>,
    ) -> Given<D> {
        let (mut state, mut ended) = (None, false);
        for event in events {
            state = D::apply(state, &event);
            ended = state.is_none();
        }
        Given {
            aggregate_id,
            state,
            ended,
        }
    }
}

impl<D: Domain> Given<D> {
    /// This event is sent.
    #[must_use]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a specification reads better without references"
    )]
    pub fn when(self, event: D::Event) -> When<D> {
        let said = if self.ended && !D::STATELESS {
            Err("the aggregate is deleted".to_owned())
        } else {
            D::validate(self.aggregate_id, &event)
                .and_then(|()| D::check(self.state.as_ref(), &event))
                .map_err(|refused| refused.to_string())
        };
        When {
            outcome: said.map(|()| D::apply(self.state, &event)),
        }
    }

    /// The state that was reached.
    #[must_use]
    pub const fn state(&self) -> Option<&D::State> {
        self.state.as_ref()
    }
}

impl<D: Domain> When<D> {
    /// It is taken, and this is the state afterwards.
    ///
    /// # Panics
    ///
    /// When it is refused or the state is another.
    #[track_caller]
    pub fn then(self, expected: Option<D::State>)
    where
        D::State: Debug + PartialEq,
    {
        assert_eq!(self.outcome, Ok(expected));
    }

    /// It is refused, with this text.
    ///
    /// # Panics
    ///
    /// When it is taken or the text is another.
    #[track_caller]
    pub fn then_refused(self, text: &str) {
        let refused = self.outcome.map(|_| "the event was taken");
        assert_eq!(refused, Err(text.to_owned()));
    }
}
