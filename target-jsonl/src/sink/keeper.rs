//! The thread on the side of the disk: writes, syncs, and lets STATEs out.

use std::io::Write;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tracing::debug;

use super::Command;
use super::directory::Directory;
use super::file::JsonlFile;
use crate::error::TargetError;

/// Writes rows, and prints each STATE, or the newest of several, once everything before it is on disk.
pub struct Keeper<W> {
    directory: Directory,
    /// How long a STATE may wait for others to share its sync.
    interval: Duration,
    output: W,
    files: Vec<JsonlFile>,
    /// Whether a file's name may not be on disk.
    has_new_files: bool,
    /// The newest STATE that is not printed.
    state: Option<String>,
    last_sync: Option<Instant>,
}

impl<W: Write> Keeper<W> {
    /// A keeper of the files in `directory`, which prints to `output`.
    pub fn new(directory: Directory, interval: Duration, output: W) -> Self {
        Keeper {
            directory,
            interval,
            output,
            files: Vec::new(),
            has_new_files: false,
            state: None,
            last_sync: None,
        }
    }

    /// Does what it is told until there is nobody left to tell it anything, and leaves nothing unwritten, unsynced or
    /// unprinted.
    pub fn keep(&mut self, commands: &Receiver<Command>) -> Result<(), TargetError> {
        loop {
            let command = match self.time_to_wait() {
                None => commands.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(Duration::ZERO) => Err(RecvTimeoutError::Timeout),
                Some(time) => commands.recv_timeout(time),
            };
            match command {
                Ok(Command::Open(file)) => {
                    self.files.push(file);
                    self.has_new_files = true;
                }
                Ok(Command::Append(file, rows)) => self.files[file.0].append(&rows)?,
                Ok(Command::State(value)) => self.state = Some(value),
                Err(RecvTimeoutError::Timeout) => self.let_state_out()?,
                Err(RecvTimeoutError::Disconnected) => return self.let_state_out(),
            }
        }
    }

    /// How long the STATE that waits may still wait; `None` if there is none. The time runs from the last sync, so that
    /// a STATE after a quiet time comes out at once.
    fn time_to_wait(&self) -> Option<Duration> {
        self.state.as_ref()?;
        Some(self.last_sync.map_or(Duration::ZERO, |last| self.interval.saturating_sub(last.elapsed())))
    }

    fn let_state_out(&mut self) -> Result<(), TargetError> {
        for file in &mut self.files {
            file.sync()?;
        }
        if std::mem::take(&mut self.has_new_files) {
            self.directory.sync()?;
        }
        self.last_sync = Some(Instant::now());
        if let Some(mut state) = self.state.take() {
            state.push('\n');
            self.output
                .write_all(state.as_bytes())
                .and_then(|()| self.output.flush())
                .map_err(TargetError::Stdout)?;
            debug!("STATE {}", state.trim_end());
        }
        Ok(())
    }
}
