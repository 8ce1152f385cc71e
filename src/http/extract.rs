//! Extractors. They reject with a [`Problem`], because axum's own extractors reject with plain text.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts, Path, RawPathParams, Request};
use axum::http::request::Parts;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::AppState;
use super::body::{read_field, read_json, read_metadata, read_uuid};
use super::problem::{Kind, Problem};
use crate::app::Served;
use crate::event::{AggregateId, EventId, TypeId, UntypedEvent, check_json};
use crate::operate::UnknownProjectionError;
use crate::view::View;

/// The domain in the path.
pub(super) struct DomainPath(pub Served);

impl FromRequestParts<AppState> for DomainPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let params = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|_| bad_path())?;
        let name = params
            .iter()
            .find(|(key, _)| *key == "domain")
            .map_or("", |(_, name)| name);
        state.foldlog.named(name).cloned().map(Self).ok_or_else(|| {
            let served = state.foldlog.served.iter();
            let names: Vec<&str> = served.map(|served| served.domain.name()).collect();
            Problem::new(
                Kind::NoRoute,
                format!(
                    "unknown domain in the path; the domains are: {}",
                    names.join(", ")
                ),
            )
        })
    }
}

/// The aggregate id in the path.
pub(super) struct IdPath(pub AggregateId);

impl FromRequestParts<AppState> for IdPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let Path((_, id)) = Path::<(String, String)>::from_request_parts(parts, state)
            .await
            .map_err(|_| bad_path())?;
        let id = Uuid::parse_str(&id).map_err(|_| {
            Problem::new(
                Kind::Malformed,
                "the aggregate id in the path must be a UUID",
            )
        })?;
        Ok(Self(AggregateId(id)))
    }
}

/// The projection in the path.
pub(super) struct ProjectionPath {
    views: Arc<[View]>,
    index: usize,
}

impl ProjectionPath {
    /// The view that the projection writes.
    pub(super) fn view(&self) -> &View {
        &self.views[self.index]
    }
}

impl FromRequestParts<AppState> for ProjectionPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let Path(name) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| bad_path())?;
        let views = Arc::clone(&state.foldlog.views);
        let index = views.iter().position(|view| view.name() == name);
        let index = index.ok_or_else(|| UnknownProjectionError::new(&state.foldlog, &name))?;
        Ok(Self { views, index })
    }
}

fn bad_path() -> Problem {
    Problem::new(Kind::Malformed, "the path must be valid UTF-8")
}

/// Whether a query string decodes to UTF-8. The parser of parameters replaces what does not, so a filter would find other rows than
/// the client has asked for.
fn is_percent_encoded_utf8(query: &str) -> bool {
    let mut decoded = Vec::with_capacity(query.len());
    let mut bytes = query.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return false;
        };
        decoded.extend(u8::try_from(high * 16 + low));
    }
    // A character cannot reach from one parameter into another: the separators are ASCII.
    std::str::from_utf8(&decoded).is_ok()
}

/// Reads an integer of decimal digits; the parsers of integers also accept a sign in front of them.
pub(super) fn parse_digits<T: FromStr>(text: &str) -> Option<T> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_plain)
}

/// The parameters of the query string; none is repeated.
pub(super) struct Params(Vec<(String, String)>);

impl FromRequestParts<AppState> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, Problem> {
        let bad = || {
            Problem::new(
                Kind::Malformed,
                "the query string must be percent-encoded UTF-8",
            )
        };
        if !is_percent_encoded_utf8(parts.uri.query().unwrap_or_default()) {
            return Err(bad());
        }
        let axum::extract::Query(params) =
            axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
                .map_err(|_| bad())?;
        let mut names = HashSet::with_capacity(params.len());
        for (name, _) in &params {
            if !names.insert(name) {
                return Err(Problem::new(
                    Kind::Malformed,
                    format!("the parameter `{name}` is repeated; send it once"),
                ));
            }
        }
        Ok(Self(params))
    }
}

impl Params {
    /// Removes a parameter and returns its value.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(other, _)| other == name)?;
        Some(self.0.swap_remove(at).1)
    }

    /// Removes a parameter that is `true` or `false`; false if it is missing.
    pub(super) fn take_flag(&mut self, name: &str) -> Result<bool, Problem> {
        match self.take(name).as_deref() {
            Some("true") => Ok(true),
            None | Some("false") => Ok(false),
            Some(_) => Err(Problem::new(
                Kind::Malformed,
                format!("the parameter {name} must be `true` or `false`"),
            )),
        }
    }

    /// The parameters that were not taken.
    pub(super) fn into_rest(self) -> Vec<(String, String)> {
        self.0
    }

    /// Rejects parameters that were not taken. Ignoring an unknown `dryrun`, for example, would store events that the
    /// client did not want to store.
    pub(super) fn reject_unknown(self) -> Result<(), Problem> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(Problem::new(
                Kind::Malformed,
                format!("unknown parameter `{name}`; remove it"),
            )),
        }
    }
}

/// The body of an append: one event, or an array of events.
pub(super) struct Events {
    pub events: Vec<UntypedEvent>,
    /// Whether the body is an array; the response then is one, too.
    pub is_array: bool,
}

/// An event that is read from a JSON object. serde's derive would also read a struct from an array of its fields.
struct EventBody(UntypedEvent);

impl<'de> Deserialize<'de> for EventBody {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_map(EventVisitor)
    }
}

struct EventVisitor;

/// The fields of an event.
#[derive(serde::Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Field {
    Id,
    AggregateId,
    TypeId,
    Payload,
    Metadata,
}

impl<'de> Visitor<'de> for EventVisitor {
    type Value = EventBody;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event as a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<EventBody, A::Error> {
        let (mut id, mut aggregate_id, mut type_id) = (None, None, None);
        let (mut payload, mut metadata) = (None, None);
        while let Some(field) = fields.next_key()? {
            match field {
                Field::Id => read_field(&mut fields, "id", &mut id, read_uuid),
                Field::AggregateId => {
                    read_field(&mut fields, "aggregate_id", &mut aggregate_id, read_uuid)
                }
                Field::TypeId => read_field(&mut fields, "type_id", &mut type_id, read_type_id),
                Field::Payload => read_field(&mut fields, "payload", &mut payload, read_payload),
                Field::Metadata => {
                    read_field(&mut fields, "metadata", &mut metadata, read_metadata)
                }
            }?;
        }
        let missing = de::Error::missing_field;
        Ok(EventBody(UntypedEvent {
            id: EventId(id.ok_or_else(|| missing("id"))?),
            aggregate_id: AggregateId(aggregate_id.ok_or_else(|| missing("aggregate_id"))?),
            type_id: type_id.ok_or_else(|| missing("type_id"))?,
            payload: payload.ok_or_else(|| missing("payload"))?,
            metadata: metadata.unwrap_or_default(),
        }))
    }
}

fn read_type_id(json: &RawValue) -> Result<TypeId, &'static str> {
    let number: Option<i16> = serde_json::from_str(json.get()).ok();
    let positive = number.filter(|number| *number > 0).map(TypeId);
    positive.ok_or("must be a number from 1 to 32767")
}

fn read_payload(json: &RawValue) -> Result<Box<RawValue>, &'static str> {
    check_json(json.get())?;
    Ok(json.to_owned())
}

impl FromRequest<AppState> for Events {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &AppState) -> Result<Self, Problem> {
        let body = read_json(request).await?;
        let malformed = |e: serde_json::Error| {
            Problem::new(
                Kind::Malformed,
                format!("the body must be an event or an array of events: {e}"),
            )
        };
        let is_array = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
        let events: Vec<EventBody> = if is_array {
            serde_json::from_slice(&body).map_err(malformed)?
        } else {
            vec![serde_json::from_slice(&body).map_err(malformed)?]
        };
        let events = events.into_iter().map(|EventBody(event)| event);
        Ok(Self {
            events: events.collect(),
            is_array,
        })
    }
}
