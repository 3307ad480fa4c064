//! The output of a process, collected line by line in the background.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use crate::wait::DEADLINE;

/// The lines of a stream so far, and the means to wait for more.
#[derive(Debug, Clone, Default)]
pub struct OutputLines {
    shared: Arc<(Mutex<Collected>, Condvar)>,
}

#[derive(Debug, Default)]
struct Collected {
    lines: Vec<String>,
    /// What followed the last line break when the stream ended.
    partial_line: String,
    ended: bool,
}

impl OutputLines {
    /// Starts to collect the lines of `source`.
    pub fn collect(source: impl Read + Send + 'static) -> Self {
        let lines = OutputLines::default();
        let collector = lines.clone();
        thread::spawn(move || collector.read(BufReader::new(source)));
        lines
    }

    fn read(&self, mut source: impl BufRead) {
        loop {
            let mut line = Vec::new();
            let read = source.read_until(b'\n', &mut line);
            let mut collected = self.lock();
            let text = String::from_utf8_lossy(&line).into_owned();
            match text.strip_suffix('\n') {
                Some(line) => collected.lines.push(line.to_owned()),
                None => collected.partial_line = text,
            }
            collected.ended = !matches!(read, Ok(1..));
            self.shared.1.notify_all();
            if collected.ended {
                return;
            }
        }
    }

    /// Waits until `look` finds something in the lines so far.
    pub fn wait<T>(&self, what: &str, mut look: impl FnMut(&[String]) -> Option<T>) -> T {
        let end = Instant::now() + DEADLINE;
        let mut collected = self.lock();
        loop {
            if let Some(found) = look(&collected.lines) {
                return found;
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!collected.ended, "the output ended without {what}:\n{}", tail(&collected.lines));
            assert!(!left.is_zero(), "waited {DEADLINE:?} in vain for {what}:\n{}", tail(&collected.lines));
            collected = self.shared.1.wait_timeout(collected, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for a line that contains `pattern`, and returns it.
    #[must_use]
    pub fn wait_for(&self, pattern: &str) -> String {
        let mut seen = 0;
        self.wait(&format!("a line with \"{pattern}\""), |lines| {
            let found = lines[seen..].iter().find(|line| line.contains(pattern)).cloned();
            seen = lines.len();
            found
        })
    }

    /// Waits for the end of the stream, and returns all its lines.
    #[must_use]
    pub fn wait_for_end(&self) -> Vec<String> {
        let end = Instant::now() + DEADLINE;
        let mut collected = self.lock();
        while !collected.ended {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the output does not end:\n{}", tail(&collected.lines));
            collected = self.shared.1.wait_timeout(collected, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        collected.lines.clone()
    }

    /// The lines so far.
    #[must_use]
    pub fn so_far(&self) -> Vec<String> {
        self.lock().lines.clone()
    }

    /// What followed the last line break when the stream ended.
    #[must_use]
    pub fn partial_line(&self) -> String {
        self.lock().partial_line.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Collected> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The last lines, for the message of a failed test.
fn tail(lines: &[String]) -> String {
    lines[lines.len().saturating_sub(20)..].join("\n")
}
