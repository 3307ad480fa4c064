//! Messages on their way to stdout.

use std::io::{self, Write};

const FULL_BYTES: usize = 1 << 20;

/// Messages that are not written yet, and the writer that takes them.
#[derive(Debug)]
pub(super) struct OutputBuffer<W> {
    writer: W,
    pub(super) messages: Vec<u8>,
    /// The number of events that the messages are of.
    pub(super) events: u64,
}

impl<W: Write> OutputBuffer<W> {
    pub(super) fn new(writer: W) -> Self {
        OutputBuffer { writer, messages: Vec::new(), events: 0 }
    }

    /// Writes all messages. Returns the number of events that the writer has taken.
    pub(super) fn flush(&mut self) -> io::Result<u64> {
        if !self.messages.is_empty() {
            self.writer.write_all(&self.messages)?;
            self.writer.flush()?;
            self.messages.clear();
            // A huge event takes memory only until it is written.
            self.messages.shrink_to(2 * FULL_BYTES);
        }
        Ok(std::mem::take(&mut self.events))
    }

    pub(super) fn is_full(&self) -> bool {
        self.messages.len() >= FULL_BYTES
    }
}
