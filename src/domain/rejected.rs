//! Why a domain rejects an event.

use std::borrow::Cow;

use super::rules::shown_name;
use super::{Domain, FoldError, Rules as _};
use crate::event::{DecodeError, TypeId, Version};

/// Why an event is rejected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RejectedError {
    /// The payload does not match an event type of this domain.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A field of the payload does not match its type.
    #[error("{error}")]
    Field {
        /// What does not match.
        #[source]
        error: DecodeError,
        /// The JSON pointer to the field within the payload; empty when the payload as a whole does not match.
        pointer: String,
    },
    /// The payload has a field that its type does not have. Storing the event would lose it.
    #[error("unknown field `{field}`; leave it out")]
    UnknownField {
        /// The path of the field.
        field: String,
        /// The JSON pointer to the field within the payload.
        pointer: String,
    },
    /// A text in this part of the event, `payload` or `metadata`, contains U+0000.
    #[error("a text in `{0}` contains \\u0000, which cannot be stored; leave it out")]
    ContainsNul(&'static str),
    /// [`Domain::validate`] rejected it.
    #[error("{source}")]
    Invalid {
        /// The name of the rule, in snake case.
        rule: String,
        /// The JSON pointer to the field within the payload; see [`Domain::pointer`].
        pointer: Cow<'static, str>,
        /// The domain's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// [`Domain::check`] rejected it.
    #[error("{source}")]
    Rule {
        /// The name of the rule, in snake case.
        rule: String,
        /// The domain's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The fold of the aggregate has ended.
    #[error("the aggregate is deleted")]
    Deleted,
    /// The aggregate holds events of another domain.
    #[error("the aggregate belongs to another domain: its event {0} is of type {1}")]
    Foreign(Version, TypeId),
    /// Earlier events cannot be folded, so the rules have no state to check against.
    #[error("the aggregate's earlier events cannot be folded")]
    Unfoldable(#[source] FoldError),
}

impl RejectedError {
    pub(super) fn invalid<D: Domain>(error: D::Error) -> Self {
        Self::Invalid {
            rule: shown_name(error.name()),
            pointer: D::pointer(&error),
            source: error.into(),
        }
    }

    pub(super) fn rule<D: Domain>(error: D::Error) -> Self {
        Self::Rule {
            rule: shown_name(error.name()),
            source: error.into(),
        }
    }

    /// The JSON pointer (RFC 6901) to the field of the event that has to be sent differently; `None` when the event may be
    /// accepted later as it was sent.
    #[must_use]
    pub fn pointer(&self) -> Option<String> {
        match self {
            Self::Decode(DecodeError::UnknownType(_)) => Some("/type_id".to_owned()),
            Self::Decode(_) => Some("/payload".to_owned()),
            Self::Field { pointer, .. } | Self::UnknownField { pointer, .. } => {
                Some(format!("/payload{pointer}"))
            }
            Self::Invalid { pointer, .. } => Some(format!("/payload{pointer}")),
            Self::ContainsNul(part) => Some(format!("/{part}")),
            Self::Rule { .. } | Self::Deleted | Self::Foreign(..) | Self::Unfoldable(_) => None,
        }
    }
}
