//! The thread that writes, fsyncs, and prints STATEs.

use std::io::Write;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tracing::debug;

use super::directory::Directory;
use super::error::SinkError;
use super::jsonl_file::JsonlFile;

/// An open file. Files are numbered in the order of [`Command::Open`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileId(pub(super) usize);

/// What the row buffer asks of the writer, which carries commands out in their order.
#[derive(Debug)]
pub(crate) enum Command {
    /// Take over an open file.
    Open(JsonlFile),
    /// Append whole lines to a file.
    Append(FileId, Vec<u8>),
    /// Print this line once everything before it is on disk.
    State(String),
}

/// Writes rows. Prints each STATE, or the newest of several, once everything before it is on disk.
pub(crate) struct Writer<W> {
    directory: Directory,
    /// How long a STATE may wait for others to share its fsync.
    state_interval: Duration,
    output: W,
    /// Indexed by [`FileId`].
    files: Vec<JsonlFile>,
    /// Whether the name of a new file may not be on disk yet.
    has_new_files: bool,
    /// The newest STATE that has not been printed.
    state: Option<String>,
    last_sync: Option<Instant>,
}

impl<W: Write> Writer<W> {
    /// A writer of the files in `directory`, which prints STATEs to `output`.
    pub(crate) fn new(directory: Directory, state_interval: Duration, output: W) -> Self {
        Writer {
            directory,
            state_interval,
            output,
            files: Vec::new(),
            has_new_files: false,
            state: None,
            last_sync: None,
        }
    }

    /// Carries out commands until their sender is dropped. Then everything is written, synced and printed.
    pub(crate) fn run(&mut self, commands: &Receiver<Command>) -> Result<(), SinkError> {
        loop {
            let command = match self.state_delay() {
                None => commands.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(Duration::ZERO) => Err(RecvTimeoutError::Timeout),
                Some(delay) => commands.recv_timeout(delay),
            };
            match command {
                Ok(Command::Open(file)) => {
                    self.files.push(file);
                    self.has_new_files = true;
                }
                Ok(Command::Append(file, rows)) => self.has_new_files |= self.files[file.0].append(&rows)?,
                Ok(Command::State(value)) => self.state = Some(value),
                Err(RecvTimeoutError::Timeout) => self.sync_and_print_state()?,
                Err(RecvTimeoutError::Disconnected) => return self.sync_and_print_state(),
            }
        }
    }

    /// Returns how much longer the waiting STATE may wait, or `None` if there is none. The interval begins
    /// with the last sync, so a STATE after a quiet time is printed at once.
    fn state_delay(&self) -> Option<Duration> {
        self.state.as_ref()?;
        Some(self.last_sync.map_or(Duration::ZERO, |last| self.state_interval.saturating_sub(last.elapsed())))
    }

    fn sync_and_print_state(&mut self) -> Result<(), SinkError> {
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
                .map_err(SinkError::Stdout)?;
            debug!("STATE {}", state.trim_end());
        }
        Ok(())
    }
}
