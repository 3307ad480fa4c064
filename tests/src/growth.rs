//! Whether something grows that should not: the same figures, early and late.
//!
//! A figure depends on what is posted, so phases are compared each with itself, by the median of its samples, which a
//! single moment does not move. What leaks is missing in all phases from then on; what only one of them needed, at a
//! bad moment, is no leak. So a figure has grown if it has in more than half of the phases.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::samples::{Sample, Usage};
use crate::soak::Outcome;

/// What may be added without a reason: a heap is never twice the same.
const FACTOR: f64 = 1.2;
/// A million bytes.
const MB: f64 = 1e6;

/// What is looked at.
#[derive(Debug)]
struct Figure {
    name: &'static str,
    /// What may be added besides a fifth.
    slack: f64,
    /// In this unit.
    unit: f64,
    of: fn(&Sample) -> Option<u64>,
}

/// `WAL` and the like come and go, and empty pages are kept up to 16 MiB: hence the slack of the files.
const FIGURES: [Figure; 8] = [
    Figure {
        name: "memory of the tap, MB",
        slack: 4.0,
        unit: MB,
        of: |sample| tap(sample, |tap| tap.anonymous),
    },
    Figure {
        name: "memory of the target, MB",
        slack: 4.0,
        unit: MB,
        of: |sample| target(sample, |target| target.anonymous),
    },
    Figure { name: "spool, MB", slack: 20.0, unit: MB, of: |sample| Some(sample.spool) },
    Figure { name: "log of the spool, MB", slack: 20.0, unit: MB, of: |sample| Some(sample.wal) },
    Figure {
        name: "descriptors of the tap",
        slack: 8.0,
        unit: 1.0,
        of: |sample| tap(sample, |tap| tap.descriptors),
    },
    Figure {
        name: "descriptors of the target",
        slack: 4.0,
        unit: 1.0,
        of: |sample| target(sample, |target| target.descriptors),
    },
    Figure { name: "threads of the tap", slack: 4.0, unit: 1.0, of: |sample| tap(sample, |tap| tap.threads) },
    Figure {
        name: "threads of the target",
        slack: 4.0,
        unit: 1.0,
        of: |sample| target(sample, |target| target.threads),
    },
];

/// How a figure has changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Growth {
    /// Its name.
    pub name: &'static str,
    /// When: `undisturbed`, or `restarted`.
    pub when: &'static str,
    /// What it was, in the middle of all phases.
    pub early: f64,
    /// What it became.
    pub late: f64,
    /// What it could have become.
    pub limit: f64,
    /// Phases in which it went past that.
    pub beyond: Vec<&'static str>,
    /// Whether these are most.
    pub has_grown: bool,
}

/// How each figure has changed in the course of a run: within the undisturbed rounds, where the processes are the same, and
/// from the disturbed rounds before to those after. The first round of each warms up. Nothing for a run that is too
/// short to tell.
#[must_use]
pub fn growth(outcome: &Outcome) -> Vec<Growth> {
    let Range { start, end } = outcome.undisturbed;
    let middle = start.midpoint(end);
    let undisturbed = ("undisturbed", start + 1..middle, middle + 1..end);
    let disturbed = ("restarted", 1..start, end + 1..outcome.rounds);
    let comparisons = [undisturbed, disturbed];
    let long_enough =
        comparisons.into_iter().filter(|(_, early, late)| !early.is_empty() && !late.is_empty());
    long_enough
        .flat_map(|(when, early, late)| {
            FIGURES.map(|figure| figure.growth(&outcome.samples, when, &early, &late))
        })
        .collect()
}

impl Figure {
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
        for sample in samples.iter().filter(|sample| rounds.contains(&sample.scene.round)) {
            if let Some(value) = (self.of)(sample) {
                #[expect(clippy::cast_precision_loss, reason = "to compare by a factor")]
                values.entry(sample.scene.phase).or_default().push(value as f64 / self.unit);
            }
        }
        values.into_iter().map(|(phase, values)| (phase, median(values))).collect()
    }
}

fn tap(sample: &Sample, of: fn(Usage) -> u64) -> Option<u64> {
    sample.tap.map(of)
}

fn target(sample: &Sample, of: fn(Usage) -> u64) -> Option<u64> {
    sample.target.map(of)
}

/// The value in the middle; 0 of none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
