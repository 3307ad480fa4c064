//! Stdout, written without a buffer and watched for the loss of its reader.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tokio::sync::oneshot;

use super::thread::{self, ThreadError};

/// Stdout cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The message of each variant says what it is.
pub enum StdoutError {
    #[error("cannot open stdout: {0}")]
    Open(io::Error),
    #[error("cannot find out whether stdout is /dev/null: {0}")]
    Inspect(io::Error),
    #[error(transparent)]
    Watch(#[from] ThreadError),
}

/// Stdout. Each write should be large and consist of whole lines.
#[derive(Debug)]
pub struct Stdout(File);

impl Stdout {
    /// Opens stdout.
    pub fn open() -> Result<Self, StdoutError> {
        let descriptor = io::stdout().as_fd().try_clone_to_owned().map_err(StdoutError::Open)?;
        Ok(Stdout(File::from(descriptor)))
    }

    /// Whether stdout is the null device, and what is written to it is lost. Rust also opens the null device
    /// if stdout was closed when the program started.
    pub fn is_null_device(&self) -> Result<bool, StdoutError> {
        let metadata = || Ok((self.0.metadata()?, std::fs::metadata("/dev/null")?));
        let (stdout, null) = metadata().map_err(StdoutError::Inspect)?;
        Ok(stdout.file_type().is_char_device() && stdout.rdev() == null.rdev())
    }

    /// Becomes ready when nobody can read stdout any more, even while nothing is written: the reader of a
    /// pipe has gone, or a terminal was closed. A file has no reader, so it never becomes ready.
    pub fn reader_gone(&self) -> Result<impl Future<Output = ()> + use<>, StdoutError> {
        let file = self.0.try_clone().map_err(StdoutError::Open)?;
        let (report, gone) = oneshot::channel();
        thread::spawn("stdout-watch", move || {
            // Without any flags, poll reports only errors and hang-ups.
            wait_for(&file, PollFlags::empty());
            let _ = report.send(());
        })?;
        Ok(async move {
            let _ = gone.await;
        })
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.0.write(bytes) {
                // A process that shares this pipe has made it non-blocking.
                Err(error) if error.kind() == ErrorKind::WouldBlock => wait_for(&self.0, PollFlags::OUT),
                other => return other,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn wait_for(file: &File, flags: PollFlags) {
    while poll(&mut [PollFd::new(file, flags)], None) == Err(Errno::INTR) {}
}
