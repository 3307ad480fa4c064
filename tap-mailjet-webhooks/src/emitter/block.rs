//! Events taken apart, in blocks that can be handed on.

use std::ops::Range;

use catalog::members::{self, MemberSpan, Members};

use super::record::primary_key::PrimaryKey;
use super::record::row;
use crate::os::clock::UnixMillis;
use crate::spool::{Damage, Sequence, StoredEvent};

/// Bytes of events at which a block is full.
const FULL_BYTES: usize = 1 << 19;

/// What was read of the spool in one go, in its order. It owns what it holds, so that it can be made on one thread and
/// written on another.
#[derive(Debug, Default)]
pub(super) struct Block {
    items: Vec<Item>,
    /// The events' texts, one after the other.
    text: String,
    /// Their members' places, each within its own event.
    spans: Vec<MemberSpan>,
}

#[derive(Debug)]
enum Item {
    Event(EventSpan),
    Damage(Damage),
}

/// An event in its block.
#[derive(Debug)]
struct EventSpan {
    sequence: Sequence,
    received_at: UnixMillis,
    /// The key of an event whose text is no JSON object.
    unreadable: Option<[u8; 36]>,
    text: Range<usize>,
    spans: Range<usize>,
}

/// Something in a block.
#[derive(Debug)]
pub(super) enum Read<'b> {
    /// An event.
    Event(Event<'b>),
    /// Something that can't be read.
    Damage(&'b Damage),
}

/// An event, taken apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Event<'b> {
    pub(super) sequence: Sequence,
    /// When its webhook arrived.
    pub(super) received_at: UnixMillis,
    /// Its members; none if its text is no JSON object.
    pub(super) members: Members<'b, 'b>,
    /// In that case, what is said instead.
    pub(super) unreadable: Option<Unreadable<'b>>,
}

/// An event whose text is no JSON object. The listener never writes such.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unreadable<'b> {
    /// Its primary key.
    pub(super) key: [u8; 36],
    /// Its text, as a JSON string.
    pub(super) text: &'b str,
}

impl Event<'_> {
    /// What the field `event` says, in lower case: Mailjet has been seen to write it with a capital. As in its column, of
    /// several the last says it, and null says nothing.
    pub(super) fn event_type(&self) -> Option<String> {
        let mut members = self.members.iter().rev();
        let event = members.find(|member| member.name() == "event" && member.value != "null")?;
        serde_json::from_str::<String>(event.value).ok().map(|name| name.to_lowercase())
    }
}

impl Block {
    /// Appends what was read, taken apart.
    pub(super) fn push(&mut self, read: Result<StoredEvent<'_>, Damage>) {
        let event = match read {
            Ok(event) => event,
            Err(damage) => return self.items.push(Item::Damage(damage)),
        };
        let (text_start, spans_start) = (self.text.len(), self.spans.len());
        let text =
            str::from_utf8(event.body).ok().filter(|text| members::parse_object_into(text, &mut self.spans));
        let unreadable = if let Some(text) = text {
            self.text.push_str(text);
            None
        } else {
            self.text.push_str(&members::json_string(&row::text_of(event.body)));
            Some(PrimaryKey::of_bytes(event.body))
        };
        self.items.push(Item::Event(EventSpan {
            sequence: event.sequence,
            received_at: event.received_at,
            unreadable,
            text: text_start..self.text.len(),
            spans: spans_start..self.spans.len(),
        }));
    }

    /// How many items it holds.
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether no more is to be put into it.
    pub(super) fn is_full(&self) -> bool {
        self.text.len() >= FULL_BYTES
    }

    /// The sequence that the last item goes up to, if there is one.
    pub(super) fn end(&self) -> Option<Sequence> {
        self.items.last().map(|item| match item {
            Item::Event(event) => event.sequence,
            Item::Damage(damage) => damage.through,
        })
    }

    /// Item number `number`, counted from 0.
    pub(super) fn get(&self, number: usize) -> Read<'_> {
        match &self.items[number] {
            Item::Event(event) => Read::Event(self.event(event)),
            Item::Damage(damage) => Read::Damage(damage),
        }
    }

    fn event(&self, place: &EventSpan) -> Event<'_> {
        let text = &self.text[place.text.clone()];
        Event {
            sequence: place.sequence,
            received_at: place.received_at,
            members: Members::new(text, &self.spans[place.spans.clone()]),
            unreadable: place.unreadable.map(|key| Unreadable { key, text }),
        }
    }

    /// Empties it. It keeps its memory, unless that is much: one huge event must not hold it for ever.
    pub(super) fn clear(&mut self) {
        self.items.clear();
        self.text.clear();
        self.text.shrink_to(2 * FULL_BYTES);
        self.spans.clear();
        self.spans.shrink_to(FULL_BYTES / size_of::<MemberSpan>());
    }
}
