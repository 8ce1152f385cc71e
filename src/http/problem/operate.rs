//! Errors of operators' verbs as problems.

use super::{Kind, Problem};
use crate::operate::{OperateError, UnknownProjectionError};
use crate::projection::SkipError;

impl From<UnknownProjectionError> for Problem {
    fn from(error: UnknownProjectionError) -> Self {
        Self::new(Kind::NoProjection, error.to_string())
    }
}

impl From<OperateError> for Problem {
    fn from(error: OperateError) -> Self {
        match error {
            OperateError::Projection(error) => error.into(),
            OperateError::Skip(error) => error.into(),
            OperateError::NotParked(_) => Self::new(Kind::NotParked, error.to_string()),
            OperateError::OutOfTime => Self::timed_out(),
            OperateError::Panicked => Self::internal().because(error),
        }
    }
}

impl From<SkipError> for Problem {
    fn from(error: SkipError) -> Self {
        let detail = error.to_string();
        match error {
            SkipError::NotParked(_) => Self::new(Kind::NotParked, detail),
            SkipError::Ambiguous(_) | SkipError::NotNext(_) => {
                Self::new(Kind::NotSkippable, detail)
            }
            SkipError::Projection(error) => error.into(),
        }
    }
}
