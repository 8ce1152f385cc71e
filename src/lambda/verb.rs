//! The verbs of the catch-up function.

use lambda_runtime::Diagnostic;
use serde::Deserialize;
use serde_json::Value;

/// What an invocation asks for.
#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verb {
    /// `{}`, or any event of a scheduler: apply the new events.
    #[serde(skip)]
    CatchUp,
    /// `{"status":true}`: measure the lag and apply nothing.
    Status(bool),
    /// `{"retry":"users"}`: retry all parked aggregates of a projection now.
    Retry(String),
}

impl Verb {
    /// The verb of a payload.
    ///
    /// # Errors
    ///
    /// If the payload is not exactly one verb; the message lists all verbs.
    pub(super) fn parse(payload: Value) -> Result<Self, Diagnostic> {
        let unknown = |problem: &str| Diagnostic {
            error_type: "UnknownVerb".to_owned(),
            error_message: format!(
                r#"{problem}; send {{}} to catch up, {{"status":true}}, or {{"retry":"<projection>"}}"#
            ),
        };
        let Value::Object(fields) = &payload else {
            return Err(unknown("the payload must be a JSON object"));
        };
        // All events of EventBridge, its scheduler and its rules have these two fields.
        if fields.is_empty()
            || (fields.contains_key("detail-type") && fields.contains_key("source"))
        {
            return Ok(Self::CatchUp);
        }
        match serde_json::from_value(payload) {
            Ok(Self::Status(false)) => Err(unknown("`status` must be true")),
            Ok(verb) => Ok(verb),
            Err(error) => Err(unknown(&error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_payload_is_one_verb_or_an_error_that_names_them() {
        for payload in [
            json!({}),
            json!({"source": "aws.scheduler", "detail-type": "x", "id": "1"}),
        ] {
            assert_eq!(Verb::parse(payload).unwrap(), Verb::CatchUp);
        }
        assert_eq!(
            Verb::parse(json!({"status": true})).unwrap(),
            Verb::Status(true)
        );
        assert_eq!(
            Verb::parse(json!({"retry": "users"})).unwrap(),
            Verb::Retry("users".into())
        );
        for payload in [
            json!({"sing": true}),
            json!({"status": false}),
            json!({"status": true, "retry": "users"}),
            json!({"retry": 1}),
            json!({"catch_up": null}),
            json!([]),
            json!(null),
        ] {
            let error = Verb::parse(payload).unwrap_err();
            assert_eq!(error.error_type, "UnknownVerb");
            let all = ["{}", "status", "retry"];
            let text = error.error_message;
            assert!(all.iter().all(|name| text.contains(name)), "{text}");
        }
    }
}
