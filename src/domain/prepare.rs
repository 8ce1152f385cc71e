//! Decodes, validates and encodes a new event.

use serde_json::value::RawValue;

use super::{Domain, RejectedError};
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
    let mut note = |path: serde_ignored::Path<'_>| {
        unknown.get_or_insert_with(|| path.to_string());
    };
    let strict = serde_ignored::Deserializer::new(&*event.payload, &mut note);
    let payload =
        D::Event::decode(type_id, strict).map_err(|error| name_field::<D::Event>(error, event))?;
    if let Some(field) = unknown {
        return Err(RejectedError::UnknownField(field));
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
        .map_err(|error| RejectedError::Invalid(error.into()))?;
    let prepared = Prepared::new(event, json)?;
    match prepared.part_with_nul() {
        Some(part) => Err(RejectedError::ContainsNul(part)),
        None => Ok(prepared),
    }
}

/// Says which field does not match its type, in place of the position within the payload: the client sees the whole body
/// only. The payload is read once more for that.
fn name_field<P: Payload>(error: DecodeError, event: &UntypedEvent) -> DecodeError {
    let DecodeError::Malformed {
        type_id,
        mut reason,
    } = error
    else {
        return error;
    };
    if let Some(at) = reason.rfind(" at line ") {
        reason.truncate(at);
    }
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(&*event.payload, &mut track);
    if P::decode(type_id, tracked).is_err() {
        let path = track.path();
        if path.iter().next().is_some() {
            reason = format!("`{path}`: {reason}");
        }
    }
    DecodeError::Malformed { type_id, reason }
}
