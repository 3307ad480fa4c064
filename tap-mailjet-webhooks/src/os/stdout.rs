//! Stdout: written without a buffer of its own, and watched for the end of its reader.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tokio::sync::oneshot;

/// Stdout, for large writes of whole lines.
#[derive(Debug)]
pub struct Stdout {
    file: File,
}

impl Stdout {
    /// Opens stdout.
    pub fn open() -> io::Result<Self> {
        Ok(Stdout { file: File::from(io::stdout().as_fd().try_clone_to_owned()?) })
    }

    /// Whether what is written goes nowhere: stdout is the null device, also where it was closed when the program started
    /// (Rust opens the null device in its place).
    pub fn is_discarded(&self) -> io::Result<bool> {
        let (stdout, null) = (self.file.metadata()?, std::fs::metadata("/dev/null")?);
        Ok(stdout.file_type().is_char_device() && stdout.rdev() == null.rdev())
    }

    /// Becomes ready when nobody can read stdout any more, also while nothing is written: the reader of a pipe has gone,
    /// a terminal was closed. A file has no reader that could go.
    pub fn reader_gone(&self) -> io::Result<impl Future<Output = ()> + use<>> {
        let file = self.file.try_clone()?;
        let (gone, told) = oneshot::channel();
        thread::Builder::new().name("stdout-watch".to_owned()).spawn(move || {
            // Asked for nothing, poll reports nothing but errors and hang-ups.
            wait_for(&file, PollFlags::empty());
            let _ = gone.send(());
        })?;
        Ok(async move {
            let _ = told.await;
        })
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.file.write(bytes) {
                // Somebody who shares this pipe has made it non-blocking.
                Err(error) if error.kind() == ErrorKind::WouldBlock => wait_for(&self.file, PollFlags::OUT),
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
