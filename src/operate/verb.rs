//! The verbs of operators: what the catch-up function and `POST /projections` accept. The name of a verb is a field of the payload.

use serde_json::{Map, Value, json};

use super::Skip;
use crate::event::AggregateId;
use crate::projection::verify::VerifyOptions;

/// The verbs, each with the fields that may stand beside it, and an example. To add one, add it here, to [`Verb`], to
/// [`Verb::read`] and to `Operator::run_verb`.
const VERBS: &[(&str, &[&str], &str)] = &[
    ("status", &[], r#"{"status":true}"#),
    ("retry", &["aggregate_id"], r#"{"retry":"<projection>"}"#),
    (
        "skip",
        &[],
        r#"{"skip":{"domain":"<projection>","event_id":"<id>","reason":"<text>"}}"#,
    ),
    (
        "reproject",
        &["max_changes"],
        r#"{"reproject":"<projection>"}"#,
    ),
    ("preview", &[], r#"{"preview":"<projection>"}"#),
    ("cancel", &[], r#"{"cancel":"<projection>"}"#),
    (
        "verify",
        &["repair", "restart"],
        r#"{"verify":"<projection>"}"#,
    ),
];

/// What an operator asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verb {
    /// `{}`, or any event of a scheduler: apply the new events.
    CatchUp,
    /// `{"status":true}`: measure the lag and apply nothing.
    Status,
    /// `{"retry":"users"}`: retry all parked aggregates of a projection now; with `aggregate_id`, only this one.
    Retry {
        /// The projection.
        projection: String,
        /// The parked aggregate; `None`: all.
        aggregate_id: Option<AggregateId>,
    },
    /// `{"skip":{"domain":"users","event_id":…,"reason":…}}`: count a parked event as applied, without any effect.
    Skip(Skip),
    /// `{"reproject":"users"}`: build a projection again, and make it live; with `max_changes`, only if no more rows change.
    Reproject {
        /// The projection.
        projection: String,
        /// The most rows that may change.
        max_changes: Option<u64>,
    },
    /// `{"preview":"users"}`: compare the new generation with the live one.
    Preview(String),
    /// `{"cancel":"users"}`: give up the reprojection.
    Cancel(String),
    /// `{"verify":"users"}`: compare the view and the claims with the events; with `repair`, fold what differs anew. An
    /// earlier one that is not complete goes on, unless `restart` is true.
    Verify {
        /// The projection.
        projection: String,
        /// Whether it repairs, and whether it begins anew.
        options: VerifyOptions,
    },
}

/// The payload is not exactly one verb. The text lists all verbs.
#[derive(Debug, thiserror::Error)]
#[error("{problem}; send {{}} to catch up, {}", examples())]
pub struct VerbError {
    problem: String,
}

fn examples() -> String {
    let examples: Vec<&str> = VERBS.iter().map(|(_, _, example)| *example).collect();
    match examples.split_last() {
        Some((last, others)) => format!("{}, or {last}", others.join(", ")),
        None => String::new(),
    }
}

impl Verb {
    /// The verb of a payload.
    ///
    /// # Errors
    ///
    /// If the payload is not exactly one verb.
    pub fn parse(payload: &Value) -> Result<Self, VerbError> {
        let Value::Object(fields) = payload else {
            return Err(VerbError::new("the payload must be a JSON object"));
        };
        let mut named = VERBS.iter().filter(|(name, ..)| fields.contains_key(*name));
        // All events of EventBridge, its scheduler and its rules have these two fields, and none has the name of a verb.
        let is_scheduled = fields.contains_key("detail-type") && fields.contains_key("source");
        if fields.is_empty() || (is_scheduled && named.clone().next().is_none()) {
            return Ok(Self::CatchUp);
        }
        let (Some((name, options, _)), None) = (named.next(), named.next()) else {
            return Err(VerbError::new("the payload must have one verb"));
        };
        let is_known = |field: &str| field == *name || options.contains(&field);
        if let Some(unknown) = fields.keys().find(|field| !is_known(field)) {
            let problem = format!("`{unknown}` is not a field of the verb `{name}`");
            return Err(VerbError::new(problem));
        }
        Self::read(name, fields)
    }

    fn read(name: &str, fields: &Map<String, Value>) -> Result<Self, VerbError> {
        let value = &fields[name];
        let projection = || match value {
            Value::String(name) => Ok(name.clone()),
            _ => Err(VerbError::new(format!(
                "`{name}` must be the name of a projection"
            ))),
        };
        let flag = |name| match fields.get(name) {
            None => Ok(false),
            Some(flag) => flag
                .as_bool()
                .ok_or_else(|| VerbError::new(format!("`{name}` must be true or false"))),
        };
        match name {
            "status" if *value == Value::Bool(true) => Ok(Self::Status),
            "status" => Err(VerbError::new("`status` must be true")),
            "retry" => {
                let parse = |id: &Value| serde_json::from_value(id.clone());
                let id = fields.get("aggregate_id").map(parse).transpose();
                Ok(Self::Retry {
                    projection: projection()?,
                    aggregate_id: id
                        .map_err(|_| VerbError::new("`aggregate_id` must be a UUID"))?,
                })
            }
            "reproject" => {
                Ok(Self::Reproject {
                    projection: projection()?,
                    max_changes: match fields.get("max_changes") {
                        None => None,
                        Some(max) => Some(max.as_u64().ok_or_else(|| {
                            VerbError::new("`max_changes` must be a number of rows")
                        })?),
                    },
                })
            }
            "preview" => Ok(Self::Preview(projection()?)),
            "cancel" => Ok(Self::Cancel(projection()?)),
            "verify" => Ok(Self::Verify {
                projection: projection()?,
                options: VerifyOptions {
                    repair: flag("repair")?,
                    restart: flag("restart")?,
                },
            }),
            "skip" => Skip::read(value).map(Self::Skip),
            _ => unreachable!("every verb of the table is read"),
        }
    }

    /// The payload that is this verb.
    #[must_use]
    pub fn to_payload(&self) -> Value {
        match self {
            Self::CatchUp => json!({}),
            Self::Status => json!({"status": true}),
            Self::Retry {
                projection,
                aggregate_id: None,
            } => json!({"retry": projection}),
            Self::Retry {
                projection,
                aggregate_id: Some(id),
            } => json!({"retry": projection, "aggregate_id": id}),
            Self::Skip(skip) => json!({"skip": skip}),
            Self::Reproject {
                projection,
                max_changes: None,
            } => json!({"reproject": projection}),
            Self::Reproject {
                projection,
                max_changes: Some(max),
            } => json!({"reproject": projection, "max_changes": max}),
            Self::Preview(projection) => json!({"preview": projection}),
            Self::Cancel(projection) => json!({"cancel": projection}),
            Self::Verify {
                projection,
                options,
            } => {
                let mut payload = json!({"verify": projection, "repair": options.repair});
                if options.restart {
                    payload["restart"] = Value::Bool(true);
                }
                payload
            }
        }
    }

    /// The field of the payload that says what to do; `None` for a catch-up, whose payload is empty.
    #[must_use]
    pub const fn name(&self) -> Option<&'static str> {
        match self {
            Self::CatchUp => None,
            Self::Status => Some("status"),
            Self::Retry { .. } => Some("retry"),
            Self::Skip(_) => Some("skip"),
            Self::Reproject { .. } => Some("reproject"),
            Self::Preview(_) => Some("preview"),
            Self::Cancel(_) => Some("cancel"),
            Self::Verify { .. } => Some("verify"),
        }
    }

    /// The projection that it is about; `None`: all.
    #[must_use]
    pub fn projection(&self) -> Option<&str> {
        match self {
            Self::CatchUp | Self::Status => None,
            Self::Preview(name) | Self::Cancel(name) => Some(name),
            Self::Retry { projection, .. }
            | Self::Reproject { projection, .. }
            | Self::Verify { projection, .. } => Some(projection),
            Self::Skip(skip) => Some(&skip.domain),
        }
    }
}

impl VerbError {
    pub(super) fn new(problem: impl Into<String>) -> Self {
        let problem = problem.into();
        Self { problem }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    /// Fails when a payload is read as another verb, or one that is not a verb is accepted.
    #[test]
    fn a_payload_is_one_verb_or_an_error_that_names_them() {
        for payload in [
            json!({}),
            json!({"source": "aws.scheduler", "detail-type": "x", "id": "1"}),
        ] {
            assert_eq!(Verb::parse(&payload).unwrap(), Verb::CatchUp);
        }
        let status = Verb::parse(&json!({"status": true})).unwrap();
        assert_eq!(status, Verb::Status);
        let retry = Verb::parse(&json!({"retry": "users"})).unwrap();
        let all = Verb::Retry {
            projection: "users".into(),
            aggregate_id: None,
        };
        assert_eq!(retry, all);
        let skip =
            json!({"skip": {"domain": "users", "event_id": Uuid::nil(), "reason": "a typo"}});
        assert_eq!(Verb::parse(&skip).unwrap().projection(), Some("users"));
        for payload in [
            json!({"sing": true}),
            json!({"status": false}),
            json!({"status": true, "retry": "users"}),
            json!({"retry": "users", "max_changes": 1}),
            json!({"retry": 1}),
            json!({"retry": "users", "aggregate_id": "ada"}),
            json!({"retry": "users", "aggregate_id": null}),
            json!({"verify": "users", "aggregate_id": Uuid::nil()}),
            json!({"reproject": "users", "max_changes": -1}),
            json!({"verify": "users", "repair": 1}),
            json!({"verify": "users", "restart": "yes"}),
            json!({"verify": "users", "max_changes": 1}),
            json!({"catch_up": null}),
            json!({"reproject": "users", "source": "x", "detail-type": "x"}),
            json!({"skip": "users"}),
            json!({"skip": {"domain": "users", "event_id": Uuid::nil()}}),
            json!({"skip": {"domain": "users", "event_id": Uuid::nil(), "reason": " "}}),
            json!({"skip": {"domain": "users", "event_id": Uuid::nil(), "reason": "a\0"}}),
            json!({"skip": {"domain": "users", "event_id": Uuid::nil(), "reason": "a", "x": 1}}),
            json!({"skip": {"domain": "users", "event_id": 7, "reason": "a"}}),
            json!([]),
            json!(null),
        ] {
            let text = Verb::parse(&payload).unwrap_err().to_string();
            let all = ["{}", "status", "retry", "skip", "reproject", "verify"];
            assert!(all.iter().all(|name| text.contains(name)), "{text}");
        }
    }

    /// Fails when a payload that is handed over is another verb than the one that was received.
    #[test]
    fn the_payload_of_a_verb_is_read_as_this_verb() {
        let skip =
            json!({"domain": "users", "event_id": Uuid::nil(), "reason": "a typo", "actor": "ada"});
        for payload in [
            json!({}),
            json!({"status": true}),
            json!({"retry": "users"}),
            json!({"retry": "users", "aggregate_id": Uuid::nil()}),
            json!({"skip": skip}),
            json!({"reproject": "users"}),
            json!({"reproject": "users", "max_changes": 7}),
            json!({"preview": "users"}),
            json!({"cancel": "users"}),
            json!({"verify": "users", "repair": true}),
            json!({"verify": "users", "repair": false}),
            json!({"verify": "users", "repair": false, "restart": true}),
        ] {
            let verb = Verb::parse(&payload).unwrap();
            assert_eq!(verb.to_payload(), payload);
            assert!(verb.name().is_none_or(|name| payload.get(name).is_some()));
        }
        let scheduled = json!({"source": "aws.scheduler", "detail-type": "x", "detail": "long"});
        assert_eq!(Verb::parse(&scheduled).unwrap().to_payload(), json!({}));
    }
}
