//! What the admin port answers.

use http::StatusCode;

use super::routes::{Answer, content, text};
use crate::metrics::Metrics;

/// The node is up: a shard that dies takes the process with it.
pub(super) fn health() -> Answer {
    content(StatusCode::OK, "application/json", "{}")
}

/// The counters of all shards in the OpenMetrics text form that Prometheus reads.
pub(super) fn metrics(metrics: &Metrics) -> Answer {
    match metrics.encode() {
        Ok(body) => {
            const TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            content(StatusCode::OK, TYPE, body)
        }
        Err(error) => {
            tracing::error!(%error, "metrics could not be written");
            text(StatusCode::INTERNAL_SERVER_ERROR, "metrics could not be written\n")
        }
    }
}
