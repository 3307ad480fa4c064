//! One JSON Lines file that is appended to.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use tracing::warn;

use super::error::SinkError;
use crate::MAX_LINE_BYTES;

/// A file that only this process appends to, and whose last line is whole.
#[derive(Debug)]
pub(crate) struct JsonlFile {
    path: PathBuf,
    file: File,
    /// Whether something was written that may not be on disk yet.
    is_dirty: bool,
}

impl JsonlFile {
    /// Opens or creates the file, locks it, and cuts off the half line that a crash may have left at its end.
    pub(crate) fn open(path: &Path) -> Result<Self, SinkError> {
        let advice = "check \"destination_path\" and the permissions of the directory and file";
        let file = OpenOptions::new().read(true).append(true).create(true).open(path);
        let file = file.map_err(SinkError::storage(path, "opened", advice))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(SinkError::Locked(path.to_owned())),
            // Some network file systems have no locks. That is no reason not to write there.
            Err(TryLockError::Error(error)) => {
                warn!(
                    "{} cannot be locked ({error}); make sure that no other process writes to it",
                    path.display()
                );
            }
        }
        let advice = "its last line must be checked before appending; check the file's permissions";
        let unreadable = || SinkError::storage(path, "read", advice);
        let size = file.metadata().map_err(unreadable())?.len();
        match torn_bytes(&file, size).map_err(unreadable())? {
            Some(0) => {}
            Some(torn) => {
                warn!(
                    "{} ends in the middle of a line, left by a crash; its last {torn} bytes are cut off, \
                     and the tap sends them again",
                    path.display()
                );
                let cut = file.set_len(size - torn).and_then(|()| file.sync_all());
                cut.map_err(SinkError::storage(path, "cut back to its last whole line", "check the disk"))?;
            }
            None => return Err(SinkError::NotJsonLines(path.to_owned())),
        }
        Ok(JsonlFile { path: path.to_owned(), file, is_dirty: false })
    }

    /// Appends whole lines.
    pub(crate) fn append(&mut self, lines: &[u8]) -> Result<(), SinkError> {
        self.is_dirty = true;
        let advice = "no STATE was printed for the missing records; free some space or check the disk, then \
                      run the tap again";
        self.file.write_all(lines).map_err(SinkError::storage(&self.path, "written", advice))
    }

    /// Makes sure that everything written is on disk.
    pub(crate) fn sync(&mut self) -> Result<(), SinkError> {
        if !self.is_dirty {
            return Ok(());
        }
        self.file.sync_data().map_err(SinkError::sync(&self.path))?;
        self.is_dirty = false;
        Ok(())
    }
}

/// Counts the bytes after the last line ending. Returns `None` if there are more than the longest line has.
fn torn_bytes(file: &File, size: u64) -> io::Result<Option<u64>> {
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
        JsonlFile::open(&path).expect("opened again");
    }
}
