//! Records what verbs have answered. A client whose verb was handed over reads it at `GET /projections/{name}`.

use std::time::Instant;

use serde_json::{Value, json};
use tokio::time::timeout_at;

use super::{Deadline, OperateError, Operator, Report, Verb};
use crate::projection;
use crate::view::View;

/// The longest answer that is recorded, in bytes.
const MAX_RESULT_BYTES: usize = 256 << 10;

impl Operator {
    /// Records the answer of a verb, unless the verb is a catch-up, of which there is one a minute. A failure is only logged, because
    /// the verb has done its work.
    pub(super) async fn record(
        &self,
        view: &View,
        verb: &Verb,
        result: &Result<Report, OperateError>,
        deadline: Deadline,
    ) {
        let Some(name) = verb.name() else { return };
        let record_by = deadline.record_by(Instant::now());
        let answer = recorded_answer(verb, result);
        let store = projection::store_verb_result(&self.foldlog.pool, view, name, &answer);
        let failure = match timeout_at(record_by.into(), store).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(elapsed) => elapsed.to_string(),
        };
        tracing::warn!(
            projection = view.name(),
            "the answer of the verb {name} was not recorded: {failure}"
        );
    }
}

fn recorded_answer(verb: &Verb, result: &Result<Report, OperateError>) -> Value {
    let report = match result {
        Ok(report) => report,
        Err(error) => return json!({ "error": error.to_string() }),
    };
    let mut answer = report.to_json(verb);
    // A verification records the differences itself.
    if let (Verb::Verify { .. }, Some(members)) = (verb, answer.as_object_mut()) {
        members.remove("differences");
    }
    while answer.to_string().len() > MAX_RESULT_BYTES {
        let differences = answer.pointer_mut("/preview/differences");
        if differences
            .and_then(Value::as_array_mut)
            .and_then(Vec::pop)
            .is_none()
        {
            break;
        }
    }
    answer
}
