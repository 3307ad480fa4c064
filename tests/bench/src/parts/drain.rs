//! A drain of a full spool to the null device, against singer-sdk writing the same records.

use std::collections::BTreeMap;
use std::process::Command;

use end_to_end::program::repository;
use end_to_end::program::venv_program;

use crate::benchmark::{Benchmark, count};
use crate::measurement::{Requirement, ResultRow, Unit, float, median};
use crate::process::sync_disk;
use crate::spool::Spool;

const PART: &str = "drain";

pub(super) fn run(benchmark: &mut Benchmark) {
    let events = benchmark.options.size(1_000_000, 20_000);
    let messages = benchmark.messages();
    let spool = Spool::new(&benchmark.folder, PART);
    spool.fill(&mut benchmark.generator, events);
    sync_disk();
    let mut drained = Vec::new();
    let mut written: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for _ in benchmark.rounds() {
        let usage = spool.drain_to_null();
        drained.push(benchmark.results.round(PART, "drain", Unit::PerSecond, float(events) / usage.seconds));
        benchmark.results.round(PART, "drain, peak memory", Unit::Megabytes, usage.peak);
        let mut python = Command::new(venv_program("singer-sdk", "python"));
        python.arg(repository().join("tests/bench/writer.py")).arg(&messages).current_dir(repository());
        let report = std::process::Stdio::piped();
        let output =
            python.stdout(std::process::Stdio::null()).stderr(report).output().expect("Python starts");
        let report = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{report}");
        for line in report.lines() {
            let (rate, name) = line.split_once(' ').expect("a rate and a name");
            let rate = rate.parse().unwrap_or_else(|_| panic!("not a rate: {line}"));
            benchmark.results.round(PART, name, Unit::PerSecond, rate);
            written.entry(name.to_owned()).or_default().push(rate);
        }
    }
    spool.remove();
    for (name, rates) in written {
        // With msgspec, which must be installed and chosen separately, singer-sdk has another writer: shown,
        // but not judged.
        let requirement = (!name.contains("msgspec")).then(|| Requirement::ratio_at_least(8.0).stretch(11.0));
        benchmark.results.row(ResultRow {
            part: PART,
            what: format!("drain of {}", count(events)),
            measured: median(&drained),
            unit: Unit::PerSecond,
            against: Some((name, median(&rates))),
            requirement,
        });
    }
}
