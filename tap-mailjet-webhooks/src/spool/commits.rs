//! How commits go: what the writer measures.

use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

/// What the writer has measured. Clones measure together.
#[derive(Debug, Clone)]
pub struct Commits {
    seconds: Histogram,
    rows: Histogram,
}

impl Default for Commits {
    fn default() -> Self {
        Commits {
            // From a quarter of a millisecond (a fast disk) to 8 s (one that is about to fail).
            seconds: Histogram::new(exponential_buckets(0.000_25, 2.0, 16)),
            // Up to 16 384 events in one transaction.
            rows: Histogram::new(exponential_buckets(1.0, 4.0, 8)),
        }
    }
}

impl Commits {
    /// Notes a commit. Once for each transaction, and so never more often than the disk syncs.
    pub(super) fn note(&self, seconds: f64, rows: u32) {
        self.seconds.observe(seconds);
        self.rows.observe(f64::from(rows));
    }

    /// How long transactions took, their sync included: seconds.
    #[must_use]
    pub fn seconds(&self) -> &Histogram {
        &self.seconds
    }

    /// How many rows they wrote.
    #[must_use]
    pub fn rows(&self) -> &Histogram {
        &self.rows
    }
}
