//! Reads the input in a thread of its own.
//!
//! A read blocks for as long as the tap is silent. If the thread that handles messages did the reading, a
//! signal or a failing disk would have to wait for the tap's next line.

use std::io::{self, ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread;

/// The most that is read at once.
const CHUNK_BYTES: usize = 256 << 10;

/// How many chunks may wait to be handled. With [`CHUNK_BYTES`], this bounds the memory that input takes
/// while the disk is slow.
const MAX_WAITING_CHUNKS: usize = 8;

/// What happens to the input.
pub(crate) enum InputEvent {
    /// Some bytes arrived.
    Chunk(Vec<u8>),
    /// The input is at its end.
    End,
    /// The input cannot be read any further.
    Failed(io::Error),
    /// [`StopHandle::stop`] was called: the rest of the input must not be read.
    Stopped,
}

/// The input as it arrives.
pub(crate) struct Input {
    events: Receiver<InputEvent>,
    is_stopped: Arc<AtomicBool>,
}

/// Stops the reading of an [`Input`], from any thread.
#[derive(Clone)]
pub(crate) struct StopHandle {
    events: SyncSender<InputEvent>,
    is_stopped: Arc<AtomicBool>,
}

/// Starts a thread that reads `source`. Nothing waits for the thread to end, because it may be blocked in a
/// read.
pub(crate) fn read_in_background(source: impl Read + Send + 'static) -> (Input, StopHandle) {
    let (sender, receiver) = sync_channel(MAX_WAITING_CHUNKS);
    let is_stopped = Arc::new(AtomicBool::new(false));
    let stop = StopHandle { events: sender.clone(), is_stopped: Arc::clone(&is_stopped) };
    thread::spawn(move || read(source, &sender));
    (Input { events: receiver, is_stopped }, stop)
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
        let event = match self.events.try_recv() {
            Err(TryRecvError::Empty) => {
                on_idle();
                self.events.recv().ok()
            }
            event => event.ok(),
        };
        if self.is_stopped.load(Ordering::Acquire) {
            return InputEvent::Stopped;
        }
        event.unwrap_or(InputEvent::End)
    }
}

impl StopHandle {
    /// Makes the input's next event [`InputEvent::Stopped`].
    pub(crate) fn stop(&self) {
        self.is_stopped.store(true, Ordering::Release);
        // This wakes a waiting receiver. If the queue is full, the receiver is not waiting.
        let _ = self.events.try_send(InputEvent::Stopped);
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
}
