//! The kinds of problems.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

/// What the `type` of every problem begins with; its name follows.
pub(crate) const PROBLEM_URN: &str = "urn:foldlog:problem:";

/// Declares the kinds of problems: variant, status, name in the type's URN, title, and the extension members with whether
/// they are always present.
macro_rules! kinds {
    ($($kind:ident => $status:ident $slug:literal $title:literal [$($member:ident: $always:literal),*],)+) => {
        /// The kind of a problem. Error statuses are chosen here only.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(in crate::http) enum Kind {
            $($kind),+
        }

        impl Kind {
            /// All kinds.
            pub(in crate::http) const ALL: &[Self] = &[$(Self::$kind),+];

            pub(super) const fn parts(self) -> (StatusCode, &'static str, &'static str) {
                match self {
                    $(Self::$kind => (StatusCode::$status, $slug, $title)),+
                }
            }

            /// The extension members (RFC 9457, 3.2), and whether they are always present.
            pub(in crate::http) const fn members(self) -> &'static [(&'static str, bool)] {
                match self {
                    $(Self::$kind => &[$((stringify!($member), $always)),*]),+
                }
            }
        }
    };
}

kinds! {
    Malformed => BAD_REQUEST "malformed" "The request is malformed" [],
    Unauthorized => UNAUTHORIZED "unauthorized" "The request is not authenticated" [],
    Forbidden => FORBIDDEN "forbidden" "The caller does not have the required scope" [index: false],
    ReadOnly => FORBIDDEN "read-only" "The console only reads" [],
    NotFound => NOT_FOUND "not-found" "There is no such aggregate" [version: false],
    NoRoute => NOT_FOUND "no-such-route" "There is no such route" [],
    NoProjection => NOT_FOUND "no-such-projection" "There is no such projection" [],
    NotParked => NOT_FOUND "not-parked" "The aggregate or event is not parked" [],
    NoMethod => METHOD_NOT_ALLOWED "method-not-allowed" "The route does not support this method" [],
    RuleBroken => CONFLICT "rule-broken" "A rule of the domain rejects the event" [index: false, rule: true],
    IdReused => CONFLICT "id-reused" "The event id is already in use" [index: false],
    NotSkippable => CONFLICT "not-skippable" "The event cannot be skipped now" [],
    WrongReprojection => CONFLICT "wrong-reprojection" "No reprojection is in the state that this needs" [],
    VerificationReplaced => CONFLICT "verification-replaced" "Another verification was started in place of this one" [],
    Deleted => GONE "deleted" "The aggregate is deleted" [index: false],
    VersionMismatch => PRECONDITION_FAILED "version-mismatch" "The aggregate is at another version" [aggregate_id: false, version: true],
    TooLarge => PAYLOAD_TOO_LARGE "too-large" "The request is too large" [],
    WrongMediaType => UNSUPPORTED_MEDIA_TYPE "wrong-media-type" "The body must be JSON" [],
    ResponseTooLarge => NOT_ACCEPTABLE "response-too-large" "The response is too large for the gateway" [],
    Unprocessable => UNPROCESSABLE_ENTITY "unprocessable" "The event does not fit its domain" [index: false, pointer: true, rule: false],
    Internal => INTERNAL_SERVER_ERROR "internal" "An internal error occurred" [],
    Unavailable => SERVICE_UNAVAILABLE "unavailable" "The service is unavailable" [],
    TimedOut => SERVICE_UNAVAILABLE "timed-out" "The request took too long" [],
}

impl Kind {
    pub(in crate::http) const fn status(self) -> StatusCode {
        self.parts().0
    }

    pub(in crate::http) const fn title(self) -> &'static str {
        self.parts().2
    }

    /// The name of the kind's schema in the OpenAPI document.
    pub(in crate::http) fn schema_name(self) -> String {
        format!("Problem{self:?}")
    }

    /// The schema of a problem of this kind.
    pub(in crate::http) fn schema(self) -> Value {
        let mut properties = Map::new();
        for (name, value) in [("type", json!(self.urn())), ("title", json!(self.title()))] {
            let schema = json!({"type": "string", "enum": [value]});
            properties.insert(name.to_owned(), schema);
        }
        let status = json!({"type": "integer", "enum": [self.status().as_u16()]});
        properties.insert("status".to_owned(), status);
        properties.insert("detail".to_owned(), json!({"type": "string"}));
        let mut required = vec!["type", "title", "status", "detail"];
        for (name, is_always_present) in self.members() {
            let schema = match *name {
                "aggregate_id" => json!({"type": "string", "format": "uuid"}),
                "pointer" => {
                    json!({"type": "string", "description": "The JSON pointer (RFC 6901) to the field of the body"})
                }
                "rule" => json!({"type": "string"}),
                "version" => json!({"type": "integer", "minimum": 0, "maximum": i32::MAX}),
                _ => json!({"type": "integer", "minimum": 0}),
            };
            properties.insert((*name).to_owned(), schema);
            if *is_always_present {
                required.push(name);
            }
        }
        json!({"type": "object", "properties": properties, "required": required})
    }

    /// The stable `type` of a problem.
    pub(in crate::http) fn urn(self) -> String {
        format!("{PROBLEM_URN}{}", self.parts().1)
    }
}
