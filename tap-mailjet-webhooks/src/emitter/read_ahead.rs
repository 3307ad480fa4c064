//! Reading ahead: while one block is written, a thread of its own reads the next one and splits its events.

use std::ops::{ControlFlow, Range};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;

use catalog::members::{self, MemberSpan, Members};

use super::record::{Event, PrimaryKey, Unreadable, lossy_text};
use crate::os::clock::UnixMillis;
use crate::os::thread::{self, ThreadError};
use crate::spool::{Damage, EventReader, ItemKind, Sequence, SpoolError, StoredItem};

/// How many items are read from the spool at once.
const BLOCK_ITEMS: u32 = 1_000;
const FULL_BYTES: usize = 1 << 19;
/// How many values an event may have, nested ones included. Mailjet's have about thirty. What is computed for
/// a value takes many times the memory of its shortest text, `0,`.
pub(super) const MAX_VALUES: usize = 100_000;

/// Reads the spool's events in order.
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
                let outcome = block.fill(&mut *reader, position);
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
        if self.next < self.block.items.len() {
            return Ok(());
        }
        self.receive()?;
        if self.block.items.is_empty() {
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

    /// Moves on to the next item. Returns it, and the items after it that have been read.
    pub(super) fn pop(&mut self) -> Option<(Item<'_>, Following<'_>)> {
        let item = self.block.get(self.next)?;
        self.next += 1;
        Some((item, Following { block: &self.block, from: self.next }))
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

/// What was read at one position in the spool.
pub(super) enum Item<'b> {
    Event(Event<'b>),
    /// An event of more than [`MAX_VALUES`] values, which is not split into its members.
    TooManyValues(StoredItem<'b>),
    /// A range of events that cannot be read.
    Damage(&'b Damage),
}

/// The items that follow one in its block.
#[derive(Clone, Copy)]
pub(super) struct Following<'b> {
    block: &'b Block,
    from: usize,
}

impl<'b> Following<'b> {
    /// Returns the events among them.
    pub(super) fn events(self) -> impl Iterator<Item = Event<'b>> {
        (self.from..).map_while(move |index| self.block.get(index)).filter_map(|item| match item {
            Item::Event(event) => Some(event),
            Item::TooManyValues(_) | Item::Damage(_) => None,
        })
    }
}

/// What was read from the spool in one go, in order. It owns what it holds, so that it can be sent to another
/// thread.
#[derive(Default)]
pub(super) struct Block {
    items: Vec<Result<EventSpan, Damage>>,
    /// The texts of all events, one after the other.
    text: String,
    /// The members of all events, each as a position in its event's text.
    spans: Vec<MemberSpan>,
}

/// An event, and where its parts are in its block.
struct EventSpan {
    sequence: Sequence,
    received_at: UnixMillis,
    content: Content,
    text: Range<usize>,
    spans: Range<usize>,
}

/// What the text of an event is.
enum Content {
    Object,
    TooManyValues,
    /// Not a JSON object. Its key was computed from its bytes.
    Unreadable(PrimaryKey),
}

impl Block {
    /// Replaces the items by those past `position`. Keeps the memory, except what a huge event has taken.
    fn fill(&mut self, reader: &mut dyn EventReader, position: Sequence) -> Result<(), SpoolError> {
        self.items.clear();
        self.text.clear();
        self.text.shrink_to(2 * FULL_BYTES);
        self.spans.clear();
        self.spans.shrink_to(FULL_BYTES / size_of::<MemberSpan>());
        reader.read_past(ItemKind::Event, position, BLOCK_ITEMS, &mut |item| {
            self.push(item);
            if self.text.len() >= FULL_BYTES { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(())
    }

    pub(super) fn push(&mut self, read: Result<StoredItem<'_>, Damage>) {
        let event = match read {
            Ok(event) => event,
            Err(damage) => return self.items.push(Err(damage)),
        };
        let (text_start, spans_start) = (self.text.len(), self.spans.len());
        let content = match str::from_utf8(event.body) {
            Ok(text) if members::has_more_values(text, MAX_VALUES) => {
                self.text.push_str(text);
                Content::TooManyValues
            }
            Ok(text) if members::parse_object_into(text, &mut self.spans) => {
                self.text.push_str(text);
                Content::Object
            }
            _ => {
                self.text.push_str(&members::json_string(&lossy_text(event.body)));
                Content::Unreadable(PrimaryKey::hash(event.body))
            }
        };
        self.items.push(Ok(EventSpan {
            sequence: event.sequence,
            received_at: event.received_at,
            content,
            text: text_start..self.text.len(),
            spans: spans_start..self.spans.len(),
        }));
    }

    /// The sequence up to which the block reaches; `None` if it is empty.
    fn end(&self) -> Option<Sequence> {
        self.items.last().map(|item| match item {
            Ok(event) => event.sequence,
            Err(damage) => damage.through,
        })
    }

    /// Returns the item at `index`.
    fn get(&self, index: usize) -> Option<Item<'_>> {
        let span = match self.items.get(index)? {
            Ok(span) => span,
            Err(damage) => return Some(Item::Damage(damage)),
        };
        let (sequence, received_at) = (span.sequence, span.received_at);
        let text = &self.text[span.text.clone()];
        let unreadable = match span.content {
            Content::TooManyValues => {
                let item = StoredItem { sequence, received_at, reason: None, body: text.as_bytes() };
                return Some(Item::TooManyValues(item));
            }
            Content::Object => None,
            Content::Unreadable(key) => Some(Unreadable { key, text }),
        };
        let members = Members::new(text, &self.spans[span.spans.clone()]);
        Some(Item::Event(Event { sequence, received_at, members, unreadable }))
    }

    /// Returns the first item, and those after it.
    pub(super) fn first(&self) -> Option<(Item<'_>, Following<'_>)> {
        Some((self.get(0)?, Following { block: self, from: 1 }))
    }
}
