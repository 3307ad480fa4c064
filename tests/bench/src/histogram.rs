//! How long the answers took.

use std::fmt::Write;
use std::time::Duration;

use crate::figures::{float, millis};

/// Buckets for each doubling.
const STEPS: u32 = 16;

/// Durations, counted in buckets that are a sixteenth of their size wide.
#[derive(Debug, Clone, Default)]
pub(crate) struct Histogram {
    buckets: Vec<u64>,
    longest: Duration,
}

impl Histogram {
    /// Counts a duration.
    pub(crate) fn record(&mut self, duration: Duration) {
        let micros = u32::try_from(duration.as_micros()).unwrap_or(u32::MAX);
        let bucket = bucket_of(micros);
        if self.buckets.len() <= bucket {
            self.buckets.resize(bucket + 1, 0);
        }
        self.buckets[bucket] += 1;
        self.longest = self.longest.max(duration);
    }

    /// How many were counted.
    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The longest of them, in milliseconds.
    pub(crate) fn longest(&self) -> f64 {
        millis(self.longest)
    }

    /// The duration that so large a part of them did not exceed, in milliseconds.
    pub(crate) fn quantile(&self, part: f64) -> f64 {
        let wanted = float(self.count()) * part;
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if *count > 0 && float(seen) >= wanted {
                return (f64::from(end_of(bucket)) / 1e3).min(self.longest());
            }
        }
        self.longest()
    }

    /// How many took up to 1, 2, 4, … times an eighth of a millisecond: each limit in milliseconds, and the count.
    pub(crate) fn doublings(&self) -> Vec<(f64, u64)> {
        let mut doublings: Vec<(f64, u64)> = Vec::new();
        let mut limit: u32 = 128;
        for (bucket, count) in self.buckets.iter().enumerate() {
            while end_of(bucket) > limit {
                limit = limit.saturating_mul(2);
            }
            let limit_millis = f64::from(limit) / 1024.0;
            match doublings.last_mut() {
                Some((last, sum)) if *last >= limit_millis => *sum += count,
                _ => doublings.push((limit_millis, *count)),
            }
        }
        doublings
    }

    /// For people, beside another one.
    pub(crate) fn beside(&self, name: &str, other: &Histogram, other_name: &str) -> String {
        const WIDTH: f64 = 30.0;
        let (ours, theirs) = (self.doublings(), other.doublings());
        let longer = if ours.len() >= theirs.len() { &ours } else { &theirs };
        let mut text = format!("{:>12}  {name:40}  {other_name}\n", "up to");
        for (place, (limit, _)) in longer.iter().enumerate() {
            let mut line = format!("{limit:9.3} ms");
            for (doublings, all) in [(&ours, self.count()), (&theirs, other.count())] {
                let count = doublings.get(place).map_or(0, |(_, count)| *count);
                let share = float(count) / float(all.max(1));
                // By its logarithm: one in a hundred thousand is what is looked for.
                let length = if count == 0 { 0.0 } else { (WIDTH / 5.0 * (share * 1e5).log10()).max(1.0) };
                let _ = write!(line, "  {count:8} {:31}", bar(length));
            }
            text += line.trim_end();
            text.push('\n');
        }
        for (name, histogram) in [(name, self), (other_name, other)] {
            let [half, p99, p999] = [0.5, 0.99, 0.999].map(|part| histogram.quantile(part));
            let longest = histogram.longest();
            let _ = writeln!(
                text,
                "{name}: half {half:.2} ms, 99 % {p99:.2} ms, 99.9 % {p999:.2} ms, longest {longest:.2} ms, of {}",
                histogram.count()
            );
        }
        text
    }
}

fn bar(length: f64) -> String {
    (0..31).map(f64::from).take_while(|place| *place < length.round()).map(|_| '#').collect()
}

/// The bucket of a duration in microseconds: the first sixteen are one wide, then sixteen for each doubling.
fn bucket_of(micros: u32) -> usize {
    let doublings = micros.max(STEPS).ilog2() - STEPS.ilog2();
    let within = (micros >> doublings) & (STEPS - 1);
    let bucket = if micros < STEPS { micros } else { (doublings + 1) * STEPS + within };
    bucket as usize
}

/// Where a bucket ends, in microseconds.
fn end_of(bucket: usize) -> u32 {
    let bucket = u32::try_from(bucket).unwrap_or(u32::MAX);
    if bucket < STEPS {
        return bucket + 1;
    }
    let (doublings, within) = (bucket / STEPS - 1, bucket % STEPS);
    (STEPS + within + 1).checked_shl(doublings).unwrap_or(u32::MAX)
}
