//! Domains and projections without their types, so that the rest of the crate can hold a list of them.

use std::collections::BTreeSet;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

use serde::Serialize;
use serde_json::value::RawValue;

use super::fold::{
    AnyFold, DECODE_PANICKED, Folded, TypedFold, catch_panic, fold, from_raw, to_raw,
};
use super::own_view::OwnView;
use super::prepare::{prepare, prepare_untyped};
use super::rules::shown_name;
use super::{Domain, FoldError, Projection, RejectedError, Rules as _, SetRule};
use crate::event::redact::{Hide, Redacted, RefuseNonFinite};
use crate::event::{
    AggregateId, DecodeError, EventType, NewEvent, OldEventType, Payload, Prepared, RecordedEvent,
    TypeId, TypeSchema, UntypedEvent, Version, show_payload,
};

/// Any [`Domain`].
pub trait AnyDomain: fmt::Debug + Send + Sync {
    /// See [`Domain::NAME`].
    fn name(&self) -> &'static str;
    /// See [`Payload::BLOCK`].
    fn block(&self) -> Range<i16>;
    /// See [`Payload::TYPES`].
    fn types(&self) -> &'static [EventType];
    /// The schema of an event type's payload; `None` when the type is not of this domain.
    fn payload_schema(&self, type_id: TypeId) -> Option<TypeSchema>;
    /// The projection that maintains the domain's own view.
    fn projection(&self) -> &'static dyn AnyProjection;
    /// The names of the rules by which [`Domain::validate`] and [`Domain::check`] reject events, in snake case.
    fn rules(&self) -> Vec<String>;
    /// See [`Domain::STATELESS`].
    fn stateless(&self) -> bool;
    /// See [`Domain::TITLE`].
    fn title(&self) -> Option<&'static str>;
    /// Decodes the payload, rejects fields that its type does not have, and calls [`Domain::validate`].
    ///
    /// # Errors
    ///
    /// [`RejectedError::Decode`], [`RejectedError::UnknownField`], [`RejectedError::ContainsNul`] or
    /// [`RejectedError::Invalid`].
    fn prepare(&self, event: &UntypedEvent) -> Result<Prepared, RejectedError>;
    /// See [`Payload::OLD_TYPES`].
    fn old_types(&self) -> &'static [OldEventType];
    /// The payload of a recorded event in its newest revision and without its secrets; `None` when the domain's type does not
    /// decode it. `secret_names` are the names of the newest revision's properties that are left out when they are null.
    fn show_payload(
        &self,
        event: &RecordedEvent,
        secret_names: &BTreeSet<String>,
    ) -> Option<Box<RawValue>>;
    /// Folds `tail` over `row`, then checks and applies each new event. `has_ended`: the fold of the events before `tail` is
    /// the absence of a row.
    ///
    /// # Errors
    ///
    /// Any [`RejectedError`], with the index of the new event that it is about.
    fn decide(
        &self,
        row: Option<&RawValue>,
        tail: &[RecordedEvent],
        has_ended: bool,
        new: &[&Prepared],
    ) -> Result<(), (usize, RejectedError)>;
    /// The events of [`Domain::revert`], prepared for an append; `None` when the domain does not revert. `envelope` makes the
    /// id and the metadata of the event with this index.
    ///
    /// # Errors
    ///
    /// When a row cannot be decoded, or the domain rejects one of its own events.
    fn revert(
        &self,
        current: Option<&RawValue>,
        target: &RawValue,
        envelope: &dyn Fn(usize) -> NewEvent<()>,
    ) -> Result<Option<Vec<Prepared>>, RejectedError>;
}

/// Any [`Projection`].
pub trait AnyProjection: fmt::Debug + Send + Sync {
    /// See [`Projection::NAME`].
    fn name(&self) -> &'static str;
    /// See [`Projection::VIEW`].
    fn definition(&self) -> &'static str;
    /// See [`Projection::SET_RULES`].
    fn set_rules(&self) -> &'static [SetRule];
    /// The event types it folds.
    fn block(&self) -> Range<i16>;
    /// See [`Payload::TYPES`].
    fn types(&self) -> &'static [EventType];
    /// The schema of an event type's payload; `None` when it does not fold the type.
    fn payload_schema(&self, type_id: TypeId) -> Option<TypeSchema>;
    /// See [`Projection::FOLD_VERSION`].
    fn fold_version(&self) -> u32;
    /// The schema of a row without `id` and `version`. Its properties are the columns of the view.
    fn row_schema(&self) -> TypeSchema;
    /// A row as clients see it: `{id, …columns, version}`, without secrets. `secret_names` are the names of properties
    /// that are left out when they are null.
    ///
    /// # Errors
    ///
    /// When the row does not match the row type.
    fn show(
        &self,
        id: AggregateId,
        version: Version,
        row: &RawValue,
        secret_names: &BTreeSet<String>,
    ) -> Result<Box<RawValue>, FoldError>;
    /// Begins the fold of one aggregate before its first event.
    fn begin_fold(&self) -> Box<dyn AnyFold>;
    /// Folds events of one aggregate, in the order of their versions, over its row; stops at the first that fails.
    fn fold(&self, row: Option<&RawValue>, events: &[RecordedEvent]) -> Folded;
}

/// A row as clients see it.
#[derive(Serialize)]
#[serde(bound = "T: Serialize")]
struct Shown<'a, T> {
    id: AggregateId,
    #[serde(flatten)]
    row: Redacted<'a, T, Hide<'a>>,
    version: Version,
}

/// A `&'static dyn AnyDomain` for `D`.
#[must_use]
pub const fn domain<D: Domain>() -> &'static dyn AnyDomain {
    &ErasedDomain::<D>(PhantomData)
}

/// A `&'static dyn AnyProjection` for `P`.
#[must_use]
pub const fn projection<P: Projection>() -> &'static dyn AnyProjection {
    &ErasedProjection::<P>(PhantomData)
}

/// A domain without its type.
struct ErasedDomain<D>(PhantomData<fn() -> D>);

/// A projection without its type.
struct ErasedProjection<P>(PhantomData<fn() -> P>);

impl<D: Domain> AnyDomain for ErasedDomain<D> {
    fn name(&self) -> &'static str {
        D::NAME
    }

    fn block(&self) -> Range<i16> {
        D::Event::BLOCK
    }

    fn types(&self) -> &'static [EventType] {
        D::Event::TYPES
    }

    fn payload_schema(&self, type_id: TypeId) -> Option<TypeSchema> {
        D::Event::schema_of(type_id)
    }

    fn projection(&self) -> &'static dyn AnyProjection {
        projection::<OwnView<D>>()
    }

    fn rules(&self) -> Vec<String> {
        D::Error::NAMES.iter().copied().map(shown_name).collect()
    }

    fn stateless(&self) -> bool {
        D::STATELESS
    }

    fn title(&self) -> Option<&'static str> {
        D::TITLE
    }

    fn prepare(&self, event: &UntypedEvent) -> Result<Prepared, RejectedError> {
        prepare_untyped::<D>(event)
    }

    fn old_types(&self) -> &'static [OldEventType] {
        D::Event::OLD_TYPES
    }

    fn show_payload(
        &self,
        event: &RecordedEvent,
        secret_names: &BTreeSet<String>,
    ) -> Option<Box<RawValue>> {
        // A reader of the feed would otherwise end at the event whose upcaster panics.
        let show = || Ok(show_payload::<D::Event>(event, secret_names));
        catch_panic(DECODE_PANICKED, show).ok().flatten()
    }

    fn decide(
        &self,
        row: Option<&RawValue>,
        tail: &[RecordedEvent],
        has_ended: bool,
        new: &[&Prepared],
    ) -> Result<(), (usize, RejectedError)> {
        if let Some(foreign) = tail
            .iter()
            .find(|event| !D::Event::BLOCK.contains(&event.type_id.0))
        {
            return Err((0, RejectedError::Foreign(foreign.version, foreign.type_id)));
        }
        let exists = row.is_some() || !tail.is_empty();
        let (mut state, _, failure) = fold::<OwnView<D>>(row, tail);
        if let Some(failure) = failure {
            return Err((0, RejectedError::Unfoldable(failure)));
        }
        let mut ended = (has_ended || exists) && state.is_none();
        for (index, event) in new.iter().enumerate() {
            let unknown = || DecodeError::UnknownType(event.type_id);
            let payload: &D::Event = event.payload().ok_or_else(|| (index, unknown().into()))?;
            if !ended || D::STATELESS {
                D::check(state.as_ref(), payload)
                    .map_err(|error| (index, RejectedError::rule::<D>(error)))?;
            } else if !D::may_follow_end(payload) {
                return Err((index, RejectedError::Deleted));
            }
            state = D::apply(state, payload);
            ended = state.is_none();
        }
        Ok(())
    }

    fn revert(
        &self,
        current: Option<&RawValue>,
        target: &RawValue,
        envelope: &dyn Fn(usize) -> NewEvent<()>,
    ) -> Result<Option<Vec<Prepared>>, RejectedError> {
        let decode = |row| from_raw::<D::State>(row).map_err(RejectedError::Unfoldable);
        let current = current.map(decode).transpose()?;
        let Some(events) = D::revert(current.as_ref(), &decode(target)?) else {
            return Ok(None);
        };
        let prepare = |(index, payload): (usize, D::Event)| {
            let NewEvent {
                id,
                aggregate_id,
                metadata,
                ..
            } = envelope(index);
            let event = NewEvent {
                id,
                aggregate_id,
                type_id: payload.type_id(),
                payload,
                metadata,
            };
            prepare::<D>(event, None)
        };
        let prepared = events.into_iter().enumerate().map(prepare);
        prepared.collect::<Result<_, _>>().map(Some)
    }
}

impl<P: Projection> AnyProjection for ErasedProjection<P> {
    fn name(&self) -> &'static str {
        P::NAME
    }

    fn definition(&self) -> &'static str {
        P::VIEW
    }

    fn set_rules(&self) -> &'static [SetRule] {
        P::SET_RULES
    }

    fn block(&self) -> Range<i16> {
        P::Event::BLOCK
    }

    fn types(&self) -> &'static [EventType] {
        P::Event::TYPES
    }

    fn payload_schema(&self, type_id: TypeId) -> Option<TypeSchema> {
        P::Event::schema_of(type_id)
    }

    fn fold_version(&self) -> u32 {
        P::FOLD_VERSION
    }

    fn row_schema(&self) -> TypeSchema {
        TypeSchema::from_type::<P::Row>()
    }

    fn show(
        &self,
        id: AggregateId,
        version: Version,
        row: &RawValue,
        secret_names: &BTreeSet<String>,
    ) -> Result<Box<RawValue>, FoldError> {
        let row: P::Row = from_raw(row)?;
        to_raw(&Shown {
            id,
            row: Redacted(&row, &Hide(secret_names)),
            version,
        })
    }

    fn begin_fold(&self) -> Box<dyn AnyFold> {
        Box::new(TypedFold::<P>::new())
    }

    fn fold(&self, row: Option<&RawValue>, events: &[RecordedEvent]) -> Folded {
        let (state, folded, failure) = fold::<P>(row, events);
        // A column that allows nulls would take an infinity for a null, and nothing would say so.
        let encode = |state| to_raw(&Redacted(&state, &RefuseNonFinite));
        match state.map(encode).transpose() {
            Ok(row) => Folded {
                row,
                folded,
                failure,
            },
            // The row cannot be written, so none of these events counts as folded.
            Err(failure) => Folded {
                row: row.map(ToOwned::to_owned),
                folded: 0,
                failure: Some(failure),
            },
        }
    }
}

impl<D: Domain> fmt::Debug for ErasedDomain<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(D::NAME)
    }
}

impl<P: Projection> fmt::Debug for ErasedProjection<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(P::NAME)
    }
}
