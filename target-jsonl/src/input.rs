//! Input: read by a thread of its own, cut into lines, and ended by whoever asks for it.
//!
//! A read blocks for as long as the tap is silent. Were it made by the thread that handles messages, a signal or a
//! failing disk would have to wait for the tap's next line.

use std::io::{self, ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread;

use crate::error::{InputProblem, TargetError};

/// The longest line that is taken. Mailjet sends bodies of up to 20 MB, and a record is not much longer than its event;
/// past this limit, it is not a tap that writes to us.
pub const LONGEST_LINE: usize = 256 << 20;

/// The most that is read at once.
const CHUNK: usize = 256 << 10;

/// Chunks that wait for their turn. With [`CHUNK`], this bounds the memory that input takes while the disk is slow.
const CHUNKS_WAITING: usize = 8;

/// What the other threads have to say to the one that handles messages.
enum Event {
    Chunk(Vec<u8>),
    End,
    Failed(io::Error),
    /// Nothing; it only ends the waiting, so that the flag is looked at.
    Wake,
}

/// Input as it arrives.
pub struct Events {
    events: Receiver<Event>,
    flag: Arc<AtomicBool>,
}

/// What comes next.
pub enum Next {
    /// Some bytes.
    Chunk(Vec<u8>),
    /// The input is at its end.
    End,
    /// The input can't be read on.
    Failed(io::Error),
    /// Somebody asked to stop: what is left of the input is not to be read.
    Stopped,
}

/// Asks to stop, from any thread.
#[derive(Clone)]
pub struct Stopper {
    events: SyncSender<Event>,
    flag: Arc<AtomicBool>,
}

/// Starts to read. The thread is not waited for in the end: it may well be in the middle of a read.
pub fn read_in_background(input: impl Read + Send + 'static) -> (Events, Stopper) {
    let (sender, receiver) = sync_channel(CHUNKS_WAITING);
    let flag = Arc::new(AtomicBool::new(false));
    let stopper = Stopper { events: sender.clone(), flag: Arc::clone(&flag) };
    thread::spawn(move || read(input, &sender));
    (Events { events: receiver, flag }, stopper)
}

fn read(mut input: impl Read, events: &SyncSender<Event>) {
    let mut buffer = vec![0; CHUNK];
    loop {
        let event = match input.read(&mut buffer) {
            Ok(0) => Event::End,
            Ok(length) => Event::Chunk(buffer[..length].to_vec()),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => Event::Failed(error),
        };
        let goes_on = matches!(event, Event::Chunk(_));
        // Nobody listens any more once the run is over.
        if events.send(event).is_err() || !goes_on {
            return;
        }
    }
}

impl Events {
    /// Waits for what comes next. `on_idle` is called if there is nothing yet.
    pub fn next(&self, on_idle: impl FnOnce()) -> Next {
        let event = match self.events.try_recv() {
            Err(TryRecvError::Empty) => {
                on_idle();
                self.events.recv().ok()
            }
            event => event.ok(),
        };
        if self.flag.load(Ordering::Acquire) {
            return Next::Stopped;
        }
        match event {
            Some(Event::Chunk(chunk)) => Next::Chunk(chunk),
            Some(Event::Failed(error)) => Next::Failed(error),
            Some(Event::End) | None => Next::End,
            Some(Event::Wake) => Next::Stopped,
        }
    }
}

impl Stopper {
    /// Asks to stop.
    pub fn stop(&self) {
        self.flag.store(true, Ordering::Release);
        // A full queue needs no waking: there is an event to be taken from it, and then the flag is seen.
        let _ = self.events.try_send(Event::Wake);
    }
}

/// Cuts input into lines.
#[derive(Default)]
pub struct Lines {
    /// The beginning of a line whose end has not arrived.
    partial: Vec<u8>,
    /// Lines that were handled.
    count: u64,
}

impl Lines {
    /// Handles each line that `chunk` completes. `handle` gets the line's number, counted from 1, and its bytes without
    /// the line ending.
    pub fn feed(
        &mut self,
        mut chunk: &[u8],
        mut handle: impl FnMut(u64, &[u8]) -> Result<(), TargetError>,
    ) -> Result<(), TargetError> {
        while let Some(end) = memchr::memchr(b'\n', chunk) {
            let (line, rest) = (&chunk[..end], &chunk[end + 1..]);
            self.count += 1;
            if self.partial.is_empty() {
                handle(self.count, line)?;
            } else {
                self.extend_partial(line, self.count)?;
                handle(self.count, &self.partial)?;
                self.clear_partial();
            }
            chunk = rest;
        }
        self.extend_partial(chunk, self.count + 1)
    }

    /// How many lines were handled.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// What is left at the end of the input: a line without a line ending, or nothing.
    #[must_use]
    pub fn rest(&self) -> &[u8] {
        &self.partial
    }

    fn extend_partial(&mut self, bytes: &[u8], line: u64) -> Result<(), TargetError> {
        if self.partial.len() + bytes.len() > LONGEST_LINE {
            return Err(TargetError::Input { line, problem: InputProblem::TooLong });
        }
        self.partial.extend_from_slice(bytes);
        Ok(())
    }

    /// One long line must not hold on to its memory for ever.
    fn clear_partial(&mut self) {
        self.partial.clear();
        self.partial.shrink_to(CHUNK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_out_whole_however_the_input_is_cut() {
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
            assert_eq!((lines.rest(), lines.count()), (&b"four"[..], 4));
        }
    }

    #[test]
    fn a_line_without_an_end_is_not_held_without_an_end() {
        let mut lines = Lines::default();
        let chunk = vec![b'x'; 16 << 20];
        let mut outcome = Ok(());
        for _ in 0..=LONGEST_LINE / chunk.len() {
            outcome = lines.feed(&chunk, |_, _| Ok(()));
        }
        let error = outcome.expect_err("the line is too long").to_string();
        assert_eq!(
            error,
            "line 1: it is longer than 256 MiB, the most that this target takes; what came before this line is stored"
        );
    }

    #[test]
    fn a_stop_ends_the_waiting_and_what_waits_is_not_read() {
        let (events, stopper) = read_in_background(&b"one\n"[..]);
        assert!(matches!(events.next(|| ()), Next::Chunk(_)));
        assert!(matches!(events.next(|| ()), Next::End));
        stopper.stop();
        assert!(matches!(events.next(|| ()), Next::Stopped));

        let (events, stopper) = read_in_background(&b"one\n"[..]);
        stopper.stop();
        assert!(matches!(events.next(|| ()), Next::Stopped));
    }
}
