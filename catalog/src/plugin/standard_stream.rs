//! Stdin, stdout and stderr, without a buffer and without the locks of [`std::io`], which a thread that
//! hangs in a write would hold.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};

/// One of the three. A call blocks until something can be read or written, also where another process that
/// shares the pipe or terminal has made it non-blocking.
#[derive(Debug)]
pub struct StandardStream(File);

impl StandardStream {
    /// Opens stdin.
    pub fn stdin() -> io::Result<Self> {
        Ok(Self::from(io::stdin().as_fd().try_clone_to_owned()?))
    }

    /// Opens stdout.
    pub fn stdout() -> io::Result<Self> {
        Ok(Self::from(io::stdout().as_fd().try_clone_to_owned()?))
    }

    /// Opens stderr.
    pub fn stderr() -> io::Result<Self> {
        Ok(Self::from(io::stderr().as_fd().try_clone_to_owned()?))
    }

    /// Repeats a call for as long as the stream is not ready.
    fn when_ready<T>(
        &mut self,
        flags: PollFlags,
        mut call: impl FnMut(&mut File) -> io::Result<T>,
    ) -> io::Result<T> {
        loop {
            match call(&mut self.0) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    // If a signal interrupts this, the next call finds out whether there is more to wait for.
                    let _ = poll(&mut [PollFd::new(&self.0, flags)], None);
                }
                other => return other,
            }
        }
    }
}

impl From<OwnedFd> for StandardStream {
    fn from(descriptor: OwnedFd) -> Self {
        StandardStream(File::from(descriptor))
    }
}

impl Read for StandardStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.when_ready(PollFlags::IN, |file| file.read(buffer))
    }
}

impl Write for StandardStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.when_ready(PollFlags::OUT, |file| file.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
