//! `POST /{domain}/{id}/revert`.

use std::fmt;

use axum::Json;
use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::json;
use serde_json::value::RawValue;

use super::append::{DryRunAnswer, conditions};
use crate::command::{self, Revert, Reverted};
use crate::event::{AggregateId, AppendedEvent, EventId, Metadata, Version};
use crate::http::AppState;
use crate::http::auth::Caller;
use crate::http::body::{read_field, read_json, read_metadata, read_uuid};
use crate::http::etag::{etag, expected_version};
use crate::http::extract::{DomainPath, IdPath, Params};
use crate::http::openapi::{
    DomainSchemas, ETAG, Operation, Response as OpenApiResponse, reference,
};
use crate::http::problem::{Kind, Problem};
use crate::view::Changes;

/// The response to a revert.
#[derive(Serialize)]
struct RevertAnswer {
    result: &'static str,
    aggregate_id: AggregateId,
    version: Version,
    events: Vec<AppendedEvent>,
    changes: Changes,
    not_restored: Vec<String>,
}

/// Brings an aggregate back to an earlier state.
pub(in crate::http) async fn revert(
    State(state): State<AppState>,
    DomainPath(served): DomainPath,
    IdPath(aggregate_id): IdPath,
    caller: Caller,
    mut params: Params,
    headers: HeaderMap,
    RevertBody(mut revert): RevertBody,
) -> Result<Response, Problem> {
    let dry_run = params.take_flag("dry_run")?;
    params.reject_unknown()?;
    let expected = expected_version(&headers)?;
    caller.sign_metadata(&mut revert.metadata)?;
    revert.aggregate_id = aggregate_id;
    let foldlog = &state.foldlog;
    if dry_run {
        let run = command::dry_run_revert(foldlog, &served, &revert, expected);
        let (dry_run, not_restored) = run.await?;
        let answer = DryRunAnswer::new(dry_run, Some(not_restored));
        return Ok(Json(answer).into_response());
    }
    let reverted = command::revert(foldlog, &served, &revert, expected).await?;
    Ok(respond(reverted))
}

fn respond(reverted: Reverted) -> Response {
    let (status, result) = match (reverted.events.is_empty(), reverted.duplicate) {
        (true, _) => (StatusCode::OK, "Nothing to revert"),
        (false, true) => (StatusCode::OK, "Aggregate reverted"),
        (false, false) => (StatusCode::CREATED, "Aggregate reverted"),
    };
    let version = reverted.outcome.version;
    let answer = RevertAnswer {
        result,
        aggregate_id: reverted.outcome.aggregate_id,
        version,
        events: reverted.events,
        changes: reverted.outcome.changes,
        not_restored: reverted.not_restored,
    };
    (status, [(header::ETAG, etag(version))], Json(answer)).into_response()
}

/// The body of a revert. Its aggregate is in the path.
pub(in crate::http) struct RevertBody(Revert);

impl FromRequest<AppState> for RevertBody {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &AppState) -> Result<Self, Problem> {
        let body = read_json(request).await?;
        serde_json::from_slice(&body).map_err(|error| {
            let detail = format!(
                "the body must be an object with `id`, `to_version` and, optionally, `metadata` and `except`: {error}"
            );
            Problem::new(Kind::Malformed, detail)
        })
    }
}

impl<'de> Deserialize<'de> for RevertBody {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_map(RevertVisitor)
    }
}

struct RevertVisitor;

/// The fields of the body.
#[derive(serde::Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum RevertField {
    Id,
    ToVersion,
    Metadata,
    Except,
}

impl<'de> Visitor<'de> for RevertVisitor {
    type Value = RevertBody;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<RevertBody, A::Error> {
        let (mut id, mut to_version) = (None, None);
        let (mut metadata, mut except): (Option<Metadata>, _) = (None, None);
        while let Some(field) = fields.next_key()? {
            match field {
                RevertField::Id => read_field(&mut fields, "id", &mut id, read_uuid),
                RevertField::ToVersion => {
                    read_field(&mut fields, "to_version", &mut to_version, read_version)
                }
                RevertField::Metadata => {
                    read_field(&mut fields, "metadata", &mut metadata, read_metadata)
                }
                RevertField::Except => read_field(&mut fields, "except", &mut except, read_names),
            }?;
        }
        let missing = Error::missing_field;
        Ok(RevertBody(Revert {
            id: EventId(id.ok_or_else(|| missing("id"))?),
            aggregate_id: AggregateId(uuid::Uuid::nil()),
            to_version: to_version.ok_or_else(|| missing("to_version"))?,
            metadata: metadata.unwrap_or_default(),
            except: except.unwrap_or_default(),
        }))
    }
}

fn read_version(json: &RawValue) -> Result<Version, &'static str> {
    let number: Option<i32> = serde_json::from_str(json.get()).ok();
    let positive = number.filter(|number| *number > 0).map(Version);
    positive.ok_or("must be a number from 1 to 2147483647")
}

fn read_names(json: &RawValue) -> Result<Vec<String>, &'static str> {
    serde_json::from_str(json.get()).map_err(|_| "must be an array of names of fields")
}

/// Describes the route.
pub(super) fn describe(domain: &DomainSchemas) -> Operation {
    let name = domain.name;
    let reverted = |description: &str, with_dry_run: bool| {
        let mut schemas = vec![reference("AggregateReverted")];
        if with_dry_run {
            schemas.push(domain.reference("dry_run"));
        }
        let etag = ETAG.optional("The version of the aggregate. A dry run has none.");
        OpenApiResponse::new(description, &[etag]).json(&json!({"oneOf": schemas}))
    };
    let operation = Operation::new(
        &format!("revert_{name}"),
        &format!("Bring one of {name} back to an earlier state"),
    );
    conditions(operation.tag(name))
        .aggregate_id()
        .body(
            "The earlier version, and the idempotency key",
            &reference("Revert"),
        )
        .response(
            StatusCode::CREATED,
            reverted("The events that restore the state are stored", false),
        )
        .response(
            StatusCode::OK,
            reverted(
                "An earlier request with the same content has stored them, or there is nothing to restore; or a dry run",
                true,
            ),
        )
        .rules_of(domain)
        .problems(&[
            Kind::Malformed,
            Kind::NotFound,
            Kind::RuleBroken,
            Kind::IdReused,
            Kind::Deleted,
            Kind::VersionMismatch,
            Kind::TooLarge,
            Kind::WrongMediaType,
            Kind::Unprocessable,
            Kind::Unavailable,
        ])
}
