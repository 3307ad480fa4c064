//! Reading ahead: while one block is written, a thread of its own reads the next one and splits its events.

use std::ops::ControlFlow;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;

use super::block::Block;
use super::record::Event;
use crate::os::thread::{self, ThreadError};
use crate::spool::{Damage, EventReader, ItemKind, Sequence, SpoolError};

/// How many items are read from the spool at once.
const BLOCK_ITEMS: u32 = 1_000;

/// Reads the spool's events in order.
#[derive(Debug)]
pub(super) struct ReadAhead {
    /// The block that is being written, and the next item in it.
    block: Block,
    next: usize,
    /// The blocks that follow. The thread is never more than one ahead. `None` only while this is dropped.
    blocks: Option<Receiver<Result<Block, SpoolError>>>,
    /// Takes written blocks back, so that their memory is reused.
    written: Sender<Block>,
    thread: Option<JoinHandle<()>>,
}

impl ReadAhead {
    /// Starts the thread, which reads what is past `position`.
    pub(super) fn start(
        mut reader: Box<dyn EventReader>,
        mut position: Sequence,
    ) -> Result<Self, ThreadError> {
        let (sender, blocks) = mpsc::sync_channel(0);
        let (written, reusable) = mpsc::channel::<Block>();
        let thread = thread::spawn("read-ahead", move || {
            loop {
                let mut block = reusable.try_recv().unwrap_or_default();
                let outcome = fill(&mut block, &mut *reader, position);
                position = block.end().unwrap_or(position);
                if sender.send(outcome.map(|()| block)).is_err() {
                    break;
                }
            }
        })?;
        Ok(ReadAhead {
            block: Block::default(),
            next: 0,
            blocks: Some(blocks),
            written,
            thread: Some(thread),
        })
    }

    /// Moves on to the next block once all items of this one are taken. It is empty only if there was nothing
    /// to read when this was called.
    pub(super) fn refill(&mut self) -> Result<(), SpoolError> {
        if self.next < self.block.len() {
            return Ok(());
        }
        self.receive()?;
        if self.block.len() == 0 {
            // That block was read before this was called. The next one is read now.
            self.receive()?;
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<(), SpoolError> {
        let blocks = self.blocks.as_ref().expect("it is set until this is dropped");
        let block = blocks.recv().expect("the thread that reads does not panic")?;
        // If the thread is gone, nothing needs the memory.
        let _ = self.written.send(std::mem::replace(&mut self.block, block));
        self.next = 0;
        Ok(())
    }

    /// Takes the next item of the block.
    pub(super) fn pop(&mut self) -> Option<Result<Event<'_>, &Damage>> {
        let item = self.block.get(self.next)?;
        self.next += 1;
        Some(item)
    }
}

impl Drop for ReadAhead {
    /// Waits for the thread, which has the spool open: only the last to close a spool can tidy it.
    fn drop(&mut self) {
        self.blocks = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn fill(block: &mut Block, reader: &mut dyn EventReader, position: Sequence) -> Result<(), SpoolError> {
    block.clear();
    reader.read_past(ItemKind::Event, position, BLOCK_ITEMS, &mut |item| {
        block.push(item);
        if block.is_full() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(())
}
