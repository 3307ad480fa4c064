//! Reading ahead: while a block is being written, the next one is read and taken apart, on a thread of its own.

use std::io;
use std::ops::ControlFlow;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

use super::block::Block;
use crate::spool::{EventReader, Sequence, SpoolError};

/// Items of the spool that are read at once.
const BLOCK_ITEMS: u32 = 1_000;

/// Reads the spool's events in order.
#[derive(Debug)]
pub(super) struct ReadAhead {
    /// None only while it is dropped.
    requests: Option<Sender<Request>>,
    answers: Receiver<Result<Answer, SpoolError>>,
    is_asked: bool,
    /// For the request that comes next: its memory is used again.
    spare: Block,
    thread: Option<JoinHandle<()>>,
}

/// Asks for what lies past a sequence.
struct Request {
    position: Sequence,
    block: Block,
}

/// What there was.
struct Answer {
    block: Block,
    /// Whether it ended for another reason than that there was no more.
    is_full: bool,
}

impl ReadAhead {
    /// Starts the thread that reads with `reader`.
    pub(super) fn start(mut reader: Box<dyn EventReader>) -> io::Result<Self> {
        let (requests, asked) = mpsc::channel::<Request>();
        let (answer, answers) = mpsc::channel();
        let thread = thread::Builder::new().name("read-ahead".to_owned()).spawn(move || {
            for Request { position, block } in asked {
                if answer.send(read(&mut *reader, position, block)).is_err() {
                    break;
                }
            }
        })?;
        Ok(ReadAhead {
            requests: Some(requests),
            answers,
            is_asked: false,
            spare: Block::default(),
            thread: Some(thread),
        })
    }

    /// Puts what lies past `position`, which is where the block before ended, into `block`. It is empty only if there was
    /// nothing when this was called.
    pub(super) fn next(&mut self, position: Sequence, block: &mut Block) -> Result<(), SpoolError> {
        let was_asked = self.is_asked;
        self.spare = std::mem::take(block);
        if !was_asked {
            self.ask(position);
        }
        let mut answer = self.answer()?;
        if was_asked && answer.block.len() == 0 {
            // That was so when it was looked at, which is a while ago.
            self.ask(position);
            answer = self.answer()?;
        }
        *block = answer.block;
        if let (true, Some(end)) = (answer.is_full, block.end()) {
            self.ask(end);
        }
        Ok(())
    }

    fn ask(&mut self, position: Sequence) {
        let mut block = std::mem::take(&mut self.spare);
        block.clear();
        let requests = self.requests.as_ref().expect("it is there until the end");
        // If the thread is gone, there is no answer either.
        let _ = requests.send(Request { position, block });
        self.is_asked = true;
    }

    fn answer(&mut self) -> Result<Answer, SpoolError> {
        self.is_asked = false;
        self.answers.recv().expect("the thread that reads does not panic")
    }
}

impl Drop for ReadAhead {
    /// Waits for the thread: the last connection to a spool tidies up behind it.
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
