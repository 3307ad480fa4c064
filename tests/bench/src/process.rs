//! A process whose time and memory are measured.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use end_to_end::program::peak_memory;

use crate::figures::megabytes;

/// What a process took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken {
    /// From before its start to its end.
    pub seconds: f64,
    /// The most memory that it had at any time, as Linux tells it: millions of bytes.
    pub peak: f64,
}

/// Runs a command that has to succeed. What it says to stderr goes to `log`.
pub(crate) fn run(command: &mut Command, log: &Path) -> Taken {
    let stderr = File::options().create(true).append(true).open(log).expect("a log can be written");
    command.stderr(stderr);
    let begin = Instant::now();
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    let (status, seconds, peak) = watched(&mut child, begin);
    assert!(status.success(), "{command:?} ends with {status}; see {}", log.display());
    Taken { seconds, peak }
}

/// Waits for a process, and looks at its memory until it ends.
fn watched(child: &mut Child, begin: Instant) -> (std::process::ExitStatus, f64, f64) {
    let (id, is_over) = (child.id(), AtomicBool::new(false));
    thread::scope(|scope| {
        let memory = scope.spawn(|| {
            let mut peak = 0;
            // The peak only rises, so that the last look before the end is enough; a zombie has none.
            while !is_over.load(Ordering::Relaxed) {
                peak = peak_memory(id).unwrap_or(0).max(peak);
                thread::sleep(Duration::from_millis(2));
            }
            peak
        });
        let status = child.wait().expect("a child can be waited for");
        let seconds = begin.elapsed().as_secs_f64();
        is_over.store(true, Ordering::Relaxed);
        (status, seconds, megabytes(memory.join().expect("it only looks")))
    })
}

/// Processor time that the thread `name` of a process has had.
pub(crate) fn thread_time(id: u32, name: &str) -> Option<Duration> {
    let threads = fs::read_dir(format!("/proc/{id}/task")).ok()?;
    let mut folders = threads.filter_map(|entry| Some(entry.ok()?.path()));
    let folder = folders
        .find(|folder| fs::read_to_string(folder.join("comm")).is_ok_and(|found| found.trim() == name))?;
    let times = fs::read_to_string(folder.join("schedstat")).ok()?;
    times.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

/// Has what other measurements left written to the disk, so that it does not disturb the next one.
pub(crate) fn settle() {
    rustix::fs::sync();
}

/// A command that reads nothing.
pub(crate) fn quiet(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}
