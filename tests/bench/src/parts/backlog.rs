//! A big spool: how the tap starts with it, whether trimming stalls the listener, and whether its space is
//! returned.

use std::io;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use end_to_end::program::{ChildProcess, Signal, peak_memory, program_path};
use serde_json::json;

use super::growth::trimmed_through;
use crate::benchmark::{Benchmark, count};
use crate::latency::Latencies;
use crate::load::{Load, Pace};
use crate::measurement::{Requirement, ResultRow, Unit, float, median, megabytes};
use crate::process::{command_without_io, sync_disk};
use crate::spool::{Listener, Spool};

const PART: &str = "backlog";
/// Posts per second while events are trimmed.
const RATE: f64 = 5_000.0;
const CONNECTIONS: usize = 32;
/// How long to wait for anything.
const PATIENCE: Duration = Duration::from_secs(600);
/// A spool that returns no page for this long has none left to return.
const REST: Duration = Duration::from_secs(10);

pub(super) fn run(benchmark: &mut Benchmark) {
    let big = benchmark.take_big_spool();
    starts(benchmark, &big);
    target_memory(benchmark, &big);
    trimming_under_load(benchmark, &big);
    space(benchmark, &big);
    benchmark.return_big_spool(big);
}

/// Measures the time from the start to the line that says that the tap listens, with an empty spool and with
/// a full one.
fn starts(benchmark: &mut Benchmark, big: &Spool) {
    let empty = Spool::new(&benchmark.folder, "empty");
    let (mut listens, mut runs) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for _ in benchmark.rounds() {
        for (place, (spool, name)) in [(&empty, "empty"), (big, "big")].into_iter().enumerate() {
            let begin = Instant::now();
            let listener = spool.listen();
            let ready = begin.elapsed().as_secs_f64();
            listener.stop();
            listens[place].push(benchmark.results.round(
                PART,
                &format!("listen, start, {name}"),
                Unit::Seconds,
                ready,
            ));

            // Without a state, every event is waiting.
            let _ = std::fs::remove_file(spool.state_file());
            let begin = Instant::now();
            let (program, _unread) = spool.start_unread("continuous", &[]);
            let _ = program.stderr().wait_for("listening on http");
            let ready = begin.elapsed().as_secs_f64();
            benchmark.results.round(
                PART,
                &format!("tap, peak memory at its start, {name}"),
                Unit::Megabytes,
                peak(&program),
            );
            runs[place].push(benchmark.results.round(
                PART,
                &format!("tap, start, {name}"),
                Unit::Seconds,
                ready,
            ));
        }
    }
    empty.remove();
    let begin = Instant::now();
    let _ = big.status();
    let status = begin.elapsed().as_secs_f64();
    for (what, [empty, big]) in [("listen", listens), ("the tap", runs)] {
        benchmark.results.row(ResultRow {
            part: PART,
            what: format!("start of {what}, {} waiting", count(benchmark.big_events())),
            measured: median(&big),
            unit: Unit::Seconds,
            against: Some(("with an empty spool".to_owned(), median(&empty))),
            requirement: None,
        });
    }
    benchmark.results.row(ResultRow {
        part: PART,
        what: format!("spool status of {}", count(benchmark.big_events())),
        measured: status,
        unit: Unit::Seconds,
        against: None,
        requirement: None,
    });
}

fn peak(program: &ChildProcess) -> f64 {
    megabytes(peak_memory(program.id()).expect("the tap is running"))
}

/// Measures the target's memory for a long input. Part `target` measures it for a short one.
fn target_memory(benchmark: &mut Benchmark, big: &Spool) {
    let events = benchmark.options.size(2_000_000, 20_000);
    big.set_state(big.sequence_from_end(events));
    let config = big.file("target.json");
    let settings = json!({"destination_path": big.file("table")});
    std::fs::write(&config, settings.to_string()).expect("a config file can be written");
    let (reader, writer) = io::pipe().expect("a pipe");
    let mut command = command_without_io(program_path("target-jsonl"));
    command.arg("--config").arg(config).stdin(reader);
    let log = big.log();
    let target = thread::spawn(move || crate::process::run(&mut command, &log));
    let mut drain = big.drain();
    drain.arg("--state").arg(big.state_file()).stdout(Stdio::from(writer));
    let drained = crate::process::run(&mut drain, &big.log());
    drop(drain);
    let usage = target.join().expect("measuring does not panic");
    let _ = std::fs::remove_dir_all(big.file("table"));
    for (what, usage) in [("drain", drained), ("target-jsonl", usage)] {
        benchmark.results.row(ResultRow {
            part: "memory",
            what: format!("{what}, {} through a pipe, peak memory", count(events)),
            measured: usage.peak,
            unit: Unit::Megabytes,
            against: None,
            requirement: Some(Requirement::at_most(48.0)),
        });
    }
}

/// Measures how long posts take while a million events are trimmed, and while none are.
fn trimming_under_load(benchmark: &mut Benchmark, big: &Spool) {
    let events = benchmark.options.size(1_000_000, 20_000);
    let listener = big.listen();
    let time = 2 * benchmark.options.load_time;
    let mut post = |goes_on: &dyn Fn(Duration) -> bool| {
        let load = Load { events_per_post: 1, connections: CONNECTIONS, pace: Pace::PerSecond(RATE) };
        load.post(&listener.endpoint, &mut benchmark.generator, |progress| goes_on(progress.elapsed)).latency
    };
    sync_disk();
    let without = post(&|elapsed| elapsed < time);
    let last = big.sequence_at(events - 1);
    big.set_state(last);
    let look = big.open_read_only();
    let before = trimmed_through(&look);
    let (program, _unread) = big.start_unread("drain", &[("retention_days", 0.into())]);
    // The start, and the second that the tap waits before it trims, are not measured.
    let begin = Instant::now();
    while trimmed_through(&look) == before {
        assert!(begin.elapsed() < PATIENCE, "nothing is trimmed");
        thread::sleep(Duration::from_millis(1));
    }
    let (begin, is_done) = (Instant::now(), AtomicBool::new(false));
    let (with, seconds) = thread::scope(|scope| {
        let trimming = scope.spawn(|| {
            let look = big.open_read_only();
            while trimmed_through(&look) < Some(last) && begin.elapsed() < PATIENCE {
                thread::sleep(Duration::from_millis(10));
            }
            is_done.store(true, Ordering::Relaxed);
            begin.elapsed().as_secs_f64()
        });
        let with = post(&|_| !is_done.load(Ordering::Relaxed));
        (with, trimming.join().expect("watching does not panic"))
    });
    assert!(trimmed_through(&look) >= Some(last), "not every event is trimmed");
    drop(look);
    drop(program);
    listener.stop();
    benchmark.results.round(PART, "trimming under load", Unit::PerSecond, float(events) / seconds.max(1e-3));
    let title = format!(
        "Answers to {RATE:.0} posts a second, each of one event, while {} were trimmed in {seconds:.1} s, \
         and while none were. The bars are logarithmic.",
        count(events)
    );
    benchmark.results.text(&title, &with.compare("while trimming", &without, "without"));
    let doublings = |latencies: &Latencies| json!(latencies.doublings());
    benchmark
        .results
        .draw("trimming", json!({"with": doublings(&with), "without": doublings(&without), "title": title}));
    for (what, with, without) in [
        ("half of the answers", with.quantile(0.5), without.quantile(0.5)),
        ("99 % of the answers", with.quantile(0.99), without.quantile(0.99)),
        ("99.9 % of the answers", with.quantile(0.999), without.quantile(0.999)),
        ("all answers", with.longest(), without.longest()),
    ] {
        benchmark.results.row(ResultRow {
            part: PART,
            what: format!("{what} while {} are trimmed", count(events)),
            measured: with,
            unit: Unit::Millis,
            against: Some(("while none are".to_owned(), without)),
            requirement: None,
        });
    }
}

/// Trims everything that is left, and waits until the file has returned its space.
fn space(benchmark: &mut Benchmark, big: &Spool) {
    // A state must not be ahead of what was ever written.
    big.set_state(big.number("SELECT value FROM fact WHERE name = 'written_through'"));
    big.drain_from_state_to_null();
    let before = big.status();
    let events = big.event_count();
    let (size_before, last) = (big.size(), big.sequence_from_end(0));
    big.set_state(last);
    let mut command = big.command(&[], &[("retention_days", 0.into())]);
    command.arg("--state").arg(big.state_file());
    let begin = Instant::now();
    let mut tap = Listener::start(&mut command);
    let look = big.open_read_only();
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
            // The tap returns empty pages until only a few are left. Then the spool is at rest.
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
    benchmark.results.round(PART, "tap while trimming everything, peak memory", Unit::Megabytes, tap.peak());
    // The process that closes the spool last merges the log into the file. It must be the tap.
    drop(look);
    tap.program.signal(Signal::TERM);
    tap.program.wait();
    let (size_after, returned_after) = (big.size(), (since - begin).as_secs_f64());
    let title = format!(
        "`spool status` before and after {events} events were trimmed (in {:.1} s; the last page was \
         returned after {returned_after:.1} s)",
        trimmed_after.unwrap_or(f64::INFINITY)
    );
    benchmark.results.text(&title, &format!("{}\n{}", lines_of(&before), lines_of(&big.status())));
    benchmark.results.draw("space", json!(sizes));
    benchmark.results.row(ResultRow {
        part: PART,
        what: format!("files of the spool, {events} events trimmed"),
        measured: size_after,
        unit: Unit::Megabytes,
        against: Some(("before".to_owned(), size_before)),
        requirement: Some(Requirement::ratio_at_most(0.1)),
    });
}

/// The lines of `spool status` about events and space.
fn lines_of(status: &str) -> String {
    let wanted = ["events", "used", "free within"];
    let lines = status.lines().filter(|line| wanted.iter().any(|name| line.starts_with(name)));
    lines.flat_map(|line| [line, "\n"]).collect()
}
