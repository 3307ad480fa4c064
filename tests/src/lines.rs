//! What a process writes, collected line by line in the background.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use crate::wait::DEADLINE;

/// The lines of a stream: those that have come, and those that will.
#[derive(Debug, Clone, Default)]
pub struct Lines {
    shared: Arc<(Mutex<Collected>, Condvar)>,
}

#[derive(Debug, Default)]
struct Collected {
    lines: Vec<String>,
    /// What stood after the last line's end when the stream ended.
    torn: String,
    ended: bool,
}

impl Lines {
    /// Collects the lines of `source`.
    pub fn of(source: impl Read + Send + 'static) -> Self {
        let lines = Lines::default();
        let collector = lines.clone();
        thread::spawn(move || collector.collect(BufReader::new(source)));
        lines
    }

    fn collect(&self, mut source: impl BufRead) {
        loop {
            let mut line = Vec::new();
            let read = source.read_until(b'\n', &mut line);
            let mut collected = self.lock();
            let text = String::from_utf8_lossy(&line).into_owned();
            match text.strip_suffix('\n') {
                Some(line) => collected.lines.push(line.to_owned()),
                None => collected.torn = text,
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
    pub fn to_end(&self) -> Vec<String> {
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

    /// What stood after the last complete line when the stream ended.
    #[must_use]
    pub fn torn(&self) -> String {
        self.lock().torn.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Collected> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of the output, for the message of a failed test.
fn tail(lines: &[String]) -> String {
    lines[lines.len().saturating_sub(20)..].join("\n")
}
