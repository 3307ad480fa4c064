//! Events over time by type, as a picture and as a table.
//!
//! The picture is stretched to its place, so it has no text: the numbers beside it are HTML.

use std::collections::BTreeMap;

use svg::Document;
use svg::node::element::Path;
use svg::node::element::path::Data;

use super::wording::{number, time_of_day};
use crate::os::clock::{UnixMillis, millis};
use crate::spool::{CountStep, ItemCount};

/// What is stacked, from the bottom to the top: the rare ones stand where they can be compared.
const STACK: [&str; 9] = ["rejected", "other", "spam", "blocked", "bounce", "unsub", "click", "open", "sent"];
/// The order of the legend and the table.
const LEGEND: [&str; 9] =
    ["sent", "open", "click", "unsub", "bounce", "blocked", "spam", "other", "rejected"];
const HEIGHT: f64 = 160.0;
/// How many steps of counts a row of the table has.
const STEPS_IN_ROW: usize = 5;

/// The period that is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Period {
    /// The last hour, a bar a minute.
    Hour,
    /// The last 14 days, a bar an hour.
    Days,
}

impl Period {
    pub(super) fn step(self) -> CountStep {
        match self {
            Period::Hour => CountStep::Minute,
            Period::Days => CountStep::Hour,
        }
    }

    fn bars(self) -> i64 {
        match self {
            Period::Hour => 60,
            Period::Days => 14 * 24,
        }
    }

    /// Returns the start of each bar. The last one is not over yet.
    fn starts(self, now: UnixMillis) -> Vec<i64> {
        let last = self.step().start_of(now).get();
        let length = millis(self.step().length());
        (0..self.bars()).rev().map(|back| last - back * length).collect()
    }

    /// Returns the moment from which on counts are shown.
    pub(super) fn since(self, now: UnixMillis) -> UnixMillis {
        UnixMillis::new(self.starts(now).first().copied().unwrap_or(0))
    }
}

/// A chart, ready to be shown.
#[derive(Debug)]
pub(super) struct Chart {
    pub(super) is_days: bool,
    pub(super) is_empty: bool,
    pub(super) description: &'static str,
    pub(super) name: &'static str,
    /// The numbers beside the picture, from the top to the bottom.
    pub(super) values: Vec<String>,
    /// The times below it.
    pub(super) times: Vec<&'static str>,
    /// The picture. Nothing in it comes from outside.
    pub(super) svg: String,
    pub(super) sums: Vec<Sum>,
    pub(super) rows: Vec<Row>,
}

/// How many items of one name there are.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) name: &'static str,
    pub(super) count: String,
}

/// The counts from one moment on.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) from: String,
    pub(super) counts: Vec<String>,
}

impl Chart {
    pub(super) fn new(period: Period, now: UnixMillis, counts: &[ItemCount]) -> Self {
        let starts = period.starts(now);
        let mut bars: Vec<BTreeMap<&str, u64>> = vec![BTreeMap::new(); starts.len()];
        for ItemCount { start, name, count } in counts {
            if let Ok(index) = starts.binary_search(&start.get()) {
                *bars[index].entry(known(name)).or_default() += count;
            }
        }
        let largest = bars.iter().map(|bar| bar.values().sum::<u64>()).max().unwrap_or(0);
        let top = round_up(largest);
        let is_days = period == Period::Days;
        let sum = |name| bars.iter().filter_map(|bar| bar.get(name)).sum::<u64>();
        let rows = bars.chunks(if is_days { 24 } else { STEPS_IN_ROW }).zip(starts.chunks(if is_days {
            24
        } else {
            STEPS_IN_ROW
        }));
        Chart {
            is_days,
            is_empty: largest == 0,
            description: match period {
                Period::Hour => "The last hour, a bar a minute, by type of event.",
                Period::Days => "The last 14 days, a bar an hour, by type of event.",
            },
            name: match period {
                Period::Hour => {
                    "Stacked bars: events per minute over the last hour. The table below has the numbers."
                }
                Period::Days => {
                    "Stacked bars: events per hour over 14 days. The table below has the numbers."
                }
            },
            values: vec![number(top), number(top / 2), "0".to_owned()],
            times: match period {
                Period::Hour => vec!["60 min ago", "45", "30", "15", "now"],
                Period::Days => vec!["14 days ago", "7", "now"],
            },
            svg: draw(&bars, top, is_days),
            sums: LEGEND.iter().map(|name| Sum { name, count: number(sum(name)) }).collect(),
            rows: rows.map(|(bars, starts)| row(bars, UnixMillis::new(starts[0]), is_days)).collect(),
        }
    }
}

/// The name under which a count is shown.
fn known(name: &str) -> &'static str {
    STACK.into_iter().find(|known| *known == name).unwrap_or("other")
}

fn row(bars: &[BTreeMap<&str, u64>], from: UnixMillis, is_days: bool) -> Row {
    let sum = |name| bars.iter().filter_map(|bar| bar.get(name)).sum::<u64>();
    Row {
        from: if is_days { super::wording::day_and_time(from) } else { time_of_day(from)[..5].to_owned() },
        counts: LEGEND.iter().map(|name| number(sum(name))).collect(),
    }
}

/// Returns the next number of the form 1, 2, 3 or 5 times a power of ten, so that the scale rarely changes.
fn round_up(largest: u64) -> u64 {
    let mut power = 1_u64;
    loop {
        for factor in [1, 2, 3, 5] {
            let top = power.saturating_mul(factor * 2);
            if top >= largest.max(2) {
                return top;
            }
        }
        power = power.saturating_mul(10);
    }
}

#[expect(clippy::cast_precision_loss, reason = "no count here comes near 2^53, and a picture is not exact")]
fn draw(bars: &[BTreeMap<&str, u64>], top: u64, is_days: bool) -> String {
    let (pitch, width, least) = if is_days { (2.0, 2.0, 1.0) } else { (10.0, 8.0, 2.0) };
    let mut shapes: BTreeMap<&str, Data> = BTreeMap::new();
    for (index, bar) in bars.iter().enumerate() {
        let mut bottom = HEIGHT;
        for name in STACK {
            let Some(count) = bar.get(name).filter(|count| **count > 0) else { continue };
            let height = (*count as f64 / top as f64 * HEIGHT).round().max(least).min(bottom);
            let shape = shapes.remove(name).unwrap_or_default();
            let left = index as f64 * pitch;
            bottom -= height;
            let shape = shape.move_to((left, bottom)).horizontal_line_by(width).vertical_line_by(height);
            shapes.insert(name, shape.horizontal_line_by(-width).close());
        }
    }
    let right = bars.len() as f64 * pitch - (pitch - width);
    let line = |y: f64| Data::new().move_to((0, y)).horizontal_line_to(right);
    let mut document = Document::new()
        .set("viewBox", (0, 0, right, HEIGHT))
        .set("preserveAspectRatio", "none")
        .set("role", "img")
        .set("aria-labelledby", "chart-t")
        .add(Path::new().set("class", "grid").set("d", line(0.0)))
        .add(Path::new().set("class", "grid").set("d", line(HEIGHT / 2.0)));
    for name in STACK {
        if let Some(shape) = shapes.remove(name) {
            document = document.add(Path::new().set("class", format!("k-{name}")).set("d", shape));
        }
    }
    document.add(Path::new().set("class", "grid base").set("d", line(HEIGHT))).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis::new(1_795_652_500_000);

    fn count(minutes_ago: i64, name: &str, count: u64) -> ItemCount {
        let start = NOW.get() - NOW.get().rem_euclid(60_000) - minutes_ago * 60_000;
        ItemCount { start: UnixMillis::new(start), name: name.to_owned(), count }
    }

    #[test]
    fn counts_of_the_period_are_stacked_summed_and_listed() {
        let counts = [
            count(0, "open", 30),
            count(0, "spam", 1),
            count(59, "sent", 7),
            count(60, "sent", 9),
            count(1, "x", 2),
        ];
        let chart = Chart::new(Period::Hour, NOW, &counts);
        assert!(!chart.is_empty);
        assert_eq!(chart.values, ["40", "20", "0"]);
        let sum = |name| chart.sums.iter().find(|sum| sum.name == name).map(|sum| sum.count.as_str());
        assert_eq!([sum("sent"), sum("open"), sum("spam"), sum("other")], ["7", "30", "1", "2"].map(Some));
        assert_eq!((chart.rows.len(), chart.rows[0].counts[0].as_str()), (12, "7"));
        assert!(chart.svg.contains(r#"class="k-open""#), "{}", chart.svg);
        // The rarest stand on the baseline.
        assert!(chart.svg.contains("M590,156 h8 v4 h-8 z"), "{}", chart.svg);
        let empty = Chart::new(Period::Days, NOW, &[]);
        assert!(empty.is_empty && empty.rows.len() == 14);
    }

    #[test]
    fn the_scale_is_1_2_3_or_5_times_a_power_of_ten_and_even() {
        let tops = [0, 2, 3, 5, 7, 10, 11, 61, 101, 999, 1_001].map(round_up);
        assert_eq!(tops, [2, 2, 4, 6, 10, 10, 20, 100, 200, 1_000, 2_000]);
    }
}
