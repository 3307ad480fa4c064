//! Cuts input into lines.

use crate::MAX_LINE_BYTES;
use crate::error::{LineProblem, TargetError};

/// How much memory of [`Lines::rest`] is kept after a longer line.
const KEPT_BYTES: usize = 256 << 10;

/// Cuts chunks of input into lines.
#[derive(Default)]
pub struct Lines {
    /// The beginning of a line whose end has not arrived. At the end of the input, this is the last line if
    /// it has no line ending.
    pub rest: Vec<u8>,
    /// Lines that are complete.
    pub count: u64,
}

impl Lines {
    /// Calls `handle` for each line that `chunk` completes, with the line's number, counted from 1, and its
    /// bytes without the line ending.
    pub fn feed(
        &mut self,
        mut chunk: &[u8],
        mut handle: impl FnMut(u64, &[u8]) -> Result<(), TargetError>,
    ) -> Result<(), TargetError> {
        while let Some(end) = memchr::memchr(b'\n', chunk) {
            let line = &chunk[..end];
            if self.rest.is_empty() {
                self.count += 1;
                handle(self.count, line)?;
            } else {
                self.extend_rest(line)?;
                self.count += 1;
                handle(self.count, &self.rest)?;
                self.rest.clear();
                // One long line must not occupy its memory until the end.
                self.rest.shrink_to(KEPT_BYTES);
            }
            chunk = &chunk[end + 1..];
        }
        self.extend_rest(chunk)
    }

    fn extend_rest(&mut self, bytes: &[u8]) -> Result<(), TargetError> {
        if self.rest.len() + bytes.len() > MAX_LINE_BYTES {
            return Err(TargetError::Line { line: self.count + 1, problem: LineProblem::TooLong });
        }
        self.rest.extend_from_slice(bytes);
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
                        Ok(())
                    })
                    .expect("no line is too long");
            }
            let expected =
                [(1, "one"), (2, ""), (3, "two\r"), (4, "three")].map(|(n, line)| (n, line.to_owned()));
            assert_eq!(seen, expected, "in chunks of {size}");
            assert_eq!((lines.rest.as_slice(), lines.count), (&b"four"[..], 4));
        }
    }

    #[test]
    fn a_line_that_does_not_end_is_refused() {
        let mut lines = Lines::default();
        let chunk = vec![b'x'; 16 << 20];
        let mut outcome = Ok(());
        for _ in 0..=MAX_LINE_BYTES / chunk.len() {
            outcome = lines.feed(&chunk, |_, _| Ok(()));
        }
        assert!(matches!(outcome, Err(TargetError::Line { line: 1, problem: LineProblem::TooLong })));
    }
}
