//! A process whose time and memory are measured.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use end_to_end::program::peak_memory;

use crate::measurement::megabytes;

/// The time and memory that a process has used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProcessUsage {
    /// From its start to its end.
    pub seconds: f64,
    /// The peak memory, as Linux reports it, in millions of bytes.
    pub peak: f64,
}

/// Runs a command that must succeed. Its stderr is appended to `log`.
pub(crate) fn run(command: &mut Command, log: &Path) -> ProcessUsage {
    let stderr = File::options().create(true).append(true).open(log).expect("a log can be written");
    command.stderr(stderr);
    let begin = Instant::now();
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    let (status, seconds, peak) = wait_and_sample(&mut child, begin);
    assert!(status.success(), "{command:?} ends with {status}; see {}", log.display());
    ProcessUsage { seconds, peak }
}

/// Waits for a process, and samples its peak memory until it ends.
fn wait_and_sample(child: &mut Child, begin: Instant) -> (std::process::ExitStatus, f64, f64) {
    let (id, is_over) = (child.id(), AtomicBool::new(false));
    thread::scope(|scope| {
        let memory = scope.spawn(|| {
            let mut peak = 0;
            // The peak never falls, so the last sample is the right one. A zombie has none.
            while !is_over.load(Ordering::Relaxed) {
                peak = peak_memory(id).unwrap_or(0).max(peak);
                thread::sleep(Duration::from_millis(2));
            }
            peak
        });
        let status = child.wait().expect("a child can be waited for");
        let seconds = begin.elapsed().as_secs_f64();
        is_over.store(true, Ordering::Relaxed);
        (status, seconds, megabytes(memory.join().expect("sampling does not panic")))
    })
}

/// The CPU time that the thread `name` of a process has used.
pub(crate) fn thread_cpu_time(id: u32, name: &str) -> Option<Duration> {
    let threads = fs::read_dir(format!("/proc/{id}/task")).ok()?;
    let mut folders = threads.filter_map(|entry| Some(entry.ok()?.path()));
    let folder = folders
        .find(|folder| fs::read_to_string(folder.join("comm")).is_ok_and(|found| found.trim() == name))?;
    let times = fs::read_to_string(folder.join("schedstat")).ok()?;
    times.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

/// Writes everything to the disk, so that earlier measurements do not disturb the next one.
pub(crate) fn sync_disk() {
    rustix::fs::sync();
}

/// A command with no input and no output.
pub(crate) fn command_without_io(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}
