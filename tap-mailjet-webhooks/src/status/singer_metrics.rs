//! Measurements in the form that Singer tools read: `INFO METRIC: {…}`.

use std::time::Instant;

use serde_json::{Value, json};
use tracing::info;

use crate::emitter::progress::EmitterProgress;

/// Logs how many records a run has written, and how long it took.
#[derive(Debug)]
pub struct SingerMetrics {
    job_type: &'static str,
    progress: EmitterProgress,
    started: Instant,
    /// How many records of each selected stream have been logged, in the order of the streams.
    logged: Vec<u64>,
}

impl SingerMetrics {
    /// Starts the timer of a run. `job_type` is a tag of the measurements.
    pub fn start(job_type: &'static str, progress: EmitterProgress) -> Self {
        SingerMetrics { job_type, progress, started: Instant::now(), logged: Vec::new() }
    }

    /// Logs how many records were written to each stream since the last time.
    pub fn log_counts(&mut self) {
        let written = self.progress.snapshot().records_written;
        self.logged.resize(written.len(), 0);
        for ((stream, records), logged) in written.into_iter().zip(&mut self.logged) {
            let more = records - std::mem::replace(logged, records);
            if more > 0 {
                log(&json!({
                    "type": "counter",
                    "metric": "record_count",
                    "value": more,
                    "tags": { "endpoint": stream.name() },
                }));
            }
        }
    }

    /// Logs the last counts of a run, and how long it took.
    pub fn log_end<E>(&mut self, outcome: &Result<(), E>) {
        self.log_counts();
        let status = if outcome.is_ok() { "succeeded" } else { "failed" };
        log(&json!({
            "type": "timer",
            "metric": "job_duration",
            "value": self.started.elapsed().as_secs_f64(),
            "tags": { "job_type": self.job_type, "status": status },
        }));
    }
}

fn log(point: &Value) {
    info!("METRIC: {point}");
}
