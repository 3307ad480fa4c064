//! A big spool: how the tap starts on it, whether trimming stalls the listener, whether space comes back.

use std::io;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use end_to_end::program::{Program, Signal, path_of, peak_memory};
use serde_json::json;

use super::growth::trimmed_through;
use crate::bench::{Bench, count};
use crate::figures::{Demand, Row, Unit, float, median, megabytes};
use crate::histogram::Histogram;
use crate::load::{Load, Pace};
use crate::process::{quiet, settle};
use crate::site::{Listener, Site};

const PART: &str = "backlog";
/// Posts a second while events are trimmed.
const RATE: f64 = 5_000.0;
const CONNECTIONS: usize = 32;
/// What takes longer is given up.
const PATIENCE: Duration = Duration::from_secs(600);
/// A spool that gives no page back for so long has none to give.
const REST: Duration = Duration::from_secs(10);

pub(super) fn run(bench: &mut Bench) {
    let big = bench.take_big();
    starts(bench, &big);
    target_memory(bench, &big);
    trimming_under_load(bench, &big);
    space(bench, &big);
    bench.keep_big(big);
}

/// From the start to the line that says that it listens, with nothing in the spool and with all of it waiting.
fn starts(bench: &mut Bench, big: &Site) {
    let empty = Site::new(&bench.folder, "empty");
    let (mut listens, mut runs) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for _ in bench.rounds() {
        for (place, (site, name)) in [(&empty, "empty"), (big, "big")].into_iter().enumerate() {
            let begin = Instant::now();
            let listener = site.listen();
            let ready = begin.elapsed().as_secs_f64();
            listener.stop();
            listens[place].push(bench.results.round(
                PART,
                &format!("listen, start, {name}"),
                Unit::Seconds,
                ready,
            ));

            // Without a state, everything waits.
            let _ = std::fs::remove_file(site.state_file());
            let begin = Instant::now();
            let (program, _unread) = site.unread("continuous", &[]);
            let _ = program.stderr().wait_for("listening on http");
            let ready = begin.elapsed().as_secs_f64();
            bench.results.round(
                PART,
                &format!("tap, peak memory at its start, {name}"),
                Unit::Megabytes,
                peak(&program),
            );
            runs[place].push(bench.results.round(PART, &format!("tap, start, {name}"), Unit::Seconds, ready));
        }
    }
    empty.remove();
    let begin = Instant::now();
    let _ = big.status();
    let status = begin.elapsed().as_secs_f64();
    for (what, [empty, big]) in [("listen", listens), ("the tap", runs)] {
        bench.results.row(Row {
            part: PART,
            what: format!("start of {what}, {} waiting", count(bench.big_events())),
            measured: median(&big),
            unit: Unit::Seconds,
            against: Some(("with an empty spool".to_owned(), median(&empty))),
            demand: None,
        });
    }
    bench.results.row(Row {
        part: PART,
        what: format!("spool status of {}", count(bench.big_events())),
        measured: status,
        unit: Unit::Seconds,
        against: None,
        demand: None,
    });
}

fn peak(program: &Program) -> f64 {
    megabytes(peak_memory(program.id()).expect("it runs"))
}

/// The target's memory with a long input, beside that with a short one in part `target`.
fn target_memory(bench: &mut Bench, big: &Site) {
    let events = bench.options.size(2_000_000, 20_000);
    big.set_state(big.sequence_from_end(events));
    let config = big.file("target.json");
    let settings = json!({"destination_path": big.file("table")});
    std::fs::write(&config, settings.to_string()).expect("a config file can be written");
    let (reader, writer) = io::pipe().expect("a pipe");
    let mut command = quiet(path_of("target-jsonl"));
    command.arg("--config").arg(config).stdin(reader);
    let log = big.log();
    let target = thread::spawn(move || crate::process::run(&mut command, &log));
    let mut drain = big.drain();
    drain.arg("--state").arg(big.state_file()).stdout(Stdio::from(writer));
    let drained = crate::process::run(&mut drain, &big.log());
    drop(drain);
    let taken = target.join().expect("it ends well");
    let _ = std::fs::remove_dir_all(big.file("table"));
    for (what, taken) in [("drain", drained), ("target-jsonl", taken)] {
        bench.results.row(Row {
            part: "memory",
            what: format!("{what}, {} through a pipe, peak memory", count(events)),
            measured: taken.peak,
            unit: Unit::Megabytes,
            against: None,
            demand: Some(Demand::at_most(48.0)),
        });
    }
}

/// How long posts take while a million events are trimmed, and while none are.
fn trimming_under_load(bench: &mut Bench, big: &Site) {
    let events = bench.options.size(1_000_000, 20_000);
    let listener = big.listen();
    let time = 2 * bench.options.load_time;
    let mut post = |goes_on: &dyn Fn(Duration) -> bool| {
        let load = Load { events_per_post: 1, connections: CONNECTIONS, pace: Pace::PerSecond(RATE) };
        load.post(&listener.endpoint, &mut bench.mail, |so_far| goes_on(so_far.elapsed)).latency
    };
    settle();
    let without = post(&|elapsed| elapsed < time);
    let last = big.sequence_at(events - 1);
    big.set_state(last);
    let look = big.look();
    let before = trimmed_through(&look);
    let (program, _unread) = big.unread("drain", &[("retention_days", 0.into())]);
    // Its start, and the second that it waits before it trims, are no part of what is measured.
    let begin = Instant::now();
    while trimmed_through(&look) == before {
        assert!(begin.elapsed() < PATIENCE, "nothing is trimmed");
        thread::sleep(Duration::from_millis(1));
    }
    let (begin, is_done) = (Instant::now(), AtomicBool::new(false));
    let (with, seconds) = thread::scope(|scope| {
        let trimming = scope.spawn(|| {
            let look = big.look();
            while trimmed_through(&look) < Some(last) && begin.elapsed() < PATIENCE {
                thread::sleep(Duration::from_millis(10));
            }
            is_done.store(true, Ordering::Relaxed);
            begin.elapsed().as_secs_f64()
        });
        let with = post(&|_| !is_done.load(Ordering::Relaxed));
        (with, trimming.join().expect("it only looks"))
    });
    assert!(trimmed_through(&look) >= Some(last), "not all of it is trimmed");
    drop(look);
    drop(program);
    listener.stop();
    bench.results.round(PART, "trimming under load", Unit::PerSecond, float(events) / seconds.max(1e-3));
    let title = format!(
        "Answers to {RATE:.0} posts a second, each of one event, while {} were trimmed in {seconds:.1} s, and while none were. \
         The bars are logarithmic.",
        count(events)
    );
    bench.results.text(&title, &with.beside("while trimming", &without, "without"));
    let doublings = |histogram: &Histogram| json!(histogram.doublings());
    bench
        .results
        .draw("trimming", json!({"with": doublings(&with), "without": doublings(&without), "title": title}));
    for (what, with, without) in [
        ("half of", with.quantile(0.5), without.quantile(0.5)),
        ("99 % of", with.quantile(0.99), without.quantile(0.99)),
        ("99.9 % of", with.quantile(0.999), without.quantile(0.999)),
        ("all", with.longest(), without.longest()),
    ] {
        bench.results.row(Row {
            part: PART,
            what: format!("{what} answers while {} are trimmed", count(events)),
            measured: with,
            unit: Unit::Millis,
            against: Some(("while none are".to_owned(), without)),
            demand: None,
        });
    }
}

/// Trims all that is left, and waits until the file has given its space back.
fn space(bench: &mut Bench, big: &Site) {
    // A state may not be ahead of what was ever written.
    big.set_state(big.number("SELECT value FROM fact WHERE name = 'written_through'"));
    big.drain_to_nowhere(true);
    let before = big.status();
    let events = big.events();
    let (size_before, last) = (big.size(), big.sequence_from_end(0));
    big.set_state(last);
    let mut command = big.tap(&[], &[("retention_days", 0.into())]);
    command.arg("--state").arg(big.state_file());
    let begin = Instant::now();
    let mut tap = Listener::start(&mut command);
    let look = big.look();
    let (mut trimmed_after, mut sizes) = (None, Vec::new());
    let (mut fewest, mut since) = (i64::MAX, begin);
    while begin.elapsed() < PATIENCE {
        sizes.push((begin.elapsed().as_secs_f64(), big.size()));
        if trimmed_after.is_none() {
            if trimmed_through(&look) >= Some(last) {
                trimmed_after = Some(begin.elapsed().as_secs_f64());
            }
            since = Instant::now();
        } else {
            // Empty pages are given back until there are few enough. Then it has come to rest.
            let free = look.pragma_query_value(None, "freelist_count", |row| row.get(0)).expect("a number");
            if free < fewest {
                (fewest, since) = (free, Instant::now());
            }
            if since.elapsed() > REST {
                break;
            }
        }
        thread::sleep(Duration::from_millis(250));
    }
    bench.results.round(PART, "tap while all is trimmed, peak memory", Unit::Megabytes, tap.peak());
    // Who closes the spool last leaves all of it in one file: that has to be the tap.
    drop(look);
    tap.program.signal(Signal::TERM);
    tap.program.wait();
    let (size_after, back_after) = (big.size(), (since - begin).as_secs_f64());
    let title = format!(
        "`spool status` before and after {events} events were trimmed (in {:.1} s; nothing more was given back after {back_after:.1} s)",
        trimmed_after.unwrap_or(f64::INFINITY)
    );
    bench.results.text(&title, &format!("{}\n{}", lines_of(&before), lines_of(&big.status())));
    bench.results.draw("space", json!(sizes));
    bench.results.row(Row {
        part: PART,
        what: format!("files of the spool, {events} events trimmed"),
        measured: size_after,
        unit: Unit::Megabytes,
        against: Some(("before".to_owned(), size_before)),
        demand: Some(Demand::ratio_at_most(0.1)),
    });
}

/// What `spool status` says of events and of space.
fn lines_of(status: &str) -> String {
    let wanted = ["events", "used", "free within"];
    let lines = status.lines().filter(|line| wanted.iter().any(|name| line.starts_with(name)));
    lines.flat_map(|line| [line, "\n"]).collect()
}
