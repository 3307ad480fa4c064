//! Memory of a listener under load, and the shortest command.

use std::time::Instant;

use crate::bench::Bench;
use crate::figures::{Demand, Row, Unit, median, millis};
use crate::load::{Load, Pace};
use crate::process::quiet;
use crate::site::{GROUP, GROUP_CONNECTIONS, Site};

const PART: &str = "memory";

pub(super) fn run(bench: &mut Bench) {
    let site = Site::new(&bench.folder, PART);
    let listener = site.listen();
    let time = bench.options.load_time;
    for (events_per_post, connections) in [(1, 64), (1, 256), (GROUP, GROUP_CONNECTIONS)] {
        let load = Load { events_per_post, connections, pace: Pace::AsTaken };
        let loaded = load.post(&listener.endpoint, &mut bench.mail, |so_far| so_far.elapsed < time);
        eprintln!("  {events_per_post} events a post, {connections} connections: {:.0}/s", loaded.rate());
        bench.results.round(PART, "listener, peak so far", Unit::Megabytes, listener.peak());
    }
    bench.listener_peak = bench.listener_peak.max(listener.peak());
    listener.stop();
    bench.results.row(Row {
        part: PART,
        what: "listener under load, peak memory".to_owned(),
        measured: bench.listener_peak,
        unit: Unit::Megabytes,
        against: None,
        demand: Some(Demand::at_most(64.0)),
    });

    let times = bench.options.size(20, 3);
    let discover = |_| {
        let mut command = site.tap(&["--discover"], &[]);
        let begin = Instant::now();
        assert!(command.status().expect("it starts").success());
        millis(begin.elapsed())
    };
    let discovered: Vec<_> = (0..times).map(discover).collect();
    let nothing: Vec<_> = (0..times)
        .map(|_| {
            let begin = Instant::now();
            assert!(quiet("true").status().expect("it starts").success());
            millis(begin.elapsed())
        })
        .collect();
    for (side, figures) in [("--discover", &discovered), ("true", &nothing)] {
        for figure in figures {
            bench.results.round(PART, side, Unit::Millis, *figure);
        }
    }
    site.remove();
    bench.results.row(Row {
        part: PART,
        what: "--discover, the whole process".to_owned(),
        measured: median(&discovered),
        unit: Unit::Millis,
        against: Some(("true, which does nothing".to_owned(), median(&nothing))),
        demand: Some(Demand::at_most(30.0)),
    });
}
