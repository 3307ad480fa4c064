//! Measured values: units, medians, and requirements.

use std::time::Duration;

/// The unit of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Events, posts or records per second.
    PerSecond,
    /// Milliseconds.
    Millis,
    /// Seconds.
    Seconds,
    /// Millions of bytes.
    Megabytes,
    /// Nanoseconds per event.
    NanosPerEvent,
}

impl Unit {
    /// The unit's symbol, as it follows a number.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Unit::PerSecond => "/s",
            Unit::Millis => " ms",
            Unit::Seconds => " s",
            Unit::Megabytes => " MB",
            Unit::NanosPerEvent => " ns",
        }
    }

    /// A value with its unit, for people.
    pub(crate) fn show(self, value: f64) -> String {
        let digits = match self {
            Unit::PerSecond | Unit::NanosPerEvent => 0,
            Unit::Megabytes => 1,
            Unit::Millis | Unit::Seconds => 2,
        };
        let text = format!("{value:.digits$}");
        let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
        let mut grouped = String::new();
        for (place, digit) in whole.chars().enumerate() {
            if place > 0 && (whole.len() - place).is_multiple_of(3) {
                grouped.push(' ');
            }
            grouped.push(digit);
        }
        format!("{grouped}{rest}{}", self.name())
    }
}

/// What a result must be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Requirement {
    /// Whether it applies to the ratio, or else to the measured value.
    pub of_ratio: bool,
    /// Whether larger is better, or else smaller.
    pub at_least: bool,
    /// The value that must be reached.
    pub must: f64,
    /// A value that would be even better.
    pub stretch: Option<f64>,
}

impl Requirement {
    /// The ratio must be at least `must`.
    pub(crate) fn ratio_at_least(must: f64) -> Self {
        Requirement { of_ratio: true, at_least: true, must, stretch: None }
    }

    /// The ratio must be at most `must`.
    pub(crate) fn ratio_at_most(must: f64) -> Self {
        Requirement { at_least: false, ..Self::ratio_at_least(must) }
    }

    /// The measured value must be at least `must`.
    pub(crate) fn at_least(must: f64) -> Self {
        Requirement { of_ratio: false, ..Self::ratio_at_least(must) }
    }

    /// The measured value must be at most `must`.
    pub(crate) fn at_most(must: f64) -> Self {
        Requirement { at_least: false, ..Self::at_least(must) }
    }

    /// Adds a value that would be even better.
    pub(crate) fn stretch(self, stretch: f64) -> Self {
        Requirement { stretch: Some(stretch), ..self }
    }
}

/// A row of the table of results.
#[derive(Debug, Clone)]
pub(crate) struct ResultRow {
    /// The part that measured the value.
    pub part: &'static str,
    /// A name for the measured value.
    pub what: String,
    /// The measured value.
    pub measured: f64,
    /// The unit of both values.
    pub unit: Unit,
    /// What the value is compared with: a name and its value.
    pub against: Option<(String, f64)>,
    /// What the result must be, if anything is required.
    pub requirement: Option<Requirement>,
}

impl ResultRow {
    /// The measured value divided by the one it is compared with.
    pub(crate) fn ratio(&self) -> Option<f64> {
        self.against.as_ref().map(|(_, figure)| self.measured / figure)
    }

    /// The share of the requirement that is reached; 1 or more satisfies it.
    pub(crate) fn score(&self) -> Option<f64> {
        self.requirement.and_then(|requirement| {
            let judged = if requirement.of_ratio { self.ratio()? } else { self.measured };
            Some(if requirement.at_least { judged / requirement.must } else { requirement.must / judged })
        })
    }

    /// The score at which the stretch is reached.
    pub(crate) fn stretch_score(&self) -> Option<f64> {
        let Requirement { at_least, must, stretch, .. } = self.requirement?;
        stretch.map(|stretch| if at_least { stretch / must } else { must / stretch })
    }

    /// The cells of the row.
    pub(crate) fn columns(&self) -> [String; 8] {
        let ratio = |value: f64| if value < 0.1 { format!("{value:.4}") } else { format!("{value:.2}") };
        let limit = |requirement: Requirement, value: f64| {
            let sign = if requirement.at_least { "≥" } else { "≤" };
            let value = if requirement.of_ratio { format!("{value:.2}") } else { self.unit.show(value) };
            format!("{sign} {value}")
        };
        let (against, figure) = match &self.against {
            Some((name, figure)) => (name.clone(), self.unit.show(*figure)),
            None => (String::new(), String::new()),
        };
        [
            self.what.clone(),
            self.unit.show(self.measured),
            against,
            figure,
            self.ratio().map(ratio).unwrap_or_default(),
            self.requirement.map(|requirement| limit(requirement, requirement.must)).unwrap_or_default(),
            self.requirement
                .and_then(|requirement| requirement.stretch.map(|stretch| limit(requirement, stretch)))
                .unwrap_or_default(),
            match (self.score(), self.stretch_score()) {
                (None, _) => String::new(),
                (Some(score), Some(stretch)) if score >= stretch => "yes, stretch".to_owned(),
                (Some(score), _) => if score >= 1.0 { "yes" } else { "no" }.to_owned(),
            },
        ]
    }
}

/// The median: the middle value, or the mean of the two middle ones.
pub(crate) fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    assert!(!sorted.is_empty(), "there are values");
    if sorted.len().is_multiple_of(2) {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    } else {
        sorted[middle]
    }
}

/// A count as a number to calculate with.
#[expect(clippy::cast_precision_loss, reason = "nothing here is counted to 2^53")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

/// Bytes as millions of bytes.
pub(crate) fn megabytes(bytes: u64) -> f64 {
    float(bytes) / 1e6
}

/// A duration as milliseconds.
pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
