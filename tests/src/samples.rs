//! What processes and files take, second by second, as CSV and to be looked at afterwards.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::http::Endpoint;
use crate::metrics::Metrics;
use crate::spool::Spool;

/// How often is looked.
const INTERVAL: Duration = Duration::from_secs(1);

/// What one or more processes take at a moment.
#[derive(Debug, Default, Clone, Copy)]
pub struct Usage {
    /// Memory, in bytes.
    pub resident: u64,
    /// Memory that is no file's, in bytes: where leaks are.
    pub anonymous: u64,
    /// Open descriptors.
    pub descriptors: u64,
    /// Threads.
    pub threads: u64,
}

/// One moment.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Seconds since the start.
    pub seconds: u64,
    /// What was going on.
    pub scene: Scene,
    /// What the tap takes: its listener and its emitter, in one process or in two. None while there is none.
    pub tap: Option<Usage>,
    /// What the target takes.
    pub target: Option<Usage>,
    /// The size of the spool, in bytes.
    pub spool: u64,
    /// The size of its log.
    pub wal: u64,
    /// The size of the log's index.
    pub shm: u64,
    /// Events that were acknowledged since the last sample.
    pub acknowledged: u64,
    /// Events that no state had confirmed, as the tap tells it.
    pub backlog: Option<f64>,
    /// Bytes that the processes have given to the disk since the start.
    pub written: u64,
}

/// What is going on.
#[derive(Debug, Default, Clone)]
pub struct Scene {
    /// The round.
    pub round: usize,
    /// What is posted.
    pub phase: &'static str,
    /// The processes of the tap.
    pub tap: Vec<u32>,
    /// The process of the target.
    pub target: Option<u32>,
    /// What was stopped, killed or changed since the last sample.
    pub marks: Vec<&'static str>,
}

/// Looks once a second, until it is asked what it saw.
#[derive(Debug)]
pub struct Sampler {
    scene: Arc<Mutex<Scene>>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Sample>>,
}

impl Usage {
    /// What a process takes, if it is there.
    #[must_use]
    pub fn of(process: u32) -> Option<Self> {
        let folder = PathBuf::from(format!("/proc/{process}"));
        let status = fs::read_to_string(folder.join("status")).ok()?;
        let figure = |name: &str| -> Option<u64> {
            let rest = status.lines().find_map(|line| line.strip_prefix(name))?;
            rest.trim_start_matches(':').trim().trim_end_matches(" kB").parse().ok()
        };
        // A process that has ended and was not waited for has no memory any more.
        Some(Usage {
            resident: 1024 * figure("VmRSS")?,
            anonymous: 1024 * figure("RssAnon")?,
            descriptors: fs::read_dir(folder.join("fd")).ok()?.count() as u64,
            threads: figure("Threads")?,
        })
    }

    fn of_all(processes: impl IntoIterator<Item = u32>) -> Option<Self> {
        processes.into_iter().filter_map(Usage::of).reduce(|one, other| Usage {
            resident: one.resident + other.resident,
            anonymous: one.anonymous + other.anonymous,
            descriptors: one.descriptors + other.descriptors,
            threads: one.threads + other.threads,
        })
    }
}

impl Sample {
    const COLUMNS: &str = "seconds,round,phase,tap_resident,tap_anonymous,tap_descriptors,tap_threads,\
        target_resident,target_anonymous,target_descriptors,target_threads,spool,wal,shm,acknowledged,backlog,written,marks";

    /// As a line of CSV. No phase and no mark has a comma in it.
    fn line(&self) -> String {
        let mut line = format!("{},{},{}", self.seconds, self.scene.round, self.scene.phase);
        for usage in [self.tap, self.target] {
            let figures =
                usage.map(|usage| [usage.resident, usage.anonymous, usage.descriptors, usage.threads]);
            for place in 0..4 {
                line.push(',');
                line += &figures.map(|figures| figures[place].to_string()).unwrap_or_default();
            }
        }
        let backlog = self.backlog.map(|events| events.to_string()).unwrap_or_default();
        let (files, marks) = ([self.spool, self.wal, self.shm], self.scene.marks.join("; "));
        for bytes in files {
            write!(line, ",{bytes}").expect("a string takes everything");
        }
        write!(line, ",{},{backlog},{},{marks}", self.acknowledged, self.written)
            .expect("a string takes everything");
        line
    }
}

impl Sampler {
    /// Starts looking at `spool` and at what the scene names, and writes what it sees into `csv`. `acknowledged` tells how
    /// many events were by now.
    #[must_use]
    pub fn start(
        csv: &Path,
        spool: &Spool,
        admin: Endpoint,
        acknowledged: impl Fn() -> u64 + Send + 'static,
    ) -> Self {
        let mut csv = File::create(csv).expect("the table of samples can be written");
        writeln!(csv, "{}", Sample::COLUMNS).expect("the table takes a line");
        let (scene, stop) = (Arc::<Mutex<Scene>>::default(), Arc::new(AtomicBool::new(false)));
        let (path, shared, stopped) = (spool.path.clone(), Arc::clone(&scene), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            let (start, mut samples, mut before) = (Instant::now(), Vec::new(), 0);
            let mut written_by = HashMap::new();
            for number in 1.. {
                // Counted from the start, so that what a look takes adds up to nothing.
                thread::sleep((start + INTERVAL * number).saturating_duration_since(Instant::now()));
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                let scene = Scene::look(&shared);
                let now = acknowledged();
                for process in scene.tap.iter().copied().chain(scene.target) {
                    if let Some(bytes) = written(process) {
                        written_by.insert(process, bytes);
                    }
                }
                let sample = Sample {
                    seconds: start.elapsed().as_secs(),
                    tap: Usage::of_all(scene.tap.iter().copied()),
                    target: Usage::of_all(scene.target),
                    spool: size(&path, ""),
                    wal: size(&path, "-wal"),
                    shm: size(&path, "-shm"),
                    acknowledged: now - before,
                    backlog: Metrics::ask(&admin)
                        .ok()
                        .and_then(|metrics| metrics.get("spool_unconfirmed_events")),
                    written: written_by.values().sum(),
                    scene,
                };
                before = now;
                writeln!(csv, "{}", sample.line()).expect("the table takes a line");
                samples.push(sample);
            }
            samples
        });
        Sampler { scene, stop, thread }
    }

    /// The scene, to be changed.
    pub fn scene(&self) -> MutexGuard<'_, Scene> {
        self.scene.lock().expect("nobody panics with it")
    }

    /// Ends looking, and returns what it saw.
    #[must_use]
    pub fn stop(self) -> Vec<Sample> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().expect("looking does not panic")
    }
}

impl Scene {
    /// A copy, with the marks since the last one.
    fn look(scene: &Mutex<Scene>) -> Scene {
        let mut scene = scene.lock().expect("nobody panics with it");
        let copy = scene.clone();
        scene.marks.clear();
        copy
    }
}

/// How many bytes a process has given to the disk so far.
fn written(process: u32) -> Option<u64> {
    let counts = fs::read_to_string(format!("/proc/{process}/io")).ok()?;
    counts.lines().find_map(|line| line.strip_prefix("write_bytes: "))?.parse().ok()
}

/// The size of a file of the spool, 0 if it is not there.
fn size(spool: &Path, suffix: &str) -> u64 {
    let mut path = spool.as_os_str().to_owned();
    path.push(suffix);
    fs::metadata(path).map_or(0, |file| file.len())
}
