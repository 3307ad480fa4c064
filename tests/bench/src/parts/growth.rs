//! The cost of an event in a spool of ten million events, and in one of a hundred thousand.

use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension};

use crate::benchmark::{Benchmark, count};
use crate::measurement::{Requirement, ResultRow, Unit, float, median};
use crate::process::{sync_disk, thread_cpu_time};
use crate::spool::Spool;

const PART: &str = "growth";
/// How long trimming may take before the benchmark fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// The cost of an event in the two spools, in nanoseconds.
#[derive(Default)]
struct Costs {
    big: Vec<f64>,
    small: Vec<f64>,
}

pub(super) fn run(benchmark: &mut Benchmark) {
    let big = benchmark.take_big_spool();
    let small_events = benchmark.small_events();
    let inserted_events = benchmark.options.size(200_000, 3_000);
    let trimmed_events = small_events / 10 * 9;
    let (mut insert, mut drain, mut whole) = (Costs::default(), Costs::default(), Costs::default());
    let (mut trim, mut trim_time) = (Costs::default(), Costs::default());
    for _ in benchmark.rounds() {
        let small = Spool::new(&benchmark.folder, "small");
        small.fill(&mut benchmark.generator, small_events);
        // A drain of everything comes first: a state must not be ahead of what was ever written.
        let _ = std::fs::remove_file(big.state_file());
        let events = big.event_count();
        let usage = big.drain_from_state_to_null();
        let cost = 1e9 * usage.seconds / float(events);
        whole.big.push(benchmark.results.round(PART, "drain of all, big", Unit::NanosPerEvent, cost));
        for (spool, costs, name) in [(&small, &mut drain.small, "small"), (&big, &mut drain.big, "big")] {
            let _ = std::fs::remove_file(spool.state_file());
            if spool.event_count() > small_events {
                spool.set_state(spool.sequence_from_end(small_events));
            }
            let usage = spool.drain_from_state_to_null();
            let cost = 1e9 * usage.seconds / float(small_events);
            costs.push(benchmark.results.round(
                PART,
                &format!("drain of the last, {name}"),
                Unit::NanosPerEvent,
                cost,
            ));
        }

        for (spool, name) in [(&small, "small"), (&big, "big")] {
            let [wall, processor] = trimming(spool, trimmed_events);
            let costs = if name == "big" {
                [&mut trim.big, &mut trim_time.big]
            } else {
                [&mut trim.small, &mut trim_time.small]
            };
            costs[0].push(benchmark.results.round(PART, &format!("trim, {name}"), Unit::NanosPerEvent, wall));
            costs[1].push(benchmark.results.round(
                PART,
                &format!("trim, CPU time, {name}"),
                Unit::NanosPerEvent,
                processor,
            ));
        }
        small.remove();
        sync_disk();

        let small = Spool::new(&benchmark.folder, "small");
        small.fill(&mut benchmark.generator, small_events);
        for (spool, costs, name) in [(&small, &mut insert.small, "small"), (&big, &mut insert.big, "big")] {
            sync_disk();
            let listener = spool.listen();
            let report = listener.post_groups(&mut benchmark.generator, inserted_events);
            listener.stop();
            costs.push(benchmark.results.round(
                PART,
                &format!("insert, {name}"),
                Unit::NanosPerEvent,
                1e9 / report.rate(),
            ));
        }
        small.remove();
    }
    whole.small.clone_from(&drain.small);
    let (big_count, small_count) = (count(benchmark.big_events()), count(small_events));
    for (what, costs, is_judged) in [
        ("insert, an event", insert, true),
        ("drain of the last events, per event", drain, true),
        ("drain of all events, per event", whole, true),
        ("trim, an event", trim, true),
        ("trim, CPU time of an event", trim_time, false),
    ] {
        benchmark.results.row(ResultRow {
            part: PART,
            what: format!("{what}, in {big_count}"),
            measured: median(&costs.big),
            unit: Unit::NanosPerEvent,
            against: Some((format!("in {small_count}"), median(&costs.small))),
            requirement: is_judged.then(|| Requirement::ratio_at_most(1.2)),
        });
    }
    benchmark.return_big_spool(big);
}

/// Trims events from the front. Returns nanoseconds per event, and nanoseconds of CPU time of the trimming
/// thread per event.
fn trimming(spool: &Spool, events: u64) -> [f64; 2] {
    let sequences = first_sequences(spool, events);
    let last = *sequences.last().expect("there are events");
    spool.set_state(last);
    let look = spool.open_read_only();
    let before = trimmed_through(&look);
    sync_disk();
    let (program, _unread) = spool.start_unread("drain", &[("retention_days", 0.into())]);
    let time = || thread_cpu_time(program.id(), "confirmations").expect("the tap is running");
    let begin = Instant::now();
    let mut first: Option<(i64, Instant, Duration)> = None;
    loop {
        let through = trimmed_through(&look);
        let now = Instant::now();
        assert!(now - begin < PATIENCE, "only trimmed through {through:?} of {last}");
        match (first, through) {
            (None, Some(through)) if Some(through) != before => first = Some((through, now, time())),
            (Some((from, since, used)), Some(through)) if through >= last => {
                let used = time().saturating_sub(used);
                let counted = sequences.iter().filter(|sequence| **sequence > from).count() as u64;
                let each = |time: Duration| 1e9 * time.as_secs_f64() / float(counted.max(1));
                return [each(now - since), each(used)];
            }
            _ => {}
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The last sequence that was trimmed.
pub(super) fn trimmed_through(look: &Connection) -> Option<i64> {
    let query = "SELECT value FROM fact WHERE name = 'trimmed_through'";
    look.query_row(query, [], |row| row.get(0)).optional().expect("the table is there")
}

fn first_sequences(spool: &Spool, events: u64) -> Vec<i64> {
    let look = spool.open_read_only();
    let query = format!("SELECT sequence FROM event ORDER BY sequence LIMIT {events}");
    let mut query = look.prepare(&query).expect("a query");
    query.query_map([], |row| row.get(0)).and_then(Iterator::collect).expect("sequences")
}
