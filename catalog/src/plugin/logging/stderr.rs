//! Stderr, written without a buffer and without the lock of [`std::io::stderr`], which a thread that hangs
//! in a write would hold.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, poll};

/// Stderr. A write may block, so only the log's own thread should write.
#[derive(Debug)]
pub struct Stderr(File);

impl Stderr {
    /// Opens stderr.
    pub fn open() -> io::Result<Self> {
        Ok(Stderr(File::from(io::stderr().as_fd().try_clone_to_owned()?)))
    }
}

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.0.write(bytes) {
                // A process that shares this pipe or terminal has made it non-blocking.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    // If a signal interrupts this, the next write finds out what is left to wait for.
                    let _ = poll(&mut [PollFd::new(&self.0, PollFlags::OUT)], None);
                }
                other => return other,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
