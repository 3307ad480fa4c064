//! A full spool to the null device, against what singer-sdk needs to write the same records.

use std::collections::BTreeMap;
use std::process::Command;

use end_to_end::database::in_venv;
use end_to_end::program::repository;

use crate::bench::{Bench, count};
use crate::figures::{Demand, Row, Unit, float, median};
use crate::process::settle;
use crate::site::Site;

const PART: &str = "drain";

pub(super) fn run(bench: &mut Bench) {
    let events = bench.options.size(1_000_000, 20_000);
    let messages = bench.messages();
    let site = Site::new(&bench.folder, PART);
    site.fill(&mut bench.mail, events);
    settle();
    let mut drained = Vec::new();
    let mut written: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for _ in bench.rounds() {
        let taken = site.drain_to_nowhere(false);
        drained.push(bench.results.round(PART, "drain", Unit::PerSecond, float(events) / taken.seconds));
        bench.results.round(PART, "drain, peak memory", Unit::Megabytes, taken.peak);
        let mut python = Command::new(in_venv("singer-sdk", "python"));
        python.arg(repository().join("tests/bench/writer.py")).arg(&messages).current_dir(repository());
        let report = std::process::Stdio::piped();
        let output = python.stdout(std::process::Stdio::null()).stderr(report).output().expect("it starts");
        let report = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{report}");
        for line in report.lines() {
            let (rate, name) = line.split_once(' ').expect("a rate and a name");
            let rate = rate.parse().unwrap_or_else(|_| panic!("no rate: {line}"));
            bench.results.round(PART, name, Unit::PerSecond, rate);
            written.entry(name.to_owned()).or_default().push(rate);
        }
    }
    site.remove();
    for (name, rates) in written {
        // With msgspec, which has to be installed and chosen besides, the writer is another one: shown, and not judged.
        let demand = (!name.contains("msgspec")).then(|| Demand::ratio_at_least(8.0).stretch(11.0));
        bench.results.row(Row {
            part: PART,
            what: format!("drain of {}", count(events)),
            measured: median(&drained),
            unit: Unit::PerSecond,
            against: Some((name, median(&rates))),
            demand,
        });
    }
}
