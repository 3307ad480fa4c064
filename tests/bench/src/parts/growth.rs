//! What an event costs in a spool of ten million, and in one of a hundred thousand.

use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension};

use crate::bench::{Bench, count};
use crate::figures::{Demand, Row, Unit, float, median};
use crate::process::{settle, thread_time};
use crate::site::Site;

const PART: &str = "growth";
/// Trimming so little takes no longer, or something is wrong.
const PATIENCE: Duration = Duration::from_secs(120);

/// What an event costs, in nanoseconds, in the two spools.
#[derive(Default)]
struct Costs {
    big: Vec<f64>,
    small: Vec<f64>,
}

pub(super) fn run(bench: &mut Bench) {
    let big = bench.take_big();
    let small_events = bench.small_events();
    let inserted_events = bench.options.size(200_000, 3_000);
    let trimmed_events = small_events / 10 * 9;
    let (mut insert, mut drain, mut whole) = (Costs::default(), Costs::default(), Costs::default());
    let (mut trim, mut trim_time) = (Costs::default(), Costs::default());
    for _ in bench.rounds() {
        let small = Site::new(&bench.folder, "small");
        small.fill(&mut bench.mail, small_events);
        // All of it first: a state may not be ahead of what was ever written.
        let _ = std::fs::remove_file(big.state_file());
        let events = big.events();
        let taken = big.drain_to_nowhere(true);
        let cost = 1e9 * taken.seconds / float(events);
        whole.big.push(bench.results.round(PART, "drain of all, big", Unit::NanosPerEvent, cost));
        for (site, costs, name) in [(&small, &mut drain.small, "small"), (&big, &mut drain.big, "big")] {
            let _ = std::fs::remove_file(site.state_file());
            if site.events() > small_events {
                site.set_state(site.sequence_from_end(small_events));
            }
            let taken = site.drain_to_nowhere(true);
            let cost = 1e9 * taken.seconds / float(small_events);
            costs.push(bench.results.round(
                PART,
                &format!("drain of the last, {name}"),
                Unit::NanosPerEvent,
                cost,
            ));
        }

        for (site, name) in [(&small, "small"), (&big, "big")] {
            let [wall, processor] = trimming(site, trimmed_events);
            let costs = if name == "big" {
                [&mut trim.big, &mut trim_time.big]
            } else {
                [&mut trim.small, &mut trim_time.small]
            };
            costs[0].push(bench.results.round(PART, &format!("trim, {name}"), Unit::NanosPerEvent, wall));
            costs[1].push(bench.results.round(
                PART,
                &format!("trim, processor time, {name}"),
                Unit::NanosPerEvent,
                processor,
            ));
        }
        small.remove();
        settle();

        let small = Site::new(&bench.folder, "small");
        small.fill(&mut bench.mail, small_events);
        for (site, costs, name) in [(&small, &mut insert.small, "small"), (&big, &mut insert.big, "big")] {
            settle();
            let listener = site.listen();
            let loaded = listener.take(&mut bench.mail, inserted_events);
            listener.stop();
            costs.push(bench.results.round(
                PART,
                &format!("insert, {name}"),
                Unit::NanosPerEvent,
                1e9 / loaded.rate(),
            ));
        }
        small.remove();
    }
    whole.small.clone_from(&drain.small);
    let (big_count, small_count) = (count(bench.big_events()), count(small_events));
    for (what, costs, is_judged) in [
        ("insert, an event", insert, true),
        ("drain of the last ones, an event", drain, true),
        ("drain of all, an event", whole, true),
        ("trim, an event", trim, true),
        ("trim, processor time of an event", trim_time, false),
    ] {
        bench.results.row(Row {
            part: PART,
            what: format!("{what}, in {big_count}"),
            measured: median(&costs.big),
            unit: Unit::NanosPerEvent,
            against: Some((format!("in {small_count}"), median(&costs.small))),
            demand: is_judged.then(|| Demand::ratio_at_most(1.2)),
        });
    }
    bench.keep_big(big);
}

/// Trims events from the front: nanoseconds that one takes, and nanoseconds of processor time of the thread that does it.
fn trimming(site: &Site, events: u64) -> [f64; 2] {
    let sequences = first_sequences(site, events);
    let last = *sequences.last().expect("there are events");
    site.set_state(last);
    let look = site.look();
    let before = trimmed_through(&look);
    settle();
    let (program, _unread) = site.unread("drain", &[("retention_days", 0.into())]);
    let time = || thread_time(program.id(), "confirmed").expect("it runs");
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

/// Up to where events are trimmed.
pub(super) fn trimmed_through(look: &Connection) -> Option<i64> {
    let query = "SELECT value FROM fact WHERE name = 'trimmed_through'";
    look.query_row(query, [], |row| row.get(0)).optional().expect("the table is there")
}

fn first_sequences(site: &Site, events: u64) -> Vec<i64> {
    let look = site.look();
    let query = format!("SELECT sequence FROM event ORDER BY sequence LIMIT {events}");
    let mut query = look.prepare(&query).expect("a query");
    query.query_map([], |row| row.get(0)).and_then(Iterator::collect).expect("sequences")
}
