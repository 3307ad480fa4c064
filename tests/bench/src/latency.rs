//! How long the answers took.

use std::fmt::Write;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::measurement::float;

/// Answer times. Recorded in microseconds with three significant digits, reported in milliseconds.
#[derive(Debug, Clone)]
pub(crate) struct Latencies {
    micros: Histogram<u64>,
}

impl Latencies {
    /// The upper limit of the first bar, in microseconds. Each further bar reaches twice as far.
    const FIRST_LIMIT: u64 = 125;

    /// Creates an empty histogram.
    pub(crate) fn new() -> Self {
        Latencies { micros: Histogram::new(3).expect("three digits are supported") }
    }

    /// Adds an answer time.
    pub(crate) fn record(&mut self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.micros.record(micros).expect("the histogram grows as needed");
    }

    /// How many answers were recorded.
    pub(crate) fn count(&self) -> u64 {
        self.micros.len()
    }

    /// The longest answer time.
    pub(crate) fn longest(&self) -> f64 {
        float(self.micros.max()) / 1e3
    }

    /// The answer time that this share of the answers did not exceed.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        float(self.micros.value_at_quantile(share)) / 1e3
    }

    /// How many answers took up to 1, 2, 4, … eighths of a millisecond: each limit, and the count.
    pub(crate) fn doublings(&self) -> Vec<(f64, u64)> {
        let mut limit = Self::FIRST_LIMIT;
        let mut doublings = vec![(float(limit) / 1e3, 0)];
        for bucket in self.micros.iter_recorded() {
            while bucket.value_iterated_to() > limit {
                limit *= 2;
                doublings.push((float(limit) / 1e3, 0));
            }
            if let Some((_, count)) = doublings.last_mut() {
                *count += bucket.count_at_value();
            }
        }
        doublings
    }

    /// A text with both distributions side by side. The bars are logarithmic.
    pub(crate) fn compare(&self, name: &str, other: &Latencies, other_name: &str) -> String {
        const WIDTH: f64 = 30.0;
        let (ours, theirs) = (self.doublings(), other.doublings());
        let longer = if ours.len() >= theirs.len() { &ours } else { &theirs };
        let mut text = format!("{:>12}  {name:40}  {other_name}\n", "up to");
        for (index, (limit, _)) in longer.iter().enumerate() {
            let mut line = format!("{limit:9.3} ms");
            for (doublings, all) in [(&ours, self.count()), (&theirs, other.count())] {
                let count = doublings.get(index).map_or(0, |(_, count)| *count);
                let share = float(count) / float(all.max(1));
                // Logarithmic, since one answer in a hundred thousand must be visible.
                let length = if count == 0 { 0.0 } else { (WIDTH / 5.0 * (share * 1e5).log10()).max(1.0) };
                let _ = write!(line, "  {count:8} {:31}", bar(length));
            }
            text += line.trim_end();
            text.push('\n');
        }
        for (name, latencies) in [(name, self), (other_name, other)] {
            let [half, p99, p999] = [0.5, 0.99, 0.999].map(|share| latencies.quantile(share));
            let _ = writeln!(
                text,
                "{name}: half {half:.2} ms, 99 % {p99:.2} ms, 99.9 % {p999:.2} ms, longest {:.2} ms, of {}",
                latencies.longest(),
                latencies.count()
            );
        }
        text
    }
}

fn bar(length: f64) -> String {
    (0..31).map(f64::from).take_while(|place| *place < length.round()).map(|_| '#').collect()
}
