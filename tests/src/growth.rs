//! Whether something grows that should not: compares the same quantities early and late in a run.
//!
//! A quantity depends on the load, so each phase is compared with itself, by the median of its samples, which
//! no single moment can shift. A leak shows in all phases; a peak in a single phase is not a leak.
//! So a quantity has grown if it has grown in more than half of the phases.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::sampling::{ProcessUsage, Sample};
use crate::soak::SoakReport;

/// The factor by which a quantity may grow without a reason, since no two heaps are equal.
const FACTOR: f64 = 1.2;
/// A million bytes.
const MB: f64 = 1e6;

/// Something that is measured in each sample.
#[derive(Debug)]
struct Quantity {
    name: &'static str,
    /// How much it may grow in addition to that factor, in its unit.
    slack: f64,
    /// The unit, as a divisor of the measured value.
    unit: f64,
    measure: fn(&Sample) -> Option<u64>,
}

/// The log's size varies, and up to 16 MiB of empty pages are kept, hence the slack of the files.
const QUANTITIES: [Quantity; 8] = [
    Quantity {
        name: "memory of the tap, MB",
        slack: 4.0,
        unit: MB,
        measure: |sample| tap(sample, |tap| tap.anonymous),
    },
    Quantity {
        name: "memory of the target, MB",
        slack: 4.0,
        unit: MB,
        measure: |sample| target(sample, |target| target.anonymous),
    },
    Quantity { name: "spool, MB", slack: 20.0, unit: MB, measure: |sample| Some(sample.spool) },
    Quantity { name: "log of the spool, MB", slack: 20.0, unit: MB, measure: |sample| Some(sample.wal) },
    Quantity {
        name: "descriptors of the tap",
        slack: 8.0,
        unit: 1.0,
        measure: |sample| tap(sample, |tap| tap.descriptors),
    },
    Quantity {
        name: "descriptors of the target",
        slack: 4.0,
        unit: 1.0,
        measure: |sample| target(sample, |target| target.descriptors),
    },
    Quantity {
        name: "threads of the tap",
        slack: 4.0,
        unit: 1.0,
        measure: |sample| tap(sample, |tap| tap.threads),
    },
    Quantity {
        name: "threads of the target",
        slack: 4.0,
        unit: 1.0,
        measure: |sample| target(sample, |target| target.threads),
    },
];

/// How a quantity has changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Growth {
    /// The name of the quantity.
    pub name: &'static str,
    /// Which rounds were compared: `undisturbed` or `restarted`.
    pub when: &'static str,
    /// The median of all phases in the early rounds.
    pub early: f64,
    /// The median of all phases in the late rounds.
    pub late: f64,
    /// The largest late value that does not count as growth.
    pub limit: f64,
    /// The phases that exceeded their limit.
    pub beyond: Vec<&'static str>,
    /// Whether more than half of the phases did.
    pub has_grown: bool,
}

/// How each quantity has changed: within the undisturbed rounds, in which the processes stay the same, and
/// from the disturbed rounds before these to those after. The first round of each part is a warm-up. Returns
/// nothing for a run that is too short.
#[must_use]
pub fn growth(report: &SoakReport) -> Vec<Growth> {
    let Range { start, end } = report.undisturbed;
    let middle = start.midpoint(end);
    let undisturbed = ("undisturbed", start + 1..middle, middle + 1..end);
    let disturbed = ("restarted", 1..start, end + 1..report.rounds);
    let comparisons = [undisturbed, disturbed];
    let long_enough =
        comparisons.into_iter().filter(|(_, early, late)| !early.is_empty() && !late.is_empty());
    long_enough
        .flat_map(|(when, early, late)| {
            QUANTITIES.map(|figure| figure.growth(&report.samples, when, &early, &late))
        })
        .collect()
}

impl Quantity {
    fn growth(
        &self,
        samples: &[Sample],
        when: &'static str,
        early: &Range<usize>,
        late: &Range<usize>,
    ) -> Growth {
        let (early, late) = (self.by_phase(samples, early), self.by_phase(samples, late));
        let limit = |early: f64| early * FACTOR + self.slack;
        let compared: Vec<_> =
            early.iter().filter_map(|(phase, early)| Some((*phase, *early, *late.get(phase)?))).collect();
        let beyond: Vec<_> = compared
            .iter()
            .filter(|(_, early, late)| *late > limit(*early))
            .map(|(phase, ..)| *phase)
            .collect();
        let early = median(compared.iter().map(|(_, early, _)| *early).collect());
        Growth {
            name: self.name,
            when,
            early,
            late: median(compared.iter().map(|(.., late)| *late).collect()),
            limit: limit(early),
            has_grown: beyond.len() * 2 > compared.len(),
            beyond,
        }
    }

    /// The median of each phase in these rounds.
    fn by_phase(&self, samples: &[Sample], rounds: &Range<usize>) -> BTreeMap<&'static str, f64> {
        let mut values: BTreeMap<&'static str, Vec<f64>> = BTreeMap::new();
        for sample in samples.iter().filter(|sample| rounds.contains(&sample.context.round)) {
            if let Some(value) = (self.measure)(sample) {
                #[expect(clippy::cast_precision_loss, reason = "to compare by a factor")]
                values.entry(sample.context.phase).or_default().push(value as f64 / self.unit);
            }
        }
        values.into_iter().map(|(phase, values)| (phase, median(values))).collect()
    }
}

fn tap(sample: &Sample, measure: fn(ProcessUsage) -> u64) -> Option<u64> {
    sample.tap.map(measure)
}

fn target(sample: &Sample, measure: fn(ProcessUsage) -> u64) -> Option<u64> {
    sample.target.map(measure)
}

/// The median; 0 if there are no values.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
