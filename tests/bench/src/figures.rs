//! Figures: units, medians, and whether what was demanded is reached.

use std::time::Duration;

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Events, posts or records in a second.
    PerSecond,
    /// Milliseconds.
    Millis,
    /// Seconds.
    Seconds,
    /// Millions of bytes.
    Megabytes,
    /// Nanoseconds for an event.
    NanosPerEvent,
}

impl Unit {
    /// As it stands behind a number.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Unit::PerSecond => "/s",
            Unit::Millis => " ms",
            Unit::Seconds => " s",
            Unit::Megabytes => " MB",
            Unit::NanosPerEvent => " ns",
        }
    }

    /// A figure, for people.
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

/// What is demanded of a row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Demand {
    /// Whether it is demanded of the ratio, or of what was measured.
    pub of_ratio: bool,
    /// Whether more is better.
    pub at_least: bool,
    /// What it must be.
    pub must: f64,
    /// What would be better still.
    pub stretch: Option<f64>,
}

impl Demand {
    /// The ratio must be at least this.
    pub(crate) fn ratio_at_least(must: f64) -> Self {
        Demand { of_ratio: true, at_least: true, must, stretch: None }
    }

    /// The ratio may be this at most.
    pub(crate) fn ratio_at_most(must: f64) -> Self {
        Demand { at_least: false, ..Self::ratio_at_least(must) }
    }

    /// What is measured must be at least this.
    pub(crate) fn at_least(must: f64) -> Self {
        Demand { of_ratio: false, ..Self::ratio_at_least(must) }
    }

    /// What is measured may be this at most.
    pub(crate) fn at_most(must: f64) -> Self {
        Demand { at_least: false, ..Self::at_least(must) }
    }

    /// Better still.
    pub(crate) fn stretch(self, stretch: f64) -> Self {
        Demand { stretch: Some(stretch), ..self }
    }
}

/// A line of the table.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// The part that measured it.
    pub part: &'static str,
    /// What was measured.
    pub what: String,
    /// The figure.
    pub measured: f64,
    /// Its unit, and that of what it is held against.
    pub unit: Unit,
    /// What it is held against, and that one's figure.
    pub against: Option<(String, f64)>,
    /// What is demanded, if anything is.
    pub demand: Option<Demand>,
}

impl Row {
    /// What was measured, in terms of what it is held against.
    pub(crate) fn ratio(&self) -> Option<f64> {
        self.against.as_ref().map(|(_, figure)| self.measured / figure)
    }

    /// How much of what is demanded is reached: 1 is all of it.
    pub(crate) fn score(&self) -> Option<f64> {
        self.demand.and_then(|demand| {
            let judged = if demand.of_ratio { self.ratio()? } else { self.measured };
            Some(if demand.at_least { judged / demand.must } else { demand.must / judged })
        })
    }

    /// How much of what is demanded the stretch would be.
    pub(crate) fn stretch_score(&self) -> Option<f64> {
        let Demand { at_least, must, stretch, .. } = self.demand?;
        stretch.map(|stretch| if at_least { stretch / must } else { must / stretch })
    }

    /// The columns of the table.
    pub(crate) fn columns(&self) -> [String; 8] {
        let ratio = |value: f64| if value < 0.1 { format!("{value:.4}") } else { format!("{value:.2}") };
        let limit = |demand: Demand, value: f64| {
            let sign = if demand.at_least { "≥" } else { "≤" };
            let value = if demand.of_ratio { format!("{value:.2}") } else { self.unit.show(value) };
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
            self.demand.map(|demand| limit(demand, demand.must)).unwrap_or_default(),
            self.demand
                .and_then(|demand| demand.stretch.map(|stretch| limit(demand, stretch)))
                .unwrap_or_default(),
            match (self.score(), self.stretch_score()) {
                (None, _) => String::new(),
                (Some(score), Some(stretch)) if score >= stretch => "yes, stretch".to_owned(),
                (Some(score), _) => if score >= 1.0 { "yes" } else { "no" }.to_owned(),
            },
        ]
    }
}

/// The middle one of some figures: of an even number, the mean of the two in the middle.
pub(crate) fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    assert!(!sorted.is_empty(), "something was measured");
    if sorted.len().is_multiple_of(2) {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    } else {
        sorted[middle]
    }
}

/// A count, to reckon with.
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
