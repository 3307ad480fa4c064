//! The resource usage of processes and files, sampled once a second and written as CSV.

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

/// The time between two samples.
const INTERVAL: Duration = Duration::from_secs(1);

/// The resource usage of one or more processes.
#[derive(Debug, Default, Clone, Copy)]
pub struct ProcessUsage {
    /// Resident memory, in bytes.
    pub resident: u64,
    /// Memory that belongs to no file, in bytes. Leaks show here.
    pub anonymous: u64,
    /// Open file descriptors.
    pub descriptors: u64,
    /// Threads.
    pub threads: u64,
}

/// The measurements of one moment.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Seconds since the start.
    pub seconds: u64,
    /// Its circumstances.
    pub context: SampleContext,
    /// The usage of the tap: its listener and its emitter, in one process or two. `None` while none is
    /// running.
    pub tap: Option<ProcessUsage>,
    /// The usage of the target.
    pub target: Option<ProcessUsage>,
    /// The size of the spool, in bytes.
    pub spool: u64,
    /// The size of the write-ahead log, in bytes.
    pub wal: u64,
    /// The size of the log's index, in bytes.
    pub shm: u64,
    /// Events acknowledged since the last sample.
    pub acknowledged: u64,
    /// Events that no state had confirmed, according to the tap's metrics.
    pub backlog: Option<f64>,
    /// Bytes that the processes have written to the disk since the start.
    pub written: u64,
}

/// The circumstances of a sample.
#[derive(Debug, Default, Clone)]
pub struct SampleContext {
    /// The number of the round.
    pub round: usize,
    /// The name of the phase.
    pub phase: &'static str,
    /// The ids of the tap's processes.
    pub tap: Vec<u32>,
    /// The id of the target's process.
    pub target: Option<u32>,
    /// What was stopped, killed or changed since the last sample.
    pub marks: Vec<&'static str>,
}

/// A thread that takes samples until it is stopped.
#[derive(Debug)]
pub struct Sampler {
    context: Arc<Mutex<SampleContext>>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Sample>>,
}

impl ProcessUsage {
    /// Reads the usage of a process; `None` if it is not running.
    #[must_use]
    pub fn read(process: u32) -> Option<Self> {
        let folder = PathBuf::from(format!("/proc/{process}"));
        let status = fs::read_to_string(folder.join("status")).ok()?;
        let figure = |name: &str| -> Option<u64> {
            let rest = status.lines().find_map(|line| line.strip_prefix(name))?;
            rest.trim_start_matches(':').trim().trim_end_matches(" kB").parse().ok()
        };
        // A process that has ended but was not waited for has no memory lines.
        Some(ProcessUsage {
            resident: 1024 * figure("VmRSS")?,
            anonymous: 1024 * figure("RssAnon")?,
            descriptors: fs::read_dir(folder.join("fd")).ok()?.count() as u64,
            threads: figure("Threads")?,
        })
    }

    fn read_all(processes: impl IntoIterator<Item = u32>) -> Option<Self> {
        processes.into_iter().filter_map(ProcessUsage::read).reduce(|one, other| ProcessUsage {
            resident: one.resident + other.resident,
            anonymous: one.anonymous + other.anonymous,
            descriptors: one.descriptors + other.descriptors,
            threads: one.threads + other.threads,
        })
    }
}

impl Sample {
    const COLUMNS: &str = "seconds,round,phase,tap_resident,tap_anonymous,tap_descriptors,tap_threads,\
        target_resident,target_anonymous,target_descriptors,target_threads,spool,wal,shm,\
        acknowledged,backlog,written,marks";

    /// The sample as a line of CSV. No phase or mark contains a comma.
    fn line(&self) -> String {
        let mut line = format!("{},{},{}", self.seconds, self.context.round, self.context.phase);
        for usage in [self.tap, self.target] {
            let figures =
                usage.map(|usage| [usage.resident, usage.anonymous, usage.descriptors, usage.threads]);
            for place in 0..4 {
                line.push(',');
                line += &figures.map(|figures| figures[place].to_string()).unwrap_or_default();
            }
        }
        let backlog = self.backlog.map(|events| events.to_string()).unwrap_or_default();
        let (files, marks) = ([self.spool, self.wal, self.shm], self.context.marks.join("; "));
        for bytes in files {
            write!(line, ",{bytes}").expect("a string can always be written");
        }
        write!(line, ",{},{backlog},{},{marks}", self.acknowledged, self.written)
            .expect("a string can always be written");
        line
    }
}

impl Sampler {
    /// Starts to sample `spool` and the processes in the context, and writes each sample to `csv`.
    /// `acknowledged` returns the number of events acknowledged so far.
    #[must_use]
    pub fn start(
        csv: &Path,
        spool: &Spool,
        admin: Endpoint,
        acknowledged: impl Fn() -> u64 + Send + 'static,
    ) -> Self {
        let mut csv = File::create(csv).expect("the table of samples can be written");
        writeln!(csv, "{}", Sample::COLUMNS).expect("the table can be written");
        let (context, stop) = (Arc::<Mutex<SampleContext>>::default(), Arc::new(AtomicBool::new(false)));
        let (path, shared, stopped) = (spool.path.clone(), Arc::clone(&context), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            let (start, mut samples, mut before) = (Instant::now(), Vec::new(), 0);
            let mut written_by = HashMap::new();
            for number in 1.. {
                // Scheduled from the start, so that the time for taking samples does not add up.
                thread::sleep((start + INTERVAL * number).saturating_duration_since(Instant::now()));
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                let context = SampleContext::take(&shared);
                let now = acknowledged();
                for process in context.tap.iter().copied().chain(context.target) {
                    if let Some(bytes) = written(process) {
                        written_by.insert(process, bytes);
                    }
                }
                let sample = Sample {
                    seconds: start.elapsed().as_secs(),
                    tap: ProcessUsage::read_all(context.tap.iter().copied()),
                    target: ProcessUsage::read_all(context.target),
                    spool: size(&path, ""),
                    wal: size(&path, "-wal"),
                    shm: size(&path, "-shm"),
                    acknowledged: now - before,
                    backlog: Metrics::try_fetch(&admin)
                        .ok()
                        .and_then(|metrics| metrics.get("spool_unconfirmed_events")),
                    written: written_by.values().sum(),
                    context,
                };
                before = now;
                writeln!(csv, "{}", sample.line()).expect("the table can be written");
                samples.push(sample);
            }
            samples
        });
        Sampler { context, stop, thread }
    }

    /// Gives access to the context, to change it.
    pub fn context(&self) -> MutexGuard<'_, SampleContext> {
        self.context.lock().expect("no holder panics")
    }

    /// Stops sampling, and returns all samples.
    #[must_use]
    pub fn stop(self) -> Vec<Sample> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().expect("sampling does not panic")
    }
}

impl SampleContext {
    /// Returns a copy with the marks since the last one.
    fn take(context: &Mutex<SampleContext>) -> SampleContext {
        let mut context = context.lock().expect("no holder panics");
        let copy = context.clone();
        context.marks.clear();
        copy
    }
}

/// How many bytes a process has written to the disk so far.
fn written(process: u32) -> Option<u64> {
    let counts = fs::read_to_string(format!("/proc/{process}/io")).ok()?;
    counts.lines().find_map(|line| line.strip_prefix("write_bytes: "))?.parse().ok()
}

/// The size of a file of the spool; 0 if it does not exist.
fn size(spool: &Path, suffix: &str) -> u64 {
    let mut path = spool.as_os_str().to_owned();
    path.push(suffix);
    fs::metadata(path).map_or(0, |file| file.len())
}
