//! Reads the input in a thread of its own.
//!
//! A read blocks for as long as the tap is silent. If the thread that handles messages did the reading, a
//! signal or a failing disk would have to wait for the tap's next line.

use std::io::{self, ErrorKind, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The most that is read at once.
const CHUNK_BYTES: usize = 256 << 10;

/// How many chunks may wait to be handled. With [`CHUNK_BYTES`], this bounds the memory that input takes
/// while the disk is slow.
const MAX_WAITING_CHUNKS: usize = 8;

/// How long the input is read at most after [`StopHandle::finish`]. A tap that was signalled as well
/// takes up to 25 seconds to write what it has.
const FINISH_TIME: Duration = Duration::from_secs(30);
/// How long the input may be silent in that time.
const FINISH_SILENCE: Duration = Duration::from_secs(3);

/// What happens to the input.
pub(crate) enum InputEvent {
    /// Some bytes arrived.
    Chunk(Vec<u8>),
    /// The input is at its end.
    End,
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

/// The input as it arrives.
pub(crate) struct Input {
    events: Receiver<InputEvent>,
    request: Arc<Mutex<Request>>,
}

/// Stops the reading of an [`Input`], from any thread.
#[derive(Clone)]
pub(crate) struct StopHandle {
    events: SyncSender<InputEvent>,
    request: Arc<Mutex<Request>>,
}

/// Starts a thread that reads `source`. Nothing waits for the thread to end, because it may be blocked in a
/// read.
pub(crate) fn read_in_background(source: impl Read + Send + 'static) -> (Input, StopHandle) {
    let (sender, receiver) = sync_channel(MAX_WAITING_CHUNKS);
    let request = Arc::new(Mutex::new(Request::Read));
    let stop = StopHandle { events: sender.clone(), request: Arc::clone(&request) };
    thread::spawn(move || read(source, &sender));
    (Input { events: receiver, request }, stop)
}

fn read(mut source: impl Read, events: &SyncSender<InputEvent>) {
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
        if events.send(event).is_err() || is_last {
            return;
        }
    }
}

impl Input {
    /// Waits for the next event. If there is none yet, calls `on_idle` first.
    pub(crate) fn next(&self, on_idle: impl FnOnce()) -> InputEvent {
        let mut waiting = self.events.try_recv();
        if matches!(waiting, Err(TryRecvError::Empty)) {
            on_idle();
        }
        loop {
            let until = match *self.request.lock().unwrap_or_else(PoisonError::into_inner) {
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
        self.ask(Request::Finish { until: Instant::now() + FINISH_TIME });
    }

    /// Makes the input's next event [`InputEvent::Stopped`].
    pub(crate) fn stop(&self) {
        self.ask(Request::Stop);
    }

    fn ask(&self, request: Request) {
        *self.request.lock().unwrap_or_else(PoisonError::into_inner) = request;
        // This wakes a waiting receiver. If the queue is full, the receiver is not waiting.
        let _ = self.events.try_send(InputEvent::Wake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_ends_the_wait_and_the_waiting_input_is_not_read() {
        let (input, stop) = read_in_background(&b"one\n"[..]);
        assert!(matches!(input.next(|| ()), InputEvent::Chunk(_)));
        assert!(matches!(input.next(|| ()), InputEvent::End));
        stop.stop();
        assert!(matches!(input.next(|| ()), InputEvent::Stopped));

        let (input, stop) = read_in_background(&b"one\n"[..]);
        stop.stop();
        assert!(matches!(input.next(|| ()), InputEvent::Stopped));
    }

    #[test]
    fn an_input_that_is_to_be_finished_is_read_to_its_end_or_until_it_is_silent() {
        let (input, stop) = read_in_background(&b"one\n"[..]);
        stop.finish();
        assert!(matches!(input.next(|| ()), InputEvent::Chunk(_)));
        assert!(matches!(input.next(|| ()), InputEvent::End));

        let (reader, _writer) = io::pipe().expect("a pipe");
        let (input, stop) = read_in_background(reader);
        stop.finish();
        assert!(matches!(input.next(|| ()), InputEvent::Stopped));
    }
}
