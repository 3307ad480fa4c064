//! Reading ahead: while one block is written, a thread of its own reads the next one and splits its events.

use std::ops::ControlFlow;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;

use super::block::{Block, BlockItem};
use crate::os::thread::{self, ThreadError};
use crate::spool::{EventReader, Sequence, SpoolError};

/// The items of the spool that are read at once.
const BLOCK_ITEMS: u32 = 1_000;

/// Reads the spool's events in order.
#[derive(Debug)]
pub(super) struct ReadAhead {
    /// The block that is being written, and the next item in it.
    block: Block,
    next: usize,
    /// `None` only while this is dropped.
    requests: Option<Sender<Request>>,
    answers: Receiver<Result<Answer, SpoolError>>,
    is_requested: bool,
    /// An empty block for the next request: its memory is used again.
    spare: Block,
    thread: Option<JoinHandle<()>>,
}

/// Asks for the events past a position.
struct Request {
    position: Sequence,
    block: Block,
}

struct Answer {
    block: Block,
    /// Whether there may be more events.
    is_full: bool,
}

impl ReadAhead {
    /// Starts the thread, which reads with `reader`.
    pub(super) fn start(mut reader: Box<dyn EventReader>) -> Result<Self, ThreadError> {
        let (requests, requested) = mpsc::channel::<Request>();
        let (answer, answers) = mpsc::channel();
        let thread = thread::spawn("read-ahead", move || {
            for Request { position, block } in requested {
                if answer.send(read(&mut *reader, position, block)).is_err() {
                    break;
                }
            }
        })?;
        Ok(ReadAhead {
            block: Block::default(),
            next: 0,
            requests: Some(requests),
            answers,
            is_requested: false,
            spare: Block::default(),
            thread: Some(thread),
        })
    }

    /// If all items of the block are taken, moves on to the next block: the one past `position`, where this
    /// one ended.
    ///
    /// The next block is empty only if there was no event when this was called.
    pub(super) fn refill(&mut self, position: Sequence) -> Result<(), SpoolError> {
        if self.next < self.block.len() {
            return Ok(());
        }
        let was_requested = self.is_requested;
        self.spare = std::mem::take(&mut self.block);
        self.next = 0;
        if !was_requested {
            self.request(position);
        }
        let mut answer = self.answer()?;
        if was_requested && answer.block.len() == 0 {
            // The block was read a while ago, and there may be events by now.
            self.spare = answer.block;
            self.request(position);
            answer = self.answer()?;
        }
        self.block = answer.block;
        if let (true, Some(end)) = (answer.is_full, self.block.end()) {
            self.request(end);
        }
        Ok(())
    }

    /// Takes the next item of the block.
    pub(super) fn pop(&mut self) -> Option<BlockItem<'_>> {
        let item = self.block.get(self.next)?;
        self.next += 1;
        Some(item)
    }

    fn request(&mut self, position: Sequence) {
        let mut block = std::mem::take(&mut self.spare);
        block.clear();
        let requests = self.requests.as_ref().expect("it is set until this is dropped");
        // If the thread is gone, waiting for its answer fails.
        let _ = requests.send(Request { position, block });
        self.is_requested = true;
    }

    fn answer(&mut self) -> Result<Answer, SpoolError> {
        self.is_requested = false;
        self.answers.recv().expect("the thread that reads does not panic")
    }
}

impl Drop for ReadAhead {
    /// Waits for the thread: whatever closes a spool last leaves it tidy.
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn read(reader: &mut dyn EventReader, position: Sequence, mut block: Block) -> Result<Answer, SpoolError> {
    let seen = reader.read_past(position, BLOCK_ITEMS, &mut |item| {
        block.push(item);
        if block.is_full() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    let is_full = block.is_full() || seen >= BLOCK_ITEMS as usize;
    Ok(Answer { block, is_full })
}
