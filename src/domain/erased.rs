//! Domains and projections without their types, so that the rest of the crate can hold a list of them.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Domain, FoldError, Projection, SetRule};
use crate::event::{
    DecodeError, Event, EventType, NewEvent, Payload, RecordedEvent, TypeId, TypeSchema,
};

/// The domains and projections that a process serves, made by [`domains!`](crate::domains!).
#[derive(Clone, Copy, Debug)]
pub struct Domains {
    domains: &'static [&'static dyn AnyDomain],
    projections: &'static [&'static dyn AnyProjection],
}

impl Domains {
    /// For [`domains!`](crate::domains!).
    #[doc(hidden)]
    #[must_use]
    pub const fn new(
        domains: &'static [&'static dyn AnyDomain],
        projections: &'static [&'static dyn AnyProjection],
    ) -> Self {
        Self {
            domains,
            projections,
        }
    }

    /// The domain with this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&'static dyn AnyDomain> {
        self.iter().find(|domain| domain.name() == name)
    }

    /// The domain whose block this event type belongs to.
    #[must_use]
    pub fn owning(&self, type_id: TypeId) -> Option<&'static dyn AnyDomain> {
        self.domains
            .iter()
            .copied()
            .find(|domain| domain.block().contains(&type_id.0))
    }

    /// All domains, in the order of the list.
    pub fn iter(&self) -> impl Iterator<Item = &'static dyn AnyDomain> + use<> {
        self.domains.iter().copied()
    }

    /// All projections: those of the domains' own views, then the others.
    pub fn projections(&self) -> impl Iterator<Item = &'static dyn AnyProjection> + use<> {
        let own = self.iter().map(AnyDomain::projection);
        own.chain(self.projections.iter().copied())
    }
}

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
    /// See [`Domain::STATELESS`].
    fn stateless(&self) -> bool;
    /// Whether the payload is one of this domain, with no field too many, and whether [`Domain::validate`] takes it.
    ///
    /// # Errors
    ///
    /// [`RejectedError::Decode`], [`RejectedError::UnknownField`] or [`RejectedError::Invalid`].
    fn validate(&self, event: &NewEvent<Value>) -> Result<(), RejectedError>;
    /// Folds `tail` over `row`, then for each new event asks the rules and applies it.
    ///
    /// # Errors
    ///
    /// Any [`RejectedError`], with the index of the new event that it is about.
    fn judge(
        &self,
        row: Option<&RawValue>,
        tail: &[RecordedEvent],
        new: &[&NewEvent<Value>],
    ) -> Result<(), (usize, RejectedError)>;
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
    /// The schema of a row without `id` and `version`. Its properties are the columns of the view.
    fn row_schema(&self) -> TypeSchema;
    /// Folds events of one aggregate, in the order of their versions, over its row; stops at the first that fails.
    fn fold(&self, row: Option<&RawValue>, events: &[RecordedEvent]) -> Folded;
}

/// What became of a fold.
#[derive(Debug)]
pub struct Folded {
    /// The row after the events that could be folded; `None`: there is none.
    pub row: Option<Box<RawValue>>,
    /// How many events were folded.
    pub folded: usize,
    /// Why the next one was not.
    pub failure: Option<FoldError>,
}

/// Why an event is not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RejectedError {
    /// The payload is not of this domain.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The payload has a field that its type does not know; taking it would lose what it says.
    #[error("unknown field `{0}`; leave it out")]
    UnknownField(String),
    /// [`Domain::validate`] refused it.
    #[error("{0}")]
    Invalid(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// [`Domain::check`] refused it.
    #[error("{0}")]
    Rule(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The aggregate has ended.
    #[error("the aggregate is deleted")]
    Deleted,
    /// The aggregate holds events of another domain.
    #[error("the aggregate belongs to another domain: its event {0} is of type {1}")]
    Foreign(crate::event::Version, TypeId),
    /// What was recorded earlier cannot be folded, so the rules cannot be asked.
    #[error("the aggregate's earlier events cannot be folded")]
    Unfoldable(#[source] FoldError),
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

/// For [`domains!`](crate::domains!): stops the compilation where two domains claim one block or one name, or where a
/// name is no lower-case identifier or is a route of its own.
#[doc(hidden)]
pub const fn check_blocks(domains: &[(&str, Range<i16>)]) {
    let mut i = 0;
    while i < domains.len() {
        assert!(
            is_identifier(domains[i].0.as_bytes()),
            "a domain's name is a lower-case SQL identifier"
        );
        assert!(
            !same(domains[i].0, "events") && !same(domains[i].0, "health"),
            "a domain's name is a route of foldlog's"
        );
        let mut j = 0;
        while j < i {
            assert!(
                !same(domains[i].0, domains[j].0),
                "two domains have one name"
            );
            assert!(
                domains[i].1.end <= domains[j].1.start || domains[j].1.end <= domains[i].1.start,
                "two domains claim the same block of event types"
            );
            j += 1;
        }
        i += 1;
    }
}

const fn is_identifier(name: &[u8]) -> bool {
    let mut i = 0;
    while i < name.len() {
        if !(name[i].is_ascii_lowercase() || name[i] == b'_' || (i > 0 && name[i].is_ascii_digit()))
        {
            return false;
        }
        i += 1;
    }
    // Postgres cuts identifiers at 63 bytes; the rest is for index names.
    !name.is_empty() && name.len() <= 40
}

const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}

/// The projection that a domain's own fold and view make up.
struct OwnView<D>(PhantomData<fn() -> D>);

impl<D: Domain> Projection for OwnView<D> {
    const NAME: &'static str = D::NAME;
    const VIEW: &'static str = D::VIEW;
    const SET_RULES: &'static [SetRule] = D::SET_RULES;
    type Event = D::Event;
    type Row = D::State;

    fn apply(
        row: Option<D::State>,
        event: &Event<D::Event>,
    ) -> Result<Option<D::State>, FoldError> {
        Ok(D::apply(row, &event.payload))
    }
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

    fn stateless(&self) -> bool {
        D::STATELESS
    }

    fn validate(&self, event: &NewEvent<Value>) -> Result<(), RejectedError> {
        if !event.payload.is_object() {
            // serde would read a struct from an array, too.
            let reason = "the payload must be a JSON object".to_owned();
            return Err(DecodeError::Malformed {
                type_id: event.type_id,
                reason,
            }
            .into());
        }
        let mut unknown = None;
        let mut note = |path: serde_ignored::Path<'_>| {
            unknown.get_or_insert_with(|| path.to_string());
        };
        let strict = serde_ignored::Deserializer::new(&event.payload, &mut note);
        let payload = D::Event::decode(event.type_id, strict)?;
        if let Some(field) = unknown {
            return Err(RejectedError::UnknownField(field));
        }
        D::validate(event.aggregate_id, &payload).map_err(|e| RejectedError::Invalid(e.into()))
    }

    fn judge(
        &self,
        row: Option<&RawValue>,
        tail: &[RecordedEvent],
        new: &[&NewEvent<Value>],
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
        let mut ended = exists && state.is_none();
        for (index, event) in new.iter().enumerate() {
            let payload =
                D::Event::decode(event.type_id, &event.payload).map_err(|e| (index, e.into()))?;
            if ended && !D::STATELESS {
                return Err((index, RejectedError::Deleted));
            }
            D::check(state.as_ref(), &payload)
                .map_err(|e| (index, RejectedError::Rule(e.into())))?;
            state = D::apply(state, &payload);
            ended = state.is_none();
        }
        Ok(())
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

    fn row_schema(&self) -> TypeSchema {
        TypeSchema::of::<P::Row>()
    }

    fn fold(&self, row: Option<&RawValue>, events: &[RecordedEvent]) -> Folded {
        let (state, folded, failure) = fold::<P>(row, events);
        match state.map(|state| to_raw(&state)).transpose() {
            Ok(row) => Folded {
                row,
                folded,
                failure,
            },
            // The row of no prefix can be written, so nothing of this counts as folded.
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

/// Folds until the first failure: the row so far, how many events went into it, and why it ended early.
fn fold<P: Projection>(
    row: Option<&RawValue>,
    events: &[RecordedEvent],
) -> (Option<P::Row>, usize, Option<FoldError>) {
    let mut state = match row.map(from_raw::<P::Row>).transpose() {
        Ok(state) => state,
        Err(failure) => return (None, 0, Some(failure)),
    };
    for (index, recorded) in events.iter().enumerate() {
        let event = match recorded.decode::<P::Event>() {
            Ok(event) => event,
            Err(e) => return (state, index, Some(FoldError::new(e))),
        };
        // The step takes the state by value, so a step that fails or panics would take it along. A copy is kept only
        // where it can matter: the failing event ends the fold, and its predecessor's row is built again from there.
        match catch_unwind(AssertUnwindSafe(|| P::apply(state, &event))) {
            Ok(Ok(next)) => state = next,
            Ok(Err(failure)) => return again::<P>(row, &events[..index], failure),
            Err(_) => {
                return again::<P>(row, &events[..index], FoldError::new("the fold panicked"));
            }
        }
    }
    (state, events.len(), None)
}

/// The fold of the events before a failing one.
fn again<P: Projection>(
    row: Option<&RawValue>,
    events: &[RecordedEvent],
    failure: FoldError,
) -> (Option<P::Row>, usize, Option<FoldError>) {
    let (state, folded, earlier) = fold::<P>(row, events);
    (state, folded, Some(earlier.unwrap_or(failure)))
}

fn from_raw<T: DeserializeOwned>(row: &RawValue) -> Result<T, FoldError> {
    serde_json::from_str(row.get())
        .map_err(|e| FoldError::new(format!("the view's row does not fit the projection: {e}")))
}

fn to_raw<T: Serialize>(row: &T) -> Result<Box<RawValue>, FoldError> {
    serde_json::value::to_raw_value(row)
        .map_err(|e| FoldError::new(format!("the row does not serialize: {e}")))
}
