//! Reads the input in a thread of its own.
//!
//! A read blocks for as long as the tap is silent, and opening a FIFO until somebody writes to it. If the
//! thread that handles messages did that, a signal or a failing disk would have to wait for the tap's next
//! line.

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Read};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use catalog::plugin::standard_stream::StandardStream;

use crate::error::TargetError;

/// The most that is read at once.
const CHUNK_BYTES: usize = 256 << 10;

/// How many chunks may wait to be handled. With [`CHUNK_BYTES`], this bounds the memory that input takes
/// while the disk is slow.
const MAX_WAITING_CHUNKS: usize = 8;

/// How long the input is read at most after [`StopHandle::finish`]. A tap that was signalled as well may take
/// 30 seconds to end.
const FINISH_TIME: Duration = Duration::from_secs(40);
/// How long the input may be silent in that time. While tap-mailjet-webhooks waits for its last requests, it
/// writes a STATE every second.
const FINISH_SILENCE: Duration = Duration::from_secs(5);

/// Where the messages come from.
pub(crate) enum Source {
    /// Stdin.
    Stdin(StandardStream),
    /// A file that has to be opened. Opening a FIFO blocks until somebody writes to it.
    File(PathBuf),
}

/// What happens to the input.
pub(crate) enum InputEvent {
    /// Some bytes arrived.
    Chunk(Vec<u8>),
    /// The input is at its end.
    End,
    /// The input cannot be opened.
    NotOpened(TargetError),
    /// The input cannot be read any further.
    Failed(io::Error),
    /// [`StopHandle::stop`] was called, or the time after [`StopHandle::finish`] is over: the rest of the
    /// input must not be read.
    Stopped,
    /// Wakes a waiting receiver, which then looks at the [`Request`].
    Wake,
}

/// What was asked of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
    Read,
    Finish { until: Instant },
    Stop,
}

#[derive(Debug)]
struct Shared {
    request: Request,
    /// Whether the input may still bring messages that are worth waiting for after a signal: it is open, and
    /// no terminal.
    is_worth_waiting_for: bool,
}

/// The input as it arrives.
pub(crate) struct Input {
    events: Receiver<InputEvent>,
    shared: Arc<Mutex<Shared>>,
}

/// Where the reading thread puts what it reads.
pub(crate) struct Feeder {
    events: SyncSender<InputEvent>,
    shared: Arc<Mutex<Shared>>,
}

/// Stops the reading of an [`Input`], from any thread.
#[derive(Clone)]
pub(crate) struct StopHandle {
    events: SyncSender<InputEvent>,
    shared: Arc<Mutex<Shared>>,
}

/// Creates an input that [`Feeder::start`] starts to read.
pub(crate) fn channel() -> (Input, Feeder, StopHandle) {
    let (events, receiver) = sync_channel(MAX_WAITING_CHUNKS);
    let shared = Arc::new(Mutex::new(Shared { request: Request::Read, is_worth_waiting_for: false }));
    let input = Input { events: receiver, shared: Arc::clone(&shared) };
    let feeder = Feeder { events: events.clone(), shared: Arc::clone(&shared) };
    (input, feeder, StopHandle { events, shared })
}

impl Feeder {
    /// Starts a thread that reads `source`. Nothing waits for the thread to end, because it may be blocked in
    /// opening or reading.
    pub(crate) fn start(self, source: Source) {
        match source {
            Source::Stdin(stdin) => {
                // Somebody who types Ctrl-C types no more messages.
                lock(&self.shared).is_worth_waiting_for = !io::stdin().is_terminal();
                thread::spawn(move || self.read(stdin));
            }
            Source::File(path) => {
                thread::spawn(move || match File::open(&path) {
                    Ok(file) => {
                        lock(&self.shared).is_worth_waiting_for = true;
                        self.read(file);
                    }
                    Err(source) => {
                        let error = TargetError::OpenInput { path, source };
                        let _ = self.events.send(InputEvent::NotOpened(error));
                    }
                });
            }
        }
    }

    fn read(&self, mut source: impl Read) {
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            let event = match source.read(&mut buffer) {
                Ok(0) => InputEvent::End,
                Ok(length) => InputEvent::Chunk(buffer[..length].to_vec()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => InputEvent::Failed(error),
            };
            let is_last = !matches!(event, InputEvent::Chunk(_));
            // Sending fails once the run is over.
            if self.events.send(event).is_err() || is_last {
                return;
            }
        }
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Input {
    /// Waits for the next event. If there is none yet, calls `on_idle` first.
    pub(crate) fn next(&self, on_idle: impl FnOnce()) -> InputEvent {
        let mut waiting = self.events.try_recv();
        if matches!(waiting, Err(TryRecvError::Empty)) {
            on_idle();
        }
        loop {
            let until = match lock(&self.shared).request {
                Request::Stop => return InputEvent::Stopped,
                Request::Finish { until } if until <= Instant::now() => return InputEvent::Stopped,
                Request::Finish { until } => Some(until),
                Request::Read => None,
            };
            match std::mem::replace(&mut waiting, Err(TryRecvError::Empty)) {
                Ok(InputEvent::Wake) | Err(TryRecvError::Empty) => {}
                Ok(event) => return event,
                Err(TryRecvError::Disconnected) => return InputEvent::End,
            }
            waiting = match until {
                None => self.events.recv().map_err(|_| TryRecvError::Disconnected),
                Some(until) => {
                    let silence = FINISH_SILENCE.min(until.saturating_duration_since(Instant::now()));
                    match self.events.recv_timeout(silence) {
                        Ok(event) => Ok(event),
                        Err(RecvTimeoutError::Timeout) => return InputEvent::Stopped,
                        Err(RecvTimeoutError::Disconnected) => Err(TryRecvError::Disconnected),
                    }
                }
            };
        }
    }
}

impl StopHandle {
    /// Reads on to the end of the input, but only for a while, and not while it is silent for long: the tap
    /// was probably asked to stop as well, and everything that it still writes need not be repeated.
    pub(crate) fn finish(&self) {
        let request = match lock(&self.shared).is_worth_waiting_for {
            true => Request::Finish { until: Instant::now() + FINISH_TIME },
            false => Request::Stop,
        };
        self.ask(request);
    }

    /// Makes the input's next event [`InputEvent::Stopped`].
    pub(crate) fn stop(&self) {
        self.ask(Request::Stop);
    }

    fn ask(&self, request: Request) {
        lock(&self.shared).request = request;
        // This wakes a waiting receiver. If the queue is full, the receiver is not waiting.
        let _ = self.events.try_send(InputEvent::Wake);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::OwnedFd;

    use super::*;

    /// Starts to read a pipe, of which the writing end is returned.
    fn piped() -> (Input, StopHandle, io::PipeWriter) {
        let (input, feeder, stop) = channel();
        let (reader, writer) = io::pipe().expect("a pipe");
        feeder.start(Source::Stdin(StandardStream::from(OwnedFd::from(reader))));
        (input, stop, writer)
    }

    #[test]
    fn a_stop_ends_the_wait_and_the_waiting_input_is_not_read() {
        let (input, stop, mut writer) = piped();
        writer.write_all(b"one\n").expect("a write");
        assert!(matches!(input.next(|| ()), InputEvent::Chunk(_)));
        stop.stop();
        writer.write_all(b"two\n").expect("a write");
        assert!(matches!(input.next(|| ()), InputEvent::Stopped));
    }

    #[test]
    fn an_input_that_cannot_be_opened_is_an_event() {
        let (input, feeder, _stop) = channel();
        feeder.start(Source::File(PathBuf::from("/nonexistent/input")));
        assert!(matches!(input.next(|| ()), InputEvent::NotOpened(TargetError::OpenInput { .. })));
    }
}
