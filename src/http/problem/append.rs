//! Errors of appends as problems.

use super::{Kind, Problem, unfoldable};
use crate::command::{AppendError, RevertError};
use crate::db::DbError;
use crate::domain::RejectedError;

/// The values of `rule` that no domain defines: the aggregate has as many events as a version can count; it belongs to another
/// domain; a constraint or a trigger that was added to the tables of the installation rejects the event; the domain does not
/// define how to bring back a state.
pub(in crate::http) const OWN_RULES: [&str; 4] = [FULL, FOREIGN, CONSTRAINT, NOT_REVERTIBLE];
const FULL: &str = "aggregate_full";
const FOREIGN: &str = "aggregate_of_another_domain";
const CONSTRAINT: &str = "database_constraint";
const NOT_REVERTIBLE: &str = "not_revertible";

impl From<AppendError> for Problem {
    fn from(error: AppendError) -> Self {
        use AppendError as Error;
        let detail = error.to_string();
        match error {
            Error::Empty | Error::DuplicateId { .. } | Error::OneAggregate => {
                Self::new(Kind::Malformed, detail)
            }
            Error::TooMany(_) => Self::new(Kind::TooLarge, detail),
            Error::NotOfDomain { index, .. } | Error::NoDomain { index, .. } => {
                unprocessable(detail, "/type_id").with_member("index", index)
            }
            Error::MixedAggregate { index } => {
                unprocessable(detail, "/aggregate_id").with_member("index", index)
            }
            Error::ReservedMetadata { index } => {
                unprocessable(detail, "/metadata/revert").with_member("index", index)
            }
            Error::NotFoldable { index, .. } | Error::TooManyPasswords { index } => {
                unprocessable(detail, "/payload").with_member("index", index)
            }
            Error::Rejected { index, error } => {
                rejected(detail, &error).with_member("index", index)
            }
            Error::SetRule { name, message } => {
                Self::new(Kind::RuleBroken, message).with_member("rule", name)
            }
            Error::Full(_) => Self::new(Kind::RuleBroken, detail).with_member("rule", FULL),
            Error::VersionMismatch {
                aggregate_id,
                actual,
            } => Self::new(
                Kind::VersionMismatch,
                format!("{detail}; read it again and send If-Match with the current version"),
            )
            .with_member("aggregate_id", aggregate_id.to_string())
            .with_member("version", actual.0),
            Error::IdReused { index, .. } | Error::PartlyStored { index, .. } => {
                Self::new(Kind::IdReused, detail).with_member("index", index)
            }
            Error::Contended => Self::new(Kind::Unavailable, detail).retry_after(1),
            Error::Hash | Error::NotServed(_) => Self::internal().because(error),
            Error::Inline(projection) => projection.into(),
            // The append's statements are right for every event that the domain accepts. What else rejects a row was added to
            // the tables of this installation.
            Error::Db(error @ (DbError::Conflict { .. } | DbError::Data { .. })) => Self::new(
                Kind::RuleBroken,
                "a constraint or a trigger in the database rejects the event",
            )
            .with_member("rule", CONSTRAINT)
            .because(error),
            Error::Db(error) => error.into(),
        }
    }
}

impl From<RevertError> for Problem {
    fn from(error: RevertError) -> Self {
        use RevertError as Error;
        let detail = error.to_string();
        match error {
            Error::Unknown => Self::new(Kind::NotFound, detail),
            Error::Deleted => Self::new(Kind::Deleted, detail),
            Error::NotRevertible(_) => {
                Self::new(Kind::RuleBroken, detail).with_member("rule", NOT_REVERTIBLE)
            }
            Error::NoSuchVersion { .. } | Error::EndedAt(_) => unprocessable(detail, "/to_version"),
            Error::UnknownField { index, .. } => unprocessable(detail, &format!("/except/{index}")),
            Error::NothingToKeep => unprocessable(detail, "/except"),
            Error::ReservedMetadata => unprocessable(detail, "/metadata/revert"),
            Error::Rejected(RejectedError::ContainsNul("metadata")) => {
                unprocessable(detail, "/metadata")
            }
            Error::Rejected(RejectedError::Invalid { rule, .. }) => {
                unprocessable(detail, "/to_version").with_member("rule", rule)
            }
            // The reason may quote a payload, so it is not logged.
            Error::Rejected(RejectedError::Unfoldable(_)) | Error::Unfoldable(_) => unfoldable(),
            // The domain has answered events of its own state, so anything else is a defect of the domain.
            Error::Rejected(_) => Self::internal().because(anyhow::anyhow!(
                "the domain answered an event to a revert that it cannot store itself"
            )),
            Error::Append(error) => Self::from(error).about("/to_version"),
        }
    }
}

fn unprocessable(detail: String, pointer: &str) -> Problem {
    Problem::new(Kind::Unprocessable, detail).with_member("pointer", pointer)
}

fn rejected(detail: String, error: &RejectedError) -> Problem {
    match error {
        RejectedError::Decode(_)
        | RejectedError::Field { .. }
        | RejectedError::UnknownField { .. }
        | RejectedError::ContainsNul(_) => {
            unprocessable(detail, &error.pointer().unwrap_or_default())
        }
        RejectedError::Invalid { rule, .. } => {
            unprocessable(detail, &error.pointer().unwrap_or_default())
                .with_member("rule", rule.clone())
        }
        RejectedError::Rule { rule, .. } => {
            Problem::new(Kind::RuleBroken, detail).with_member("rule", rule.clone())
        }
        RejectedError::Foreign(..) => {
            Problem::new(Kind::RuleBroken, detail).with_member("rule", FOREIGN)
        }
        RejectedError::Deleted => Problem::new(Kind::Deleted, detail),
        // The reason may quote a payload, so it is not logged.
        RejectedError::Unfoldable(_) => unfoldable(),
    }
}
