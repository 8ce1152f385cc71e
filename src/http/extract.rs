//! What handlers take from a request. Everything rejects with a [`Problem`]; axum's own rejections are plain text.

use std::fmt;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Path, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, header};
use futures_util::StreamExt;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use uuid::Uuid;

use super::AppState;
use super::problem::{Kind, Problem};
use crate::domain::AnyDomain;
use crate::event::{AggregateId, EventId, ExpectedVersion, Metadata, NewEvent, TypeId, Version};

/// The largest body that is taken.
const BODY_LIMIT: usize = 1024 * 1024;
/// How much of a body that is too large is read and thrown away, so that the client hears the answer: one that is still
/// sending when the connection closes sees a broken pipe instead.
const DRAINED: usize = 8 * BODY_LIMIT;

/// The domain that the path names.
pub(super) struct DomainPath(pub &'static dyn AnyDomain);

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
        state.engine.domains.named(name).map(Self).ok_or_else(|| {
            let known: Vec<&str> = state.engine.domains.iter().map(AnyDomain::name).collect();
            Problem::new(
                Kind::NoRoute,
                format!("there is no such domain; there are: {}", known.join(", ")),
            )
        })
    }
}

/// The aggregate that the path names.
pub(super) struct IdPath(pub AggregateId);

impl FromRequestParts<AppState> for IdPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let Path((_, id)) = Path::<(String, String)>::from_request_parts(parts, state)
            .await
            .map_err(|_| bad_path())?;
        let id = Uuid::parse_str(&id)
            .map_err(|_| Problem::new(Kind::Malformed, "the id in the path must be a UUID"))?;
        Ok(Self(AggregateId(id)))
    }
}

fn bad_path() -> Problem {
    Problem::new(Kind::Malformed, "the path must be valid UTF-8")
}

/// The parameters of the query string, each once.
pub(super) struct Params(Vec<(String, String)>);

impl FromRequestParts<AppState> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, Problem> {
        let bad = |_| {
            Problem::new(
                Kind::Malformed,
                "the query string must be form-encoded UTF-8",
            )
        };
        let axum::extract::Query(params) =
            axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&parts.uri).map_err(bad)?;
        for (index, (name, _)) in params.iter().enumerate() {
            if params[..index].iter().any(|(other, _)| other == name) {
                return Err(Problem::new(
                    Kind::Malformed,
                    format!("the parameter `{name}` may be given once only"),
                ));
            }
        }
        Ok(Self(params))
    }
}

impl Params {
    /// Takes one parameter out.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(other, _)| other == name)?;
        Some(self.0.swap_remove(at).1)
    }

    /// Those that nobody took.
    pub(super) fn rest(self) -> Vec<(String, String)> {
        self.0
    }

    /// Refuses what nobody took: an ignored `dry_run` would store what was not meant to be.
    pub(super) fn none_left(self) -> Result<(), Problem> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(Problem::new(
                Kind::Malformed,
                format!("this route has no parameter `{name}`"),
            )),
        }
    }
}

/// The events of a body: one, or an array of them.
pub(super) struct Events {
    pub events: Vec<NewEvent<Value>>,
    /// Whether they came as an array, so that the answer is one, too.
    pub many: bool,
}

/// One event, as a client writes it.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct EventBody {
    #[serde(deserialize_with = "id")]
    id: EventId,
    #[serde(deserialize_with = "aggregate_id")]
    aggregate_id: AggregateId,
    #[serde(deserialize_with = "type_id")]
    type_id: TypeId,
    payload: Value,
    #[serde(default, deserialize_with = "metadata")]
    metadata: Metadata,
}

/// The same from an object only: serde's derive reads a struct from an array of its fields, too.
struct EventObject(EventBody);

impl<'de> Deserialize<'de> for EventObject {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_map(FromObject)
    }
}

struct FromObject;

impl<'de> Visitor<'de> for FromObject {
    type Value = EventObject;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event, which is an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<EventObject, A::Error> {
        EventBody::deserialize(MapAccessDeserializer::new(fields)).map(EventObject)
    }
}

fn id<'de, D: Deserializer<'de>>(json: D) -> Result<EventId, D::Error> {
    field(json, "id must be a UUID", |json| uuid(&json)).map(EventId)
}

fn aggregate_id<'de, D: Deserializer<'de>>(json: D) -> Result<AggregateId, D::Error> {
    field(json, "aggregate_id must be a UUID", |json| uuid(&json)).map(AggregateId)
}

fn uuid(json: &Value) -> Option<Uuid> {
    json.as_str().and_then(|text| Uuid::parse_str(text).ok())
}

fn type_id<'de, D: Deserializer<'de>>(json: D) -> Result<TypeId, D::Error> {
    let positive = |json: Value| {
        let number = i16::try_from(json.as_i64()?).ok()?;
        (number > 0).then_some(TypeId(number))
    };
    field(json, "type_id must be a number from 1 to 32767", positive)
}

fn metadata<'de, D: Deserializer<'de>>(json: D) -> Result<Metadata, D::Error> {
    let object = |json| match json {
        Value::Null => Some(Metadata::default()),
        Value::Object(fields) => Some(Metadata(fields)),
        _ => None,
    };
    field(json, "metadata must be a JSON object", object)
}

/// Reads a field, and says what it must be when it is something else: serde would name Rust's types, and quote the value.
fn field<'de, D: Deserializer<'de>, T>(
    json: D,
    must_be: &'static str,
    read: impl Fn(Value) -> Option<T>,
) -> Result<T, D::Error> {
    read(Value::deserialize(json)?).ok_or_else(|| de::Error::custom(must_be))
}

impl From<EventBody> for NewEvent<Value> {
    fn from(event: EventBody) -> Self {
        let EventBody {
            id,
            aggregate_id,
            type_id,
            payload,
            metadata,
        } = event;
        Self {
            id,
            aggregate_id,
            type_id,
            payload,
            metadata,
        }
    }
}

impl FromRequest<AppState> for Events {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &AppState) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            let detail = "send the events with the header Content-Type: application/json";
            return Err(Problem::new(Kind::WrongMediaType, detail));
        }
        let body = read(request.into_body()).await?;
        let malformed = |e: serde_json::Error| {
            Problem::new(
                Kind::Malformed,
                format!("the body is no event or array of events: {e}"),
            )
        };
        let many = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
        let events: Vec<EventObject> = if many {
            serde_json::from_slice(&body).map_err(malformed)?
        } else {
            vec![serde_json::from_slice(&body).map_err(malformed)?]
        };
        let events = events.into_iter().map(|EventObject(event)| event.into());
        Ok(Self {
            events: events.collect(),
            many,
        })
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let kind = kind
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

async fn read(body: Body) -> Result<Bytes, Problem> {
    let too_large = || {
        Problem::new(
            Kind::TooLarge,
            format!("a body may have {BODY_LIMIT} bytes; send fewer events at once"),
        )
    };
    let (mut stream, mut read, mut seen) = (body.into_data_stream(), Vec::new(), 0);
    while let Some(chunk) = stream.next().await {
        let chunk = chunk
            .map_err(|_| Problem::new(Kind::Malformed, "the body ended before it was complete"))?;
        seen += chunk.len();
        if seen <= BODY_LIMIT {
            read.extend_from_slice(&chunk);
        } else if seen > DRAINED {
            break;
        }
    }
    if seen > BODY_LIMIT {
        Err(too_large())
    } else {
        Ok(read.into())
    }
}

/// What `If-Match` and `If-None-Match` say of an append.
pub(super) fn expected_version(headers: &HeaderMap) -> Result<ExpectedVersion, Problem> {
    match (
        once(headers, &header::IF_MATCH)?,
        once(headers, &header::IF_NONE_MATCH)?,
    ) {
        (None, None) => Ok(ExpectedVersion::Any),
        (None, Some("*")) => Ok(ExpectedVersion::NoStream),
        (Some(tag), None) => match version_of(tag) {
            Some(version) => Ok(ExpectedVersion::Exact(version)),
            None => Err(Problem::new(
                Kind::Malformed,
                "If-Match must be a version in double quotes, like \"3\"",
            )),
        },
        (None, Some(_)) => Err(Problem::new(
            Kind::Malformed,
            "If-None-Match must be * here: the aggregate must not exist",
        )),
        (Some(_), Some(_)) => Err(Problem::new(
            Kind::Malformed,
            "send If-Match or If-None-Match, not both",
        )),
    }
}

/// Whether the client has this version already.
pub(super) fn has_version(headers: &HeaderMap, version: Version) -> bool {
    let tags = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok());
    tags.flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || version_of(tag.strip_prefix("W/").unwrap_or(tag)) == Some(version))
}

/// The version in a strong entity tag.
fn version_of(tag: &str) -> Option<Version> {
    let digits = tag.strip_prefix('"')?.strip_suffix('"')?;
    let plain = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
    digits.parse().ok().filter(|_| plain).map(Version)
}

fn once<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let (first, more) = (values.next(), values.next().is_some());
    let bad = || {
        Problem::new(
            Kind::Malformed,
            format!("the header {name} may be given once only, in ASCII"),
        )
    };
    if more {
        return Err(bad());
    }
    first
        .map(|value| value.to_str().map(str::trim).map_err(|_| bad()))
        .transpose()
}
