//! Decodes, validates and encodes a new event.

use std::collections::BTreeMap;

use serde_ignored::Path as Ignored;
use serde_json::value::RawValue;
use serde_path_to_error::Segment;

use super::{Domain, RejectedError};
use crate::event::pointer::{push_index, push_part};
use crate::event::{DecodeError, NewEvent, Payload, Prepared, UntypedEvent, has_nul};

/// Decodes an event that a client sent, rejects fields that its type does not have, validates it and encodes it for the store.
pub(super) fn prepare_untyped<D: Domain>(event: &UntypedEvent) -> Result<Prepared, RejectedError> {
    let type_id = event.type_id;
    if !event.payload.get().starts_with('{') {
        // serde would also read a struct from an array of its fields.
        let reason = "the payload must be a JSON object".to_owned();
        return Err(DecodeError::Malformed { type_id, reason }.into());
    }
    if has_nul(event.payload.get()) {
        return Err(RejectedError::ContainsNul("payload"));
    }
    let mut unknown = None;
    let mut note = |path: Ignored<'_>| {
        unknown.get_or_insert_with(|| (path.to_string(), pointer_to_ignored(&path)));
    };
    let strict = serde_ignored::Deserializer::new(&*event.payload, &mut note);
    let payload =
        D::Event::decode(type_id, strict).map_err(|error| name_field::<D::Event>(error, event))?;
    if let Some((field, pointer)) = unknown {
        return Err(RejectedError::UnknownField { field, pointer });
    }
    let typed = NewEvent {
        id: event.id,
        aggregate_id: event.aggregate_id,
        type_id,
        payload,
        metadata: event.metadata.clone(),
    };
    prepare::<D>(typed, Some(event.payload.clone()))
}

/// Validates a typed event and encodes it for the store.
pub(crate) fn prepare<D: Domain>(
    event: NewEvent<D::Event>,
    json: Option<Box<RawValue>>,
) -> Result<Prepared, RejectedError> {
    D::validate(event.aggregate_id, &event.payload)
        .map_err(|error| RejectedError::invalid::<D>(error))?;
    let prepared = Prepared::new(event, json)?;
    match prepared.part_with_nul() {
        Some(part) => Err(RejectedError::ContainsNul(part)),
        None => Ok(prepared),
    }
}

/// Says which field does not match its type, in place of the position within the payload: the client sees the whole body
/// only. The payload is read once more for that.
fn name_field<P: Payload>(error: DecodeError, event: &UntypedEvent) -> RejectedError {
    let DecodeError::Malformed {
        type_id,
        mut reason,
    } = error
    else {
        return error.into();
    };
    if let Some(at) = reason.rfind(" at line ") {
        reason.truncate(at);
    }
    let mut pointer = String::new();
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(&*event.payload, &mut track);
    if P::decode(type_id, tracked).is_err() {
        let path = track.path();
        if path.iter().next().is_some() {
            reason = format!("`{path}`: {reason}");
        }
        pointer = pointer_to_segments(&path);
    }
    if pointer.is_empty()
        && let Some(missing) = find_missing::<P>(event)
    {
        push_part(&mut pointer, &missing);
    }
    let error = DecodeError::Malformed { type_id, reason };
    RejectedError::Field { error, pointer }
}

fn pointer_to_segments(path: &serde_path_to_error::Path) -> String {
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => push_index(&mut pointer, *index),
            Segment::Map { key } => push_part(&mut pointer, key),
            Segment::Enum { variant } => push_part(&mut pointer, variant),
            // What lies deeper has no name.
            Segment::Unknown => break,
        }
    }
    pointer
}

fn pointer_to_ignored(path: &Ignored<'_>) -> String {
    match path {
        Ignored::Root => String::new(),
        Ignored::Seq { parent, index } => {
            let mut pointer = pointer_to_ignored(parent);
            push_index(&mut pointer, *index);
            pointer
        }
        Ignored::Map { parent, key } => {
            let mut pointer = pointer_to_ignored(parent);
            push_part(&mut pointer, key);
            pointer
        }
        Ignored::Some { parent }
        | Ignored::NewtypeStruct { parent }
        | Ignored::NewtypeVariant { parent } => pointer_to_ignored(parent),
    }
}

/// The first required field that the payload does not have.
fn find_missing<P: Payload>(event: &UntypedEvent) -> Option<String> {
    let schema = P::schema_of(event.type_id)?;
    let sent: BTreeMap<String, &RawValue> = serde_json::from_str(event.payload.get()).ok()?;
    let mut required = schema.required_properties().into_iter();
    let missing = required.find(|name| !sent.contains_key(*name));
    missing.map(ToOwned::to_owned)
}
