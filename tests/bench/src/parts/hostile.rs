//! The worst webhooks that are known, against ordinary events of the same size.

use std::time::Instant;

use end_to_end::hostile::worst_bodies;

use crate::benchmark::Benchmark;
use crate::event_generator::EventGenerator;
use crate::measurement::{Requirement, ResultRow, Unit, median, megabytes, millis};
use crate::spool::Spool;

const PART: &str = "hostile";
/// How long a megabyte may take in the listener, and in the emitter.
const MOST: Requirement = Requirement { of_ratio: false, at_least: false, must: 100.0, stretch: None };

/// One figure of a cost.
type Side = fn(&Cost) -> f64;

/// What a megabyte of a body takes.
#[derive(Debug, Clone, Copy)]
struct Cost {
    listener: f64,
    emitter: f64,
}

pub(super) fn run(benchmark: &mut Benchmark) {
    let bytes = usize::try_from(benchmark.options.size(19_000_000, 2_000_000)).expect("a size");
    let mut ordinary = Vec::new();
    let mut worst = Cost { listener: 0.0, emitter: 0.0 };
    for _ in benchmark.rounds() {
        let body = ordinary_body(&mut benchmark.generator, bytes);
        ordinary.push(measure(benchmark, "ordinary events", &body));
        for (what, body) in worst_bodies(bytes) {
            let cost = measure(benchmark, what, &body);
            worst.listener = worst.listener.max(cost.listener);
            worst.emitter = worst.emitter.max(cost.emitter);
        }
    }
    let sides: [(&str, Side); 2] = [("listener", |cost| cost.listener), ("emitter", |cost| cost.emitter)];
    for (name, side) in sides {
        let of_ordinary: Vec<_> = ordinary.iter().map(side).collect();
        benchmark.results.row(ResultRow {
            part: PART,
            what: format!("the worst body, {name}, a megabyte"),
            measured: side(&worst),
            unit: Unit::Millis,
            against: Some(("ordinary events".to_owned(), median(&of_ordinary))),
            requirement: Some(MOST),
        });
    }
}

/// As many events in one group as fit into the body, and into the number that is accepted.
fn ordinary_body(generator: &mut EventGenerator, bytes: usize) -> String {
    let mut body = b"[".to_vec();
    for number in 0..100_000 {
        if body.len() + 1_000 > bytes {
            break;
        }
        if number > 0 {
            body.push(b',');
        }
        generator.push_event(&mut body);
    }
    body.push(b']');
    String::from_utf8(body).expect("events are text")
}

/// Posts a body and drains what it was stored as.
fn measure(benchmark: &mut Benchmark, what: &str, body: &str) -> Cost {
    let spool = Spool::new(&benchmark.folder, PART);
    let listener = spool.listen();
    let size = megabytes(body.len() as u64);
    let begin = Instant::now();
    let status = listener.endpoint.post(body).status;
    let received = millis(begin.elapsed()) / size;
    assert!(matches!(status, 200 | 413), "{what}: {status}");
    let peak = listener.peak();
    listener.stop();
    let usage = spool.drain_to_null();
    spool.remove();
    let emitted = usage.seconds * 1e3 / size;
    benchmark.results.round(PART, &format!("{what}, listener, a megabyte"), Unit::Millis, received);
    benchmark.results.round(PART, &format!("{what}, emitter, a megabyte"), Unit::Millis, emitted);
    benchmark.results.round(PART, &format!("{what}, listener, peak memory"), Unit::Megabytes, peak);
    benchmark.results.round(PART, &format!("{what}, emitter, peak memory"), Unit::Megabytes, usage.peak);
    Cost { listener: received, emitter: emitted }
}
