//! Collects rows on the thread that handles messages, so that the disk gets them in large pieces.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::mpsc::SyncSender;

use super::directory::Directory;
use super::error::SinkError;
use super::jsonl_file::JsonlFile;
use super::writer::{Command, FileId};
use crate::file_name::{ENDING, FileName};

/// How much is collected, over all files, before it is passed on: a thousand streams take no more memory than
/// one.
const BATCH_BYTES: usize = 512 << 10;

/// Replaces carriage returns, which can only stand between the parts of a JSON text, by spaces: some readers
/// take them for the end of a line.
fn one_line(json: &str) -> Cow<'_, str> {
    match memchr::memchr(b'\r', json.as_bytes()) {
        Some(_) => Cow::Owned(json.replace('\r', " ")),
        None => Cow::Borrowed(json),
    }
}

/// Collects the rows of each file, and passes them to the writer in their order.
///
/// A writer that has failed takes no more commands. That is not an error here: the writer stops the run, and
/// the run ends with the writer's error.
pub(crate) struct RowBuffer {
    directory: Directory,
    /// What stands between a file's base name and its ending.
    suffix: String,
    files: HashMap<FileName, FileId>,
    /// Indexed by [`FileId`].
    rows: Vec<Vec<u8>>,
    collected_bytes: usize,
    commands: SyncSender<Command>,
}

impl RowBuffer {
    /// A buffer for files in `directory` whose names contain `suffix`.
    pub(crate) fn new(directory: Directory, suffix: String, commands: SyncSender<Command>) -> Self {
        RowBuffer { directory, suffix, files: HashMap::new(), rows: Vec::new(), collected_bytes: 0, commands }
    }

    /// Opens the file with that base name, unless it is open already.
    pub(crate) fn open(&mut self, base: &FileName) -> Result<FileId, SinkError> {
        if let Some(id) = self.files.get(base) {
            return Ok(*id);
        }
        let name = format!("{base}{}{ENDING}", self.suffix);
        let file = JsonlFile::open(&self.directory.path.join(name))?;
        let id = FileId(self.rows.len());
        self.send(Command::Open(file));
        self.rows.push(Vec::new());
        self.files.insert(base.clone(), id);
        Ok(id)
    }

    /// Adds a row: its text, unchanged, as one line.
    pub(crate) fn append(&mut self, file: FileId, row: &str) {
        let rows = &mut self.rows[file.0];
        rows.extend_from_slice(one_line(row).as_bytes());
        rows.push(b'\n');
        self.collected_bytes += row.len() + 1;
        if self.collected_bytes >= BATCH_BYTES {
            self.flush();
        }
    }

    /// Passes on a STATE, after all rows before it.
    pub(crate) fn state(&mut self, value: &str) {
        self.flush();
        self.send(Command::State(one_line(value).into_owned()));
    }

    /// Passes on the collected rows.
    pub(crate) fn flush(&mut self) {
        if self.collected_bytes == 0 {
            return;
        }
        self.collected_bytes = 0;
        for index in 0..self.rows.len() {
            if !self.rows[index].is_empty() {
                let rows = std::mem::take(&mut self.rows[index]);
                self.send(Command::Append(FileId(index), rows));
            }
        }
    }

    fn send(&self, command: Command) {
        let _ = self.commands.send(command);
    }
}
