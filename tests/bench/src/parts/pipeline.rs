//! Listener, emitter and target on one machine, together with the load: the highest rate at which every event
//! gets from the POST to a synced line within a second.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use end_to_end::http::Endpoint;
use end_to_end::program::{ChildProcess, peak_memory, program_path};
use memchr::memmem::Finder;
use serde_json::{Value, json};

use crate::benchmark::Benchmark;
use crate::load::{Load, Pace};
use crate::measurement::{Requirement, ResultRow, Unit, float, median, megabytes, millis};
use crate::process::{command_without_io, sync_disk};
use crate::spool::{Listener, Spool};

const PART: &str = "pipeline";
const CONNECTIONS: usize = 64;
/// The interval between STATE messages, and the longest time that the target holds one back, in seconds.
const STATE_INTERVAL: f64 = 0.25;
/// The time between two markers: events that are followed on their way.
const MARKER_INTERVAL: Duration = Duration::from_millis(100);
/// The longest time that an event may take in the steady state.
const LAG: Duration = Duration::from_secs(1);
/// The step between two rates that are tried, in events a second.
const STEP: f64 = 5_000.0;
/// How long to wait for a marker.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running tap and a running target, connected by a pipe.
pub(super) struct Pipeline {
    /// The spool, with the state file and the table in its folder.
    pub spool: Spool,
    /// The tap.
    pub tap: Listener,
    /// The target.
    pub target: ChildProcess,
}

impl Pipeline {
    /// Starts both.
    pub(super) fn start(spool: Spool) -> Self {
        let config = spool.file("target.json");
        let settings =
            json!({"destination_path": spool.file("table"), "state_interval_seconds": STATE_INTERVAL});
        fs::write(&config, settings.to_string()).expect("a config file can be written");
        let (reader, writer) = io::pipe().expect("a pipe");
        let states =
            File::options().create(true).append(true).open(spool.state_file()).expect("a state file");
        let mut command = command_without_io(program_path("target-jsonl"));
        command.arg("--config").arg(config).stdin(reader).stdout(states);
        let target = ChildProcess::spawn("target-jsonl", &mut command);
        drop(command);
        let mut command = spool.command(&[], &[("state_interval_seconds", STATE_INTERVAL.into())]);
        command.arg("--state").arg(spool.state_file()).stdout(Stdio::from(writer));
        let tap = Listener::start(&mut command);
        Pipeline { spool, tap, target }
    }

    /// Stops both and removes their files.
    pub(super) fn stop(self) {
        let Pipeline { spool, tap, mut target } = self;
        tap.stop();
        assert_eq!(target.wait(), Some(0), "{}", target.stderr().so_far().join("\n"));
        drop(target);
        spool.remove();
        sync_disk();
    }
}

/// The results of a run at one rate.
struct Outcome {
    /// How many events were posted per second.
    posted: f64,
    /// How long each marker took to its synced line, in the order of the posts.
    lags: Vec<Duration>,
    /// Events per second, from the first post until all of them were synced.
    through: f64,
    tap_peak: f64,
    target_peak: f64,
}

impl Outcome {
    /// The lags without those of the first third, in which the pipeline gets going.
    fn steady(&self) -> &[Duration] {
        &self.lags[self.lags.len() / 3..]
    }

    fn longest(&self) -> Duration {
        self.steady().iter().max().copied().unwrap_or(PATIENCE)
    }

    fn median(&self) -> f64 {
        median(&self.steady().iter().map(|lag| millis(*lag)).collect::<Vec<_>>())
    }

    /// Whether the rate was reached and no event took too long.
    fn holds(&self, rate: f64) -> bool {
        self.posted >= 0.98 * rate && self.longest() < LAG
    }
}

pub(super) fn run(benchmark: &mut Benchmark) {
    let saturated = follow(benchmark, Pace::AsAnswered);
    let name = "as fast as they are answered";
    benchmark.results.round(PART, &format!("{name}, posted"), Unit::PerSecond, saturated.posted);
    benchmark.results.round(
        PART,
        &format!("{name}, until all are synced"),
        Unit::PerSecond,
        saturated.through,
    );

    let mut rate = if benchmark.options.quick { 2_000.0 } else { 20_000.0 };
    let mut held = try_rate(benchmark, rate);
    if held.holds(rate) {
        // Not in a quick run, which only shows that the benchmark works.
        while !benchmark.options.quick {
            let next = try_rate(benchmark, rate + STEP);
            if !next.holds(rate + STEP) {
                break;
            }
            (rate, held) = (rate + STEP, next);
        }
    }
    let mut lags = vec![held.median()];
    let mut longest = vec![millis(held.longest())];
    let mut is_held = held.holds(rate);
    loop {
        // A rate counts only if every round reaches it.
        while is_held && lags.len() < benchmark.options.rounds {
            held = try_rate(benchmark, rate);
            is_held = held.holds(rate);
            lags.push(held.median());
            longest.push(millis(held.longest()));
        }
        if is_held || rate <= STEP / 2.0 || benchmark.options.quick {
            break;
        }
        rate -= STEP / 2.0;
        (lags, longest, is_held) = (Vec::new(), Vec::new(), true);
    }
    let row = |what: &str, measured: f64, unit: Unit, requirement: Option<Requirement>| ResultRow {
        part: PART,
        what: what.to_owned(),
        measured,
        unit,
        against: None,
        requirement,
    };
    let requirement = Requirement::at_least(20_000.0).stretch(30_000.0);
    let steady = if is_held { rate } else { 0.0 };
    for row in [
        row("POST to synced line, held with lag under 1 s", steady, Unit::PerSecond, Some(requirement)),
        row(
            "longest lag at that rate",
            longest.iter().copied().fold(0.0, f64::max),
            Unit::Millis,
            Some(Requirement::at_most(millis(LAG))),
        ),
        row("median lag at that rate", median(&lags), Unit::Millis, None),
        row("POST to synced line, posted as fast as answered", saturated.through, Unit::PerSecond, None),
        row(
            "tap in that run, peak memory",
            saturated.tap_peak,
            Unit::Megabytes,
            Some(Requirement::at_most(64.0)),
        ),
        row(
            "target in that run, peak memory",
            saturated.target_peak,
            Unit::Megabytes,
            Some(Requirement::at_most(48.0)),
        ),
    ] {
        benchmark.results.row(row);
    }
}

fn try_rate(benchmark: &mut Benchmark, rate: f64) -> Outcome {
    let outcome = follow(benchmark, Pace::PerSecond(rate));
    let name = format!("at {rate:.0}/s");
    benchmark.results.round(PART, &format!("{name}, posted"), Unit::PerSecond, outcome.posted);
    benchmark.results.round(PART, &format!("{name}, median lag"), Unit::Millis, outcome.median());
    benchmark.results.round(PART, &format!("{name}, longest lag"), Unit::Millis, millis(outcome.longest()));
    outcome
}

/// Posts for a while and follows a marker every 100 ms.
fn follow(benchmark: &mut Benchmark, pace: Pace) -> Outcome {
    let pipeline = Pipeline::start(Spool::new(&benchmark.folder, PART));
    let time = 2 * benchmark.options.load_time;
    let load = Load { events_per_post: 1, connections: CONNECTIONS, pace };
    let (posted_at, is_over) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    let watcher = SyncWatcher::new(&pipeline);
    let begin = Instant::now();
    let (report, synced_at) = thread::scope(|scope| {
        let markers = scope.spawn(|| post_markers(&pipeline.tap.endpoint, &posted_at, &is_over));
        let watching = scope.spawn(|| watcher.watch(&posted_at, &is_over));
        let report =
            load.post(&pipeline.tap.endpoint, &mut benchmark.generator, |progress| progress.elapsed < time);
        is_over.store(true, Ordering::Relaxed);
        markers.join().expect("posting markers does not panic");
        (report, watching.join().expect("watching does not panic"))
    });
    let posted_at = posted_at.into_inner().expect("no thread has panicked");
    let last = synced_at.iter().max().expect("at least one marker was posted");
    let peak = |id| megabytes(peak_memory(id).expect("the process is running"));
    let outcome = Outcome {
        posted: report.rate(),
        through: float(report.events) / (*last - begin).as_secs_f64(),
        lags: posted_at.iter().zip(&synced_at).map(|(posted, synced)| *synced - *posted).collect(),
        tap_peak: peak(pipeline.tap.program.id()),
        target_peak: peak(pipeline.target.id()),
    };
    pipeline.stop();
    outcome
}

/// Posts a marker every 100 ms, and a last one after everything else.
fn post_markers(endpoint: &Endpoint, posted_at: &Mutex<Vec<Instant>>, is_over: &AtomicBool) {
    let mut client = endpoint.connect();
    loop {
        let is_last = is_over.load(Ordering::Relaxed);
        let body = {
            let mut posted_at = posted_at.lock().expect("no thread has panicked");
            posted_at.push(Instant::now());
            format!(r#"{{"event":"open","time":1,"CustomID":"marker-{}."}}"#, posted_at.len() - 1)
        };
        let reply = client.post(&endpoint.path, &body).expect("an answer");
        assert_eq!(reply.status, 200, "{}", reply.body);
        if is_last {
            return;
        }
        thread::sleep(MARKER_INTERVAL);
    }
}

/// Watches the table and the state file grow. A line counts as synced when a STATE that covers it is in the
/// file, because the target writes no STATE before its sync.
struct SyncWatcher {
    table: PathBuf,
    states: PathBuf,
}

impl SyncWatcher {
    fn new(pipeline: &Pipeline) -> Self {
        SyncWatcher { table: pipeline.spool.file("table/data.jsonl"), states: pipeline.spool.state_file() }
    }

    /// Returns when each marker was synced, once all of them are.
    fn watch(&self, posted_at: &Mutex<Vec<Instant>>, is_over: &AtomicBool) -> Vec<Instant> {
        let (mut table, mut states) = (GrowingFile::new(&self.table), GrowingFile::new(&self.states));
        let finder = Finder::new("\"CustomID\":\"marker-");
        // Markers whose lines have been read, with their sequence; and the time when each marker was synced.
        let mut written: Vec<(usize, i64)> = Vec::new();
        let mut synced: Vec<Option<Instant>> = Vec::new();
        let begin = Instant::now();
        loop {
            table.read_new_lines(|lines| {
                for place in finder.find_iter(lines) {
                    written.push(marker_at(lines, place + finder.needle().len()));
                }
            });
            let mut covered = 0;
            states.read_new_lines(|lines| covered = last_bookmark(lines).unwrap_or(0));
            let now = Instant::now();
            written.retain(|(number, sequence)| {
                if *sequence <= covered {
                    synced.resize(synced.len().max(number + 1), None);
                    synced[*number] = Some(now);
                }
                *sequence > covered
            });
            // In this order: the last marker is recorded before it is posted, and posted after the end.
            let is_over = is_over.load(Ordering::Relaxed);
            let posted = posted_at.lock().expect("no thread has panicked").len();
            let done: Vec<_> = synced.iter().flatten().copied().collect();
            if is_over && done.len() == posted && now - begin > MARKER_INTERVAL {
                return done;
            }
            assert!(begin.elapsed() < PATIENCE, "{} of {posted} markers have arrived", done.len());
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A file that another process appends lines to.
struct GrowingFile {
    path: PathBuf,
    file: Option<File>,
    /// What was read from the first incomplete line on.
    rest: Vec<u8>,
}

impl GrowingFile {
    fn new(path: &std::path::Path) -> Self {
        GrowingFile { path: path.to_owned(), file: None, rest: Vec::new() }
    }

    /// Calls `look` with the new complete lines.
    fn read_new_lines(&mut self, look: impl FnOnce(&[u8])) {
        if self.file.is_none() {
            self.file = File::open(&self.path).ok();
        }
        let Some(file) = &mut self.file else { return };
        let read = file.read_to_end(&mut self.rest).expect("a file can be read");
        if read == 0 {
            return;
        }
        if let Some(end) = memchr::memrchr(b'\n', &self.rest) {
            look(&self.rest[..=end]);
            self.rest.drain(..=end);
        }
    }
}

/// Parses the number and the sequence of the marker whose number begins at `place`.
fn marker_at(lines: &[u8], place: usize) -> (usize, i64) {
    let line = &lines[place..];
    let line = &line[..memchr::memchr(b'\n', line).expect("a whole line")];
    let line = str::from_utf8(line).expect("the table is UTF-8");
    let (number, _) = line.split_once('.').expect("a dot follows the number");
    let (_, sequence) = line.split_once("\"_sdc_sequence\":").expect("each row has a sequence");
    let sequence = sequence.split([',', '}']).next().and_then(|digits| digits.parse().ok());
    (number.parse().expect("a number"), sequence.expect("a number"))
}

fn last_bookmark(lines: &[u8]) -> Option<i64> {
    let line = lines.trim_ascii_end().rsplit(|byte| *byte == b'\n').next()?;
    let state: Value = serde_json::from_slice(line).expect("a state is JSON");
    end_to_end::message::bookmark(&state)
}
