//! One JSON Lines file that is appended to.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde_json::value::RawValue;
use tracing::warn;

use super::error::SinkError;
use super::lock_file::LockFile;
use super::own_file::{self, OpenError};
use crate::MAX_LINE_BYTES;

/// A file that only this process appends to, and whose last line is whole.
#[derive(Debug)]
pub(crate) struct JsonlFile {
    path: PathBuf,
    file: File,
    /// Held for as long as this process appends to the file.
    lock: Option<LockFile>,
    /// Whether something was written that may not be on disk yet.
    is_dirty: bool,
}

impl JsonlFile {
    /// Opens or creates the file, locks it, and cuts off the half line that a crash may have left at its end.
    pub(crate) fn open(path: &Path) -> Result<Self, SinkError> {
        let advice = "check \"destination_path\" and the permissions of the directory and file";
        let lock = LockFile::take(path)?;
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        let file = match own_file::open(&options, path) {
            Ok(file) => file,
            Err(OpenError::NotOwn(what)) => {
                return Err(SinkError::NotOwnFile { path: path.to_owned(), what });
            }
            Err(OpenError::Io(error)) => return Err(SinkError::storage(path, "opened", advice)(error)),
        };
        let mut file = JsonlFile { path: path.to_owned(), file, lock, is_dirty: false };
        file.complete_last_line()?;
        Ok(file)
    }

    /// Completes a last line that only lacks its line ending, and cuts off half a line.
    fn complete_last_line(&mut self) -> Result<(), SinkError> {
        let JsonlFile { path, file, .. } = self;
        let advice = "its last line must be checked before appending; check the file's permissions";
        let unreadable = || SinkError::storage(path, "read", advice);
        let size = file.metadata().map_err(unreadable())?.len();
        let Some(unfinished) = unfinished_bytes(file, size).map_err(unreadable())? else {
            return Err(SinkError::NotJsonLines(path.clone()));
        };
        if unfinished == 0 {
            return Ok(());
        }
        let mut tail = vec![0; usize::try_from(unfinished).expect("a line fits into memory")];
        file.read_exact_at(&mut tail, size - unfinished).map_err(unreadable())?;
        let whole = whole_rows(&tail) as u64;
        let torn = unfinished - whole;
        if torn > 0 {
            warn!(
                "{} ends in the middle of a line, left by a crash; its last {torn} bytes are cut off, and \
                 the tap sends them again",
                path.display()
            );
            let cut = file.set_len(size - torn);
            cut.map_err(SinkError::storage(path, "cut back to its last whole line", "check the disk"))?;
        }
        if whole > 0 {
            warn!("the last line of {} lacked its line ending, which has been added", path.display());
            file.write_all(b"\n").map_err(SinkError::storage(path, "completed", "check the disk"))?;
        }
        file.sync_all().map_err(SinkError::sync(path))
    }

    /// Opens the file again if another program has renamed or deleted it: rows that go into a file without
    /// a name are lost. Returns whether it did.
    fn follow_name(&mut self) -> Result<bool, SinkError> {
        let advice = "check the file's permissions";
        let own = self.file.metadata().map_err(SinkError::storage(&self.path, "inspected", advice))?;
        let is_same = |found: Metadata| (found.dev(), found.ino()) == (own.dev(), own.ino());
        if fs::symlink_metadata(&self.path).is_ok_and(is_same) {
            return Ok(false);
        }
        self.sync()?;
        warn!("{} was renamed or replaced; from here on, rows go into a new file", self.path.display());
        // The lock is that of the name.
        self.lock = None;
        *self = JsonlFile::open(&self.path.clone())?;
        Ok(true)
    }

    /// Appends whole lines. Returns whether a new file was opened for that.
    pub(crate) fn append(&mut self, lines: &[u8]) -> Result<bool, SinkError> {
        let is_new = self.follow_name()?;
        self.is_dirty = true;
        let advice = "no STATE was printed for the missing records; free some space or check the disk, then \
                      run the tap again";
        self.file.write_all(lines).map_err(SinkError::storage(&self.path, "written", advice))?;
        Ok(is_new)
    }

    /// Makes sure that everything written is on disk.
    pub(crate) fn sync(&mut self) -> Result<(), SinkError> {
        if !self.is_dirty {
            return Ok(());
        }
        self.file.sync_data().map_err(SinkError::sync(&self.path))?;
        if self.file.metadata().is_ok_and(|file| file.is_file() && file.nlink() == 0) {
            return Err(SinkError::Deleted(self.path.clone()));
        }
        self.is_dirty = false;
        Ok(())
    }
}

/// Returns how many bytes at the start of `tail` are whole rows: JSON objects, one after the other. Old
/// text files have only carriage returns between them.
fn whole_rows(tail: &[u8]) -> usize {
    let mut rows = serde_json::Deserializer::from_slice(tail).into_iter::<&RawValue>();
    let mut whole = 0;
    while let Some(Ok(row)) = rows.next() {
        if !row.get().starts_with('{') {
            break;
        }
        whole = rows.byte_offset();
    }
    whole
}

/// Counts the bytes after the last line ending. Returns `None` if there are more than the longest line has.
fn unfinished_bytes(file: &File, size: u64) -> io::Result<Option<u64>> {
    const BLOCK: u64 = 64 << 10;
    let mut block = Vec::new();
    let mut start = size;
    while start > 0 && size - start <= MAX_LINE_BYTES as u64 {
        let end = start;
        start = end.saturating_sub(BLOCK);
        block.resize(usize::try_from(end - start).expect("a block fits into memory"), 0);
        file.read_exact_at(&mut block, start)?;
        if let Some(at) = memchr::memrchr(b'\n', &block) {
            return Ok(Some(size - (start + at as u64 + 1)));
        }
    }
    Ok((start == 0).then_some(size))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_a_torn_last_line_is_cut_off() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("data.jsonl");
        let long = "x".repeat(200_000);
        let cases = [
            (String::new(), ""),
            ("{\"a\":1}\n".to_owned(), "{\"a\":1}\n"),
            ("{\"a\":1}\n{\"a\":".to_owned(), "{\"a\":1}\n"),
            ("{\"a\":1}\n\n{".to_owned(), "{\"a\":1}\n\n"),
            ("{\"a\":".to_owned(), ""),
            ("{\"a\":1}".to_owned(), "{\"a\":1}\n"),
            ("{\"a\":1}\n{\"a\":2}".to_owned(), "{\"a\":1}\n{\"a\":2}\n"),
            ("{\"a\":1}\r{\"a\":2}\r".to_owned(), "{\"a\":1}\r{\"a\":2}\n"),
            ("{\"a\":1}\n\0\0\0\0".to_owned(), "{\"a\":1}\n"),
            ("{\"a\":1}\n{\"a\":2}\0\0".to_owned(), "{\"a\":1}\n{\"a\":2}\n"),
            ("{\"a\":1}\n12".to_owned(), "{\"a\":1}\n"),
            (format!("{{\"a\":1}}\n{{\"a\":\"{long}"), "{\"a\":1}\n"),
            (format!("{{\"a\":\"{long}"), ""),
        ];
        for (before, kept) in cases {
            fs::write(&path, &before).expect("a file");
            let mut file = JsonlFile::open(&path).expect("opened");
            file.append(b"{\"b\":2}\n").expect("appended");
            file.sync().expect("synced");
            let after = fs::read_to_string(&path).expect("the file");
            assert_eq!(after, format!("{kept}{{\"b\":2}}\n"), "before: {:.60}", before);
        }
    }

    #[test]
    fn a_file_without_lines_is_not_changed() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("data.jsonl");
        let size = MAX_LINE_BYTES as u64 + (1 << 20);
        // A sparse file takes no space on the disk.
        File::create(&path).and_then(|file| file.set_len(size)).expect("a file");
        assert!(matches!(JsonlFile::open(&path), Err(SinkError::NotJsonLines(_))));
        assert_eq!(fs::metadata(&path).expect("the file").len(), size);
    }

    #[test]
    fn a_file_has_one_writer() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("data.jsonl");
        let first = JsonlFile::open(&path).expect("opened");
        assert!(matches!(JsonlFile::open(&path), Err(SinkError::Locked(_))));
        drop(first);
        // Whoever may read the file can lock it, but that locks nobody out.
        let reader = File::open(&path).expect("a file");
        reader.lock().expect("a lock");
        drop(JsonlFile::open(&path).expect("opened again"));
        let left = fs::read_dir(directory.path()).expect("a directory").count();
        assert_eq!(left, 1, "the lock's file is gone");
    }

    #[test]
    fn links_and_what_is_no_file_are_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        fs::write(path("other"), "half a line").expect("a file");
        std::os::unix::fs::symlink(path("other"), path("symbolic.jsonl")).expect("a link");
        std::os::unix::fs::symlink("/dev/stdout", path("stdout.jsonl")).expect("a link");
        std::os::unix::fs::symlink(path("nothing"), path("dangling.jsonl")).expect("a link");
        fs::hard_link(path("other"), path("hard.jsonl")).expect("a link");
        fs::create_dir(path("directory.jsonl")).expect("a directory");
        rustix::fs::mkfifoat(rustix::fs::CWD, path("fifo.jsonl"), 0o600.into()).expect("a FIFO");
        for (name, expected) in [
            ("symbolic", "a symbolic link"),
            ("stdout", "a symbolic link"),
            ("dangling", "a symbolic link"),
            ("hard", "a file with another name"),
            ("fifo", "a FIFO, a socket or a device"),
        ] {
            let error = JsonlFile::open(&path(&format!("{name}.jsonl"))).expect_err(name).to_string();
            assert!(error.contains(expected), "{name}: {error}");
        }
        JsonlFile::open(&path("directory.jsonl")).expect_err("a directory");
        assert_eq!(fs::read_to_string(path("other")).expect("a file"), "half a line");
    }
}
