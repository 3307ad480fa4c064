//! Measurements of the commits.

use std::time::Duration;

use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

/// How long commits took and how much they wrote. Clones share the measurements.
#[derive(Debug, Clone)]
pub struct CommitStats {
    /// How long transactions took, including their sync, in seconds.
    pub seconds: Histogram,
    /// How many rows each transaction wrote.
    pub rows: Histogram,
}

impl Default for CommitStats {
    fn default() -> Self {
        CommitStats {
            // From a quarter of a millisecond (a fast disk) to 8 s (one that is about to fail).
            seconds: Histogram::new(exponential_buckets(0.000_25, 2.0, 16)),
            // Up to 16 384 events in one transaction.
            rows: Histogram::new(exponential_buckets(1.0, 4.0, 8)),
        }
    }
}

impl CommitStats {
    /// Records one commit. Commits are no more frequent than syncs, so this costs little.
    pub(super) fn note(&self, duration: Duration, rows: u32) {
        self.seconds.observe(duration.as_secs_f64());
        self.rows.observe(f64::from(rows));
    }
}
