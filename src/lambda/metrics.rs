//! What is measured of a projection, as a line of `CloudWatch`'s embedded metric format: whatever a function writes to
//! standard output in this shape becomes metrics, without a request and without permission for one.

use std::time::SystemTime;

use serde_json::{Value, json};

use crate::run;

/// One projection after an invocation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    pub projection: &'static str,
    pub lag_events: u64,
    /// Unknown where there was no time to look.
    pub lag_seconds: Option<f64>,
    pub parked: u64,
    pub applied: u64,
}

/// Writes the line.
pub(super) fn write(measured: Measured) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = u64::try_from(now.unwrap_or_default().as_millis()).unwrap_or_default();
    run::print(&format!("{}\n", line(measured, now)));
}

fn line(measured: Measured, epoch_ms: u64) -> Value {
    let mut metrics = vec![
        json!({"Name": "LagEvents", "Unit": "Count"}),
        json!({"Name": "Parked", "Unit": "Count"}),
        json!({"Name": "Applied", "Unit": "Count"}),
    ];
    let mut line = json!({
        "Projection": measured.projection,
        "LagEvents": measured.lag_events,
        "Parked": measured.parked,
        "Applied": measured.applied,
    });
    if let Some(seconds) = measured.lag_seconds {
        metrics.push(json!({"Name": "LagSeconds", "Unit": "Seconds"}));
        line["LagSeconds"] = json!(seconds);
    }
    line["_aws"] = json!({
        "Timestamp": epoch_ms,
        "CloudWatchMetrics": [
            {"Namespace": "foldlog", "Dimensions": [["Projection"]], "Metrics": metrics},
        ],
    });
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `CloudWatch` drops a metric without a value, and a value that nothing declares.
    #[test]
    fn each_metric_has_its_value() {
        for lag_seconds in [None, Some(1.5)] {
            let measured = Measured {
                projection: "users",
                lag_events: 1,
                lag_seconds,
                parked: 2,
                applied: 3,
            };
            let line = line(measured, 7);
            let directive = &line["_aws"]["CloudWatchMetrics"][0];
            let metrics = directive["Metrics"].as_array().unwrap();
            assert_eq!(metrics.len(), 3 + usize::from(lag_seconds.is_some()));
            for metric in metrics {
                assert!(line[metric["Name"].as_str().unwrap()].is_number(), "{line}");
            }
            assert_eq!(line["Projection"], "users");
            assert_eq!(directive["Dimensions"], json!([["Projection"]]));
        }
    }
}
