//! The memory of a listener under load, and the duration of the shortest command.

use std::time::Instant;

use crate::benchmark::Benchmark;
use crate::load::{Load, Pace};
use crate::measurement::{Requirement, ResultRow, Unit, median, millis};
use crate::process::command_without_io;
use crate::spool::{GROUP, GROUP_CONNECTIONS, Spool};

const PART: &str = "memory";

pub(super) fn run(benchmark: &mut Benchmark) {
    let spool = Spool::new(&benchmark.folder, PART);
    let listener = spool.listen();
    let time = benchmark.options.load_time;
    for (events_per_post, connections) in [(1, 64), (1, 256), (GROUP, GROUP_CONNECTIONS)] {
        let load = Load { events_per_post, connections, pace: Pace::AsAnswered };
        let report =
            load.post(&listener.endpoint, &mut benchmark.generator, |progress| progress.elapsed < time);
        eprintln!("  {events_per_post} events a post, {connections} connections: {:.0}/s", report.rate());
        benchmark.results.round(PART, "listener, peak so far", Unit::Megabytes, listener.peak());
    }
    benchmark.listener_peak = benchmark.listener_peak.max(listener.peak());
    listener.stop();
    benchmark.results.row(ResultRow {
        part: PART,
        what: "listener under load, peak memory".to_owned(),
        measured: benchmark.listener_peak,
        unit: Unit::Megabytes,
        against: None,
        requirement: Some(Requirement::at_most(64.0)),
    });

    let times = benchmark.options.size(20, 3);
    let discover = |_| {
        let mut command = spool.command(&["--discover"], &[]);
        let begin = Instant::now();
        assert!(command.status().expect("the tap starts").success());
        millis(begin.elapsed())
    };
    let discovered: Vec<_> = (0..times).map(discover).collect();
    let nothing: Vec<_> = (0..times)
        .map(|_| {
            let begin = Instant::now();
            assert!(command_without_io("true").status().expect("the command starts").success());
            millis(begin.elapsed())
        })
        .collect();
    for (side, figures) in [("--discover", &discovered), ("true", &nothing)] {
        for figure in figures {
            benchmark.results.round(PART, side, Unit::Millis, *figure);
        }
    }
    spool.remove();
    benchmark.results.row(ResultRow {
        part: PART,
        what: "--discover, the whole process".to_owned(),
        measured: median(&discovered),
        unit: Unit::Millis,
        against: Some(("true, which does nothing".to_owned(), median(&nothing))),
        requirement: Some(Requirement::at_most(30.0)),
    });
}
