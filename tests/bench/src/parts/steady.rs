//! A spool in a steady state, where as many events leave as arrive: it must stop growing.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::pipeline::Pipeline;
use crate::benchmark::Benchmark;
use crate::load::{Load, Pace};
use crate::measurement::{Requirement, ResultRow, Unit};
use crate::spool::Spool;

const PART: &str = "steady";
/// Events per second.
const RATE: f64 = 5_000.0;
const CONNECTIONS: usize = 32;

pub(super) fn run(benchmark: &mut Benchmark) {
    let seconds = benchmark.options.size(60, 6);
    let retention_seconds = benchmark.options.size(5, 1);
    let retention_days = crate::measurement::float(retention_seconds) / 86_400.0;
    let spool = Spool::new(&benchmark.folder, PART).set("retention_days", retention_days);
    let pipeline = Pipeline::start(spool);
    let time = Duration::from_secs(seconds);
    let load = Load { events_per_post: 1, connections: CONNECTIONS, pace: Pace::PerSecond(RATE) };
    let sizes = thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let (begin, mut sizes) = (Instant::now(), Vec::new());
            while begin.elapsed() < time {
                sizes.push((begin.elapsed().as_secs_f64(), pipeline.spool.size()));
                thread::sleep(Duration::from_millis(250));
            }
            sizes
        });
        load.post(&pipeline.tap.endpoint, &mut benchmark.generator, |progress| progress.elapsed < time);
        watching.join().expect("watching does not panic")
    });
    let held = pipeline.spool.event_count();
    benchmark.results.text(
        &format!(
            "Steady state: {RATE:.0} events a second for {seconds} s, confirmed, kept for \
             {retention_seconds} s, then trimmed"
        ),
        &format!("{held} events are left in the spool at the end"),
    );
    pipeline.stop();
    benchmark.results.draw("steady", json!(sizes));
    let largest = |sizes: &[(f64, f64)]| sizes.iter().map(|(_, size)| *size).fold(0.0, f64::max);
    let third = sizes.len() / 3;
    benchmark.results.row(ResultRow {
        part: PART,
        what: format!("files of the spool, last third of {seconds} s"),
        measured: largest(&sizes[2 * third..]),
        unit: Unit::Megabytes,
        against: Some(("the third before".to_owned(), largest(&sizes[third..2 * third]))),
        // During a sync that takes a second, a fifth of the spool's events are waiting.
        requirement: Some(Requirement::ratio_at_most(1.25)),
    });
}
