//! A spool from which as much goes as comes: it must stop growing.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::pipeline::Pipeline;
use crate::bench::Bench;
use crate::figures::{Demand, Row, Unit};
use crate::load::{Load, Pace};
use crate::site::Site;

const PART: &str = "steady";
/// Events a second.
const RATE: f64 = 5_000.0;
const CONNECTIONS: usize = 32;

pub(super) fn run(bench: &mut Bench) {
    let seconds = bench.options.size(60, 6);
    let retention_seconds = bench.options.size(5, 1);
    let retention_days = crate::figures::float(retention_seconds) / 86_400.0;
    let site = Site::new(&bench.folder, PART).set("retention_days", retention_days);
    let pipeline = Pipeline::start(site);
    let time = Duration::from_secs(seconds);
    let load = Load { events_per_post: 1, connections: CONNECTIONS, pace: Pace::PerSecond(RATE) };
    let sizes = thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let (begin, mut sizes) = (Instant::now(), Vec::new());
            while begin.elapsed() < time {
                sizes.push((begin.elapsed().as_secs_f64(), pipeline.site.size()));
                thread::sleep(Duration::from_millis(250));
            }
            sizes
        });
        load.post(&pipeline.tap.endpoint, &mut bench.mail, |so_far| so_far.elapsed < time);
        watching.join().expect("it only looks")
    });
    let held = pipeline.site.events();
    bench.results.text(
        &format!("Steady state: {RATE:.0} events a second for {seconds} s, kept for {retention_seconds} s, confirmed and trimmed"),
        &format!("{held} events are left in the spool at the end"),
    );
    pipeline.stop();
    bench.results.draw("steady", json!(sizes));
    let largest = |sizes: &[(f64, f64)]| sizes.iter().map(|(_, size)| *size).fold(0.0, f64::max);
    let third = sizes.len() / 3;
    bench.results.row(Row {
        part: PART,
        what: format!("files of the spool, last third of {seconds} s"),
        measured: largest(&sizes[2 * third..]),
        unit: Unit::Megabytes,
        against: Some(("the third before".to_owned(), largest(&sizes[third..2 * third]))),
        // A sync that takes a second lets a fifth of it wait.
        demand: Some(Demand::ratio_at_most(1.25)),
    });
}
