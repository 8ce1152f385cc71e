//! Tests of a domain without a database: given these events, when this one is sent, then this happens.
//!
//! Each of the three steps has its own type, so an incomplete test does not compile. cqrs-es and disintegrate have similar
//! test frameworks.

use std::fmt::Debug;
use std::marker::PhantomData;

use super::Domain;
use crate::event::AggregateId;

/// Starts a test of the domain `D`.
///
/// ```
/// # use foldlog::domain::prelude::*;
/// use foldlog::domains::users::{UserEvent, Users};
///
/// Spec::<Users>::given([])
///     .when(UserEvent::UsernameChanged { username: "ada".to_owned() })
///     .then_rejected("the user does not exist");
/// ```
#[derive(Debug)]
pub struct Spec<D: Domain>(PhantomData<fn() -> D>);

/// The events that happened before.
#[derive(Debug)]
pub struct Given<D: Domain> {
    aggregate_id: AggregateId,
    state: Option<D::State>,
    ended: bool,
}

/// The event that is sent, and the decision of the rules.
#[derive(Debug)]
pub struct When<D: Domain> {
    outcome: Result<Option<D::State>, String>,
}

impl<D: Domain> Spec<D> {
    /// Folds these events without checking the rules, because recorded events have happened. The aggregate has the nil id.
    pub fn given(events: impl IntoIterator<Item = D::Event>) -> Given<D> {
        Self::given_for(AggregateId(uuid::Uuid::nil()), events)
    }

    /// As [`Self::given`], for an aggregate with this id.
    pub fn given_for(
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
    /// Validates and checks this event.
    #[must_use]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a test reads better without references"
    )]
    pub fn when(self, event: D::Event) -> When<D> {
        let has_ended = self.ended && !D::STATELESS;
        let decision = if has_ended && !D::may_follow_end(&event) {
            Err("the aggregate is deleted".to_owned())
        } else {
            D::validate(self.aggregate_id, &event)
                .and_then(|()| {
                    if has_ended {
                        Ok(())
                    } else {
                        D::check(self.state.as_ref(), &event)
                    }
                })
                .map_err(|error| error.to_string())
        };
        When {
            outcome: decision.map(|()| D::apply(self.state, &event)),
        }
    }

    /// The state after the given events.
    #[must_use]
    pub const fn state(&self) -> Option<&D::State> {
        self.state.as_ref()
    }
}

impl<D: Domain> When<D> {
    /// The event is accepted, and this is the state afterwards.
    ///
    /// # Panics
    ///
    /// When the event is rejected or the state differs.
    #[track_caller]
    pub fn then(self, expected: Option<D::State>)
    where
        D::State: Debug + PartialEq,
    {
        assert_eq!(self.outcome, Ok(expected));
    }

    /// The event is rejected with this text.
    ///
    /// # Panics
    ///
    /// When the event is accepted or the text differs.
    #[track_caller]
    pub fn then_rejected(self, text: &str) {
        let rejected = self.outcome.map(|_| "the event was accepted");
        assert_eq!(rejected, Err(text.to_owned()));
    }
}
