//! Metrics of a projection, one line each in `CloudWatch`'s embedded metric format. `CloudWatch` reads such lines from a
//! function's standard output, so publishing them needs no request and no permission.

use std::time::SystemTime;

use serde_json::{Value, json};

use crate::run;

/// The state of one projection after an invocation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Metrics {
    pub projection: &'static str,
    pub lag_events: u64,
    /// `None` if the time did not suffice to measure it.
    pub lag_seconds: Option<f64>,
    pub parked: u64,
    pub applied: u64,
}

/// Writes the line.
pub(super) fn write(metrics: Metrics) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = u64::try_from(now.unwrap_or_default().as_millis()).unwrap_or_default();
    run::print(&format!("{}\n", line(metrics, now)));
}

fn line(metrics: Metrics, epoch_ms: u64) -> Value {
    let mut definitions = vec![
        json!({"Name": "LagEvents", "Unit": "Count"}),
        json!({"Name": "Parked", "Unit": "Count"}),
        json!({"Name": "Applied", "Unit": "Count"}),
    ];
    let mut line = json!({
        "Projection": metrics.projection,
        "LagEvents": metrics.lag_events,
        "Parked": metrics.parked,
        "Applied": metrics.applied,
    });
    if let Some(seconds) = metrics.lag_seconds {
        definitions.push(json!({"Name": "LagSeconds", "Unit": "Seconds"}));
        line["LagSeconds"] = json!(seconds);
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

    /// `CloudWatch` ignores a metric without a value, and a value without a definition.
    #[test]
    fn each_metric_has_its_value() {
        for lag_seconds in [None, Some(1.5)] {
            let metrics = Metrics {
                projection: "users",
                lag_events: 1,
                lag_seconds,
                parked: 2,
                applied: 3,
            };
            let line = line(metrics, 7);
            let directive = &line["_aws"]["CloudWatchMetrics"][0];
            let definitions = directive["Metrics"].as_array().unwrap();
            assert_eq!(definitions.len(), 3 + usize::from(lag_seconds.is_some()));
            for metric in definitions {
                assert!(line[metric["Name"].as_str().unwrap()].is_number(), "{line}");
            }
            assert_eq!(line["Projection"], "users");
            assert_eq!(directive["Dimensions"], json!([["Projection"]]));
        }
    }
}
