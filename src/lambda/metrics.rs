//! Metrics of a projection, one line each in `CloudWatch`'s embedded metric format. `CloudWatch` reads such lines from a
//! function's standard output, so publishing them needs no request and no permission.
//!
//! A figure that is unknown is not written, because an alarm would take a 0 for a healthy projection. `Unmeasured` is 1
//! then.

use std::time::SystemTime;

use serde_json::{Value, json};

use crate::projection::status::ProjectionStatus;
use crate::run;

/// The state of one projection after an invocation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Metrics {
    pub projection: &'static str,
    pub status: ProjectionStatus,
    pub reporter: Reporter,
}

/// Which function reports.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reporter {
    /// The worker of the projection, which has folded this many events.
    Worker {
        /// Events folded.
        applied: u64,
    },
    /// A worker that failed.
    FailedWorker,
    /// The function that serves the view. It reports even if no worker processes the projection.
    Server,
}

impl Metrics {
    /// The metrics of a worker that failed.
    pub(super) fn unmeasured(projection: &'static str) -> Self {
        Self {
            projection,
            status: ProjectionStatus::default(),
            reporter: Reporter::FailedWorker,
        }
    }

    fn values(&self) -> Vec<(&'static str, &'static str, Value)> {
        let status = &self.status;
        let unmeasured = u8::from(!status.is_measured());
        let mut values = vec![("Unmeasured", "Count", json!(unmeasured))];
        let seconds = match self.reporter {
            Reporter::Server => "ServedLagSeconds",
            Reporter::Worker { .. } | Reporter::FailedWorker => "LagSeconds",
        };
        if let Some(lag) = status.lag_seconds {
            values.push((seconds, "Seconds", json!(lag)));
        }
        if let Reporter::Worker { applied } = self.reporter {
            values.push(("Applied", "Count", json!(applied)));
            for (name, count) in [("LagEvents", status.lag_events), ("Parked", status.parked)] {
                if let Some(count) = count {
                    values.push((name, "Count", json!(count)));
                }
            }
        }
        values
    }
}

/// Writes the line.
pub(super) fn write(metrics: Metrics) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = u64::try_from(now.unwrap_or_default().as_millis()).unwrap_or_default();
    run::print(&format!("{}\n", line(metrics, now)));
}

fn line(metrics: Metrics, epoch_ms: u64) -> Value {
    let mut line = json!({"Projection": metrics.projection});
    let mut definitions = Vec::new();
    for (name, unit, value) in metrics.values() {
        definitions.push(json!({"Name": name, "Unit": unit}));
        line[name] = value;
    }
    line["_aws"] = json!({
        "Timestamp": epoch_ms,
        "CloudWatchMetrics": [
            {"Namespace": "foldlog", "Dimensions": [["Projection"]], "Metrics": definitions},
        ],
    });
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(status: ProjectionStatus, reporter: Reporter) -> Vec<String> {
        let metrics = Metrics {
            projection: "users",
            status,
            reporter,
        };
        let line = line(metrics, 7);
        let directive = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(directive["Dimensions"], json!([["Projection"]]));
        assert_eq!(line["Projection"], "users");
        let mut names = Vec::new();
        for metric in directive["Metrics"].as_array().unwrap() {
            let name = metric["Name"].as_str().unwrap();
            assert!(line[name].is_number(), "{line}");
            names.push(format!("{name}={}", line[name]));
        }
        // `CloudWatch` ignores a metric without a value, and a value without a definition.
        let members = line.as_object().unwrap().len();
        assert_eq!(members, names.len() + 2, "{line}");
        names.sort();
        names
    }

    /// Fails when an unknown figure is written as a number, when it is not reported as unmeasured, or when the values of the
    /// function that serves a view are mixed up with those of the worker.
    #[test]
    fn an_unknown_figure_has_no_metric_and_is_reported_as_unmeasured() {
        let known = ProjectionStatus::current(2);
        let unknown = ProjectionStatus::default();
        let worker = Reporter::Worker { applied: 3 };
        for (status, reporter, expected) in [
            (
                known,
                worker,
                &[
                    "Applied=3",
                    "LagEvents=0",
                    "LagSeconds=0.0",
                    "Parked=2",
                    "Unmeasured=0",
                ][..],
            ),
            (unknown, worker, &["Applied=3", "Unmeasured=1"]),
            (unknown, Reporter::FailedWorker, &["Unmeasured=1"]),
            (
                known,
                Reporter::Server,
                &["ServedLagSeconds=0.0", "Unmeasured=0"],
            ),
            (unknown, Reporter::Server, &["Unmeasured=1"]),
        ] {
            assert_eq!(written(status, reporter), expected, "{reporter:?}");
        }
    }
}
