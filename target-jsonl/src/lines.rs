//! Cuts input into lines.

/// The longest line that is taken. Mailjet sends bodies of up to 20 MB, and a record is not much longer than
/// its event: input with longer lines does not come from a tap.
pub const MAX_LINE_BYTES: usize = 256 << 20;

/// Memory that is kept for partial lines between lines.
const KEPT_BYTES: usize = 256 << 10;

/// A line is longer than [`MAX_LINE_BYTES`].
#[derive(Debug, PartialEq, Eq)]
pub struct LineTooLong {
    /// The line, counted from 1.
    pub line: u64,
}

/// Cuts chunks of input into lines.
#[derive(Default)]
pub struct Lines {
    /// The beginning of a line whose end has not arrived.
    partial: Vec<u8>,
    /// Lines that are complete.
    count: u64,
}

impl Lines {
    /// Calls `handle` for each line that `chunk` completes, with the line's number, counted from 1, and its
    /// bytes without the line ending.
    pub fn feed<E: From<LineTooLong>>(
        &mut self,
        mut chunk: &[u8],
        mut handle: impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some(end) = memchr::memchr(b'\n', chunk) {
            let (line, rest) = (&chunk[..end], &chunk[end + 1..]);
            if self.partial.is_empty() {
                self.count += 1;
                handle(self.count, line)?;
            } else {
                self.extend_partial(line)?;
                self.count += 1;
                handle(self.count, &self.partial)?;
                self.partial.clear();
                // One long line must not occupy its memory until the end.
                self.partial.shrink_to(KEPT_BYTES);
            }
            chunk = rest;
        }
        Ok(self.extend_partial(chunk)?)
    }

    /// Returns how many lines were complete.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Returns what is left at the end of the input: a line without a line ending, or nothing.
    #[must_use]
    pub fn rest(&self) -> &[u8] {
        &self.partial
    }

    fn extend_partial(&mut self, bytes: &[u8]) -> Result<(), LineTooLong> {
        if self.partial.len() + bytes.len() > MAX_LINE_BYTES {
            return Err(LineTooLong { line: self.count + 1 });
        }
        self.partial.extend_from_slice(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_wherever_the_input_is_cut() {
        let input = b"one\n\ntwo\r\nthree\nfour";
        for size in 1..=input.len() {
            let mut lines = Lines::default();
            let mut seen = Vec::new();
            for chunk in input.chunks(size) {
                lines
                    .feed(chunk, |number, line| {
                        seen.push((number, String::from_utf8_lossy(line).into_owned()));
                        Ok::<_, LineTooLong>(())
                    })
                    .expect("no line is too long");
            }
            let expected =
                [(1, "one"), (2, ""), (3, "two\r"), (4, "three")].map(|(n, line)| (n, line.to_owned()));
            assert_eq!(seen, expected, "in chunks of {size}");
            assert_eq!((lines.rest(), lines.count()), (&b"four"[..], 4));
        }
    }

    #[test]
    fn a_line_that_does_not_end_is_refused() {
        let mut lines = Lines::default();
        let chunk = vec![b'x'; 16 << 20];
        let mut outcome = Ok(());
        for _ in 0..=MAX_LINE_BYTES / chunk.len() {
            outcome = lines.feed(&chunk, |_, _| Ok::<_, LineTooLong>(()));
        }
        assert_eq!(outcome, Err(LineTooLong { line: 1 }));
    }
}
