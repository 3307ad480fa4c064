//! Listener, emitter and target on one machine with the load: how many events a second get from the POST to a synced line
//! while none of them takes a second.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use end_to_end::http::Endpoint;
use end_to_end::program::{Program, path_of, peak_memory};
use memchr::memmem::Finder;
use serde_json::{Value, json};

use crate::bench::Bench;
use crate::figures::{Demand, Row, Unit, float, median, megabytes, millis};
use crate::load::{Load, Pace};
use crate::process::{quiet, settle};
use crate::site::{Listener, Site};

const PART: &str = "pipeline";
const CONNECTIONS: usize = 64;
/// How often a STATE is written, and the longest that the target lets it wait: seconds.
const STATE_INTERVAL: f64 = 0.25;
/// How often an event is followed on its way.
const MARKER_INTERVAL: Duration = Duration::from_millis(100);
/// The longest that an event may take in steady state.
const LAG: Duration = Duration::from_secs(1);
/// Steps in which the rate is searched: events a second.
const STEP: f64 = 5_000.0;
/// A marker is not waited for any longer.
const PATIENCE: Duration = Duration::from_secs(120);

/// The tap and the target, connected.
pub(super) struct Pipeline {
    /// The spool, the state file, and below it the table.
    pub site: Site,
    /// The tap.
    pub tap: Listener,
    /// The target.
    pub target: Program,
}

impl Pipeline {
    /// Starts both with a spool of their own.
    pub(super) fn start(site: Site) -> Self {
        let config = site.file("target.json");
        let settings =
            json!({"destination_path": site.file("table"), "state_interval_seconds": STATE_INTERVAL});
        fs::write(&config, settings.to_string()).expect("a config file can be written");
        let (reader, writer) = io::pipe().expect("a pipe");
        let states = File::options().create(true).append(true).open(site.state_file()).expect("a state file");
        let mut command = quiet(path_of("target-jsonl"));
        command.arg("--config").arg(config).stdin(reader).stdout(states);
        let target = Program::spawn("target-jsonl", &mut command);
        drop(command);
        let mut command = site.tap(&[], &[("state_interval_seconds", STATE_INTERVAL.into())]);
        command.arg("--state").arg(site.state_file()).stdout(Stdio::from(writer));
        let tap = Listener::start(&mut command);
        Pipeline { site, tap, target }
    }

    /// Stops both, and removes what they have written.
    pub(super) fn stop(self) {
        let Pipeline { site, tap, mut target } = self;
        tap.stop();
        assert_eq!(target.wait(), Some(0), "{}", target.stderr().so_far().join("\n"));
        drop(target);
        site.remove();
        settle();
    }
}

/// What a run at one rate has shown.
struct Outcome {
    /// Events posted a second.
    posted: f64,
    /// How long each followed event took to its synced line, in the order in which they were posted.
    lags: Vec<Duration>,
    /// Events a second, from the first post until all of them were synced.
    through: f64,
    tap_peak: f64,
    target_peak: f64,
}

impl Outcome {
    /// The lags without those of the first third: the pipeline has to get going.
    fn steady(&self) -> &[Duration] {
        &self.lags[self.lags.len() / 3..]
    }

    fn longest(&self) -> Duration {
        self.steady().iter().max().copied().unwrap_or(PATIENCE)
    }

    fn median(&self) -> f64 {
        median(&self.steady().iter().map(|lag| millis(*lag)).collect::<Vec<_>>())
    }

    /// Whether the rate was held and no event took too long.
    fn holds(&self, rate: f64) -> bool {
        self.posted >= 0.98 * rate && self.longest() < LAG
    }
}

pub(super) fn run(bench: &mut Bench) {
    let saturated = follow(bench, Pace::AsTaken);
    let name = "as many as are taken";
    bench.results.round(PART, &format!("{name}, posted"), Unit::PerSecond, saturated.posted);
    bench.results.round(PART, &format!("{name}, until all are synced"), Unit::PerSecond, saturated.through);

    let mut rate = if bench.options.quick { 2_000.0 } else { 20_000.0 };
    let mut held = try_rate(bench, rate);
    if held.holds(rate) {
        // Not in a quick run: it is to show that it works.
        while !bench.options.quick {
            let next = try_rate(bench, rate + STEP);
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
        // The rate counts if it is held each time.
        while is_held && lags.len() < bench.options.rounds {
            held = try_rate(bench, rate);
            is_held = held.holds(rate);
            lags.push(held.median());
            longest.push(millis(held.longest()));
        }
        if is_held || rate <= STEP / 2.0 || bench.options.quick {
            break;
        }
        rate -= STEP / 2.0;
        (lags, longest, is_held) = (Vec::new(), Vec::new(), true);
    }
    let row = |what: &str, measured: f64, unit: Unit, demand: Option<Demand>| Row {
        part: PART,
        what: what.to_owned(),
        measured,
        unit,
        against: None,
        demand,
    };
    let demand = Demand::at_least(20_000.0).stretch(30_000.0);
    let steady = if is_held { rate } else { 0.0 };
    for row in [
        row("POST to synced line, held with lag under 1 s", steady, Unit::PerSecond, Some(demand)),
        row(
            "the longest lag of that",
            longest.iter().copied().fold(0.0, f64::max),
            Unit::Millis,
            Some(Demand::at_most(millis(LAG))),
        ),
        row("the median lag of that", median(&lags), Unit::Millis, None),
        row("POST to synced line, posted as fast as taken", saturated.through, Unit::PerSecond, None),
        row("tap in that, peak memory", saturated.tap_peak, Unit::Megabytes, Some(Demand::at_most(64.0))),
        row(
            "target in that, peak memory",
            saturated.target_peak,
            Unit::Megabytes,
            Some(Demand::at_most(48.0)),
        ),
    ] {
        bench.results.row(row);
    }
}

fn try_rate(bench: &mut Bench, rate: f64) -> Outcome {
    let outcome = follow(bench, Pace::PerSecond(rate));
    let name = format!("at {rate:.0}/s");
    bench.results.round(PART, &format!("{name}, posted"), Unit::PerSecond, outcome.posted);
    bench.results.round(PART, &format!("{name}, median lag"), Unit::Millis, outcome.median());
    bench.results.round(PART, &format!("{name}, longest lag"), Unit::Millis, millis(outcome.longest()));
    outcome
}

/// Posts for a while, and follows an event every 100 ms.
fn follow(bench: &mut Bench, pace: Pace) -> Outcome {
    let pipeline = Pipeline::start(Site::new(&bench.folder, PART));
    let time = 2 * bench.options.load_time;
    let load = Load { events_per_post: 1, connections: CONNECTIONS, pace };
    let (posted_at, is_over) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    let watcher = Watcher::new(&pipeline);
    let begin = Instant::now();
    let (loaded, synced_at) = thread::scope(|scope| {
        let markers = scope.spawn(|| post_markers(&pipeline.tap.endpoint, &posted_at, &is_over));
        let watching = scope.spawn(|| watcher.watch(&posted_at, &is_over));
        let loaded = load.post(&pipeline.tap.endpoint, &mut bench.mail, |so_far| so_far.elapsed < time);
        is_over.store(true, Ordering::Relaxed);
        markers.join().expect("markers are taken");
        (loaded, watching.join().expect("markers arrive"))
    });
    let posted_at = posted_at.into_inner().expect("nobody has panicked");
    let last = synced_at.iter().max().expect("there are markers");
    let peak = |id| megabytes(peak_memory(id).expect("it runs"));
    let outcome = Outcome {
        posted: loaded.rate(),
        through: float(loaded.events) / (*last - begin).as_secs_f64(),
        lags: posted_at.iter().zip(&synced_at).map(|(posted, synced)| *synced - *posted).collect(),
        tap_peak: peak(pipeline.tap.program.id()),
        target_peak: peak(pipeline.target.id()),
    };
    pipeline.stop();
    outcome
}

/// Posts an event every 100 ms that can be told from all others, and one more behind all others.
fn post_markers(endpoint: &Endpoint, posted_at: &Mutex<Vec<Instant>>, is_over: &AtomicBool) {
    let mut client = endpoint.connect();
    loop {
        let is_last = is_over.load(Ordering::Relaxed);
        let body = {
            let mut posted_at = posted_at.lock().expect("nobody has panicked");
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

/// Looks at the table and at the state file as they grow. A line counts as synced when a STATE that covers it is out, since
/// the target lets none out before its sync.
struct Watcher {
    table: PathBuf,
    states: PathBuf,
}

impl Watcher {
    fn new(pipeline: &Pipeline) -> Self {
        Watcher { table: pipeline.site.file("table/data.jsonl"), states: pipeline.site.state_file() }
    }

    /// Says when each marker was synced, once all are.
    fn watch(&self, posted_at: &Mutex<Vec<Instant>>, is_over: &AtomicBool) -> Vec<Instant> {
        let (mut table, mut states) = (Growing::of(&self.table), Growing::of(&self.states));
        let finder = Finder::new("\"CustomID\":\"marker-");
        // Markers whose lines are there, by their sequence, and those that are synced.
        let mut written: Vec<(usize, i64)> = Vec::new();
        let mut synced: Vec<Option<Instant>> = Vec::new();
        let begin = Instant::now();
        loop {
            table.each_new_line(|lines| {
                for place in finder.find_iter(lines) {
                    written.push(marker_at(lines, place + finder.needle().len()));
                }
            });
            let mut covered = 0;
            states.each_new_line(|lines| covered = last_bookmark(lines).unwrap_or(0));
            let now = Instant::now();
            written.retain(|(number, sequence)| {
                if *sequence <= covered {
                    synced.resize(synced.len().max(number + 1), None);
                    synced[*number] = Some(now);
                }
                *sequence > covered
            });
            // In this order: the last marker is noted before it is posted, and posted after the end.
            let is_over = is_over.load(Ordering::Relaxed);
            let posted = posted_at.lock().expect("nobody has panicked").len();
            let done: Vec<_> = synced.iter().flatten().copied().collect();
            if is_over && done.len() == posted && now - begin > MARKER_INTERVAL {
                return done;
            }
            assert!(begin.elapsed() < PATIENCE, "{} of {posted} markers have arrived", done.len());
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A file that somebody appends lines to.
struct Growing {
    path: PathBuf,
    file: Option<File>,
    /// What was read, from the first line that is not whole yet.
    rest: Vec<u8>,
}

impl Growing {
    fn of(path: &std::path::Path) -> Self {
        Growing { path: path.to_owned(), file: None, rest: Vec::new() }
    }

    /// Shows the whole lines that have come.
    fn each_new_line(&mut self, look: impl FnOnce(&[u8])) {
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

/// The number and the sequence of the marker whose number begins at `place`.
fn marker_at(lines: &[u8], place: usize) -> (usize, i64) {
    let line = &lines[place..];
    let line = &line[..memchr::memchr(b'\n', line).expect("a whole line")];
    let line = str::from_utf8(line).expect("the table is UTF-8");
    let (number, _) = line.split_once('.').expect("it ends with a dot");
    let (_, sequence) = line.split_once("\"_sdc_sequence\":").expect("each row has one");
    let sequence = sequence.split([',', '}']).next().and_then(|digits| digits.parse().ok());
    (number.parse().expect("a number"), sequence.expect("a number"))
}

fn last_bookmark(lines: &[u8]) -> Option<i64> {
    let line = lines.trim_ascii_end().rsplit(|byte| *byte == b'\n').next()?;
    let state: Value = serde_json::from_slice(line).expect("a state is JSON");
    end_to_end::message::bookmark(&state)
}
