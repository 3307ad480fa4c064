//! Rows on their way to the disk.

use std::collections::HashMap;
use std::sync::mpsc::SyncSender;

use super::directory::Directory;
use super::file::JsonlFile;
use super::{Command, FileId};
use crate::error::TargetError;
use crate::file_name::{ENDING, FileName};

/// How much is collected before it is handed on, over all files: a thousand streams take no more memory than one.
const BATCH: usize = 512 << 10;

/// Collects rows for each file, and hands them on in the order in which they came.
///
/// A keeper that has failed no longer takes anything. Nothing here minds: the keeper has asked the run to stop, and its
/// error is what the run ends with.
pub struct Outbox {
    directory: Directory,
    /// What stands between a file's base name and its ending.
    suffix: String,
    files: HashMap<FileName, FileId>,
    /// By [`FileId`].
    rows: Vec<Vec<u8>>,
    collected: usize,
    commands: SyncSender<Command>,
}

impl Outbox {
    /// An outbox for files in `directory`, with `suffix` in each of their names.
    #[must_use]
    pub fn new(directory: Directory, suffix: String, commands: SyncSender<Command>) -> Self {
        Outbox { directory, suffix, files: HashMap::new(), rows: Vec::new(), collected: 0, commands }
    }

    /// Opens the file of that base name, unless it is open.
    pub fn open(&mut self, base: &FileName) -> Result<FileId, TargetError> {
        if let Some(id) = self.files.get(base) {
            return Ok(*id);
        }
        let name = format!("{base}{}{ENDING}", self.suffix);
        let file = JsonlFile::open(&self.directory.path().join(name))?;
        let id = FileId(self.rows.len());
        self.send(Command::Open(file));
        self.rows.push(Vec::new());
        self.files.insert(base.clone(), id);
        Ok(id)
    }

    /// Adds a row, which is copied as it stands.
    pub fn append(&mut self, file: FileId, row: &str) {
        let rows = &mut self.rows[file.0];
        rows.extend_from_slice(row.as_bytes());
        rows.push(b'\n');
        self.collected += row.len() + 1;
        if self.collected >= BATCH {
            self.flush();
        }
    }

    /// Adds a STATE: everything before it goes first.
    pub fn state(&mut self, value: &str) {
        self.flush();
        self.send(Command::State(value.to_owned()));
    }

    /// Hands on what was collected.
    pub fn flush(&mut self) {
        if self.collected == 0 {
            return;
        }
        self.collected = 0;
        for at in 0..self.rows.len() {
            if !self.rows[at].is_empty() {
                let rows = std::mem::take(&mut self.rows[at]);
                self.send(Command::Append(FileId(at), rows));
            }
        }
    }

    fn send(&self, command: Command) {
        let _ = self.commands.send(command);
    }
}
