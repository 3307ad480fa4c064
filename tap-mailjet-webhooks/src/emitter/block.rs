//! Events split into their members, in blocks that one thread fills and another one writes.

use std::ops::Range;

use catalog::members::{self, MemberSpan, Members};

use super::record::{Event, PrimaryKey, Unreadable, lossy_text};
use crate::os::clock::UnixMillis;
use crate::spool::{Damage, Sequence, StoredItem};

const FULL_BYTES: usize = 1 << 19;

/// What was read from the spool in one go, in order. It owns what it holds, so that it can be sent to another
/// thread.
#[derive(Debug, Default)]
pub(super) struct Block {
    items: Vec<Result<EventSpan, Damage>>,
    /// The texts of all events, one after the other.
    text: String,
    /// The members of all events, each as a position in its event's text.
    spans: Vec<MemberSpan>,
}

/// An event, and where its parts are in its block.
#[derive(Debug)]
struct EventSpan {
    sequence: Sequence,
    received_at: UnixMillis,
    /// The key of an event whose text is not a JSON object.
    unreadable: Option<PrimaryKey>,
    text: Range<usize>,
    spans: Range<usize>,
}

impl Block {
    pub(super) fn push(&mut self, read: Result<StoredItem<'_>, Damage>) {
        let event = match read {
            Ok(event) => event,
            Err(damage) => return self.items.push(Err(damage)),
        };
        let (text_start, spans_start) = (self.text.len(), self.spans.len());
        let text =
            str::from_utf8(event.body).ok().filter(|text| members::parse_object_into(text, &mut self.spans));
        let unreadable = if let Some(text) = text {
            self.text.push_str(text);
            None
        } else {
            self.text.push_str(&members::json_string(&lossy_text(event.body)));
            Some(PrimaryKey::hash(event.body))
        };
        self.items.push(Ok(EventSpan {
            sequence: event.sequence,
            received_at: event.received_at,
            unreadable,
            text: text_start..self.text.len(),
            spans: spans_start..self.spans.len(),
        }));
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.text.len() >= FULL_BYTES
    }

    /// The sequence up to which the block reaches; `None` if it is empty.
    pub(super) fn end(&self) -> Option<Sequence> {
        self.items.last().map(|item| match item {
            Ok(event) => event.sequence,
            Err(damage) => damage.through,
        })
    }

    /// Returns the item at `index`: an event, or a range of events that cannot be read.
    pub(super) fn get(&self, index: usize) -> Option<Result<Event<'_>, &Damage>> {
        Some(self.items.get(index)?.as_ref().map(|span| {
            let text = &self.text[span.text.clone()];
            Event {
                sequence: span.sequence,
                received_at: span.received_at,
                members: Members::new(text, &self.spans[span.spans.clone()]),
                unreadable: span.unreadable.map(|key| Unreadable { key, text }),
            }
        }))
    }

    /// Empties the block. It keeps its memory, except what a huge event has taken.
    pub(super) fn clear(&mut self) {
        self.items.clear();
        self.text.clear();
        self.text.shrink_to(2 * FULL_BYTES);
        self.spans.clear();
        self.spans.shrink_to(FULL_BYTES / size_of::<MemberSpan>());
    }
}
