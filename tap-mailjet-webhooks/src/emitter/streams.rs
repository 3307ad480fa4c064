//! The selected streams of a run: who gets an event, and how far each has got.

use std::collections::BTreeMap;

use catalog::event::EventType;
use catalog::message::OutgoingMessage;
use catalog::selection::CatalogError;
use catalog::state::State;
use catalog::stream::{Stream, StreamId};
use tracing::warn;

use super::OutputSpec;
use super::block::Event;
use super::record::field_layout::LayoutCache;
use super::record::row::{self, RecordWriter};
use super::record::table::Table;
use crate::emitter::progress::{Reached, Written};
use crate::os::clock::UnixMillis;
use crate::spool::{Damage, DiscoveredColumn, ItemKind, Sequence, StoredRejection};

/// Types of events without a stream that are told by name; the rest are counted together.
const TOLD_TYPES: usize = 50;
/// Characters of such a type's name that are told.
const TOLD_CHARACTERS: usize = 100;

/// The selected streams of a run.
#[derive(Debug)]
pub(super) struct Streams {
    tables: Vec<StreamProgress>,
    shapes: LayoutCache,
    /// Whether it makes a difference of which type an event is.
    by_type: bool,
    records: RecordWriter,
    /// How many events of each type had no stream.
    unselected: BTreeMap<String, u64>,
    /// How often something could not be read.
    damages: u64,
    reached: Reached,
}

/// A stream, and how far it has got.
#[derive(Debug)]
struct StreamProgress {
    table: Table,
    /// Everything up to this sequence has been written to it.
    bookmark: Sequence,
}

impl StreamProgress {
    fn id(&self) -> StreamId {
        self.table.stream().id
    }

    /// Whether the stream has events of this type (None: of one that Mailjet does not document).
    fn has(&self, event: Option<EventType>) -> bool {
        match self.id() {
            StreamId::Data => true,
            StreamId::Event(own) => event == Some(own),
            StreamId::Rejected => false,
        }
    }
}

impl Streams {
    /// The streams that `shape` selects, with the columns that appeared before.
    pub(super) fn new(shape: &OutputSpec, discovered: &[DiscoveredColumn]) -> Result<Self, CatalogError> {
        let mut tables = Vec::new();
        for id in StreamId::all() {
            if let Some(choice) = shape.selection.stream(id) {
                let stream = Stream::new(id, &shape.system_prefix);
                let table = Table::new(&stream, choice, shape.unknown_fields, discovered)?;
                tables.push(StreamProgress { table, bookmark: Sequence::START });
            }
        }
        let by_type = tables.iter().any(|stream| matches!(stream.id(), StreamId::Event(_)))
            || !tables.iter().any(|stream| stream.id() == StreamId::Data);
        let streams = tables
            .iter()
            .map(|stream| Written { stream: stream.id(), last: Sequence::START, records: 0 })
            .collect();
        let reached = Reached { streams, ..Reached::default() };
        Ok(Streams {
            tables,
            shapes: LayoutCache::default(),
            by_type,
            records: RecordWriter::default(),
            unselected: BTreeMap::new(),
            damages: 0,
            reached,
        })
    }

    /// Which streams are selected.
    pub(super) fn ids(&self) -> Vec<StreamId> {
        self.tables.iter().map(StreamProgress::id).collect()
    }

    /// Begins where `state` says.
    pub(super) fn start_at(&mut self, state: &State) {
        for stream in &mut self.tables {
            stream.bookmark = state.bookmark(stream.table.name()).map_or(Sequence::START, Sequence::new);
        }
        let bookmarks = |rejected: bool| {
            let streams =
                self.tables.iter().filter(move |stream| (stream.id() == StreamId::Rejected) == rejected);
            streams.map(|stream| stream.bookmark).min()
        };
        // Where nothing is selected, nothing is left to be done.
        self.reached.events = bookmarks(false).unwrap_or(Sequence::END);
        self.reached.rejected = bookmarks(true).unwrap_or(Sequence::END);
    }

    /// How far the streams have got.
    pub(super) fn reached(&self) -> &Reached {
        &self.reached
    }

    /// The largest of the streams' bookmarks; [`Sequence::START`] while none has got anywhere.
    pub(super) fn furthest_bookmark(&self) -> Sequence {
        self.tables.iter().map(|stream| stream.bookmark).max().unwrap_or(Sequence::START)
    }

    /// Moves the bookmarks of `state` to where the streams have got.
    pub(super) fn note_in(&self, state: &mut State) {
        for stream in self.tables.iter().filter(|stream| stream.bookmark > Sequence::START) {
            state.set_bookmark(
                stream.table.name(),
                stream.table.stream().replication_key(),
                stream.bookmark.get(),
            );
        }
    }

    /// Appends the SCHEMA of every stream.
    pub(super) fn write_schemas(&self, out: &mut Vec<u8>) {
        for stream in &self.tables {
            write_schema(&stream.table, out);
        }
    }

    /// Appends an event to each stream that has it and is not past it. `remember` is given new columns before anything
    /// that has them is written. Says how many records.
    pub(super) fn write_event<E>(
        &mut self,
        event: &Event<'_>,
        batched_at: UnixMillis,
        out: &mut Vec<u8>,
        mut remember: impl FnMut(&[DiscoveredColumn]) -> Result<(), E>,
    ) -> Result<u64, E> {
        let members = event.members;
        let mut shape = if event.unreadable.is_none() { self.shapes.of(members) } else { None };
        let key = self.records.key_of(event, shape.as_deref());
        let system = self.records.system(key, event, batched_at);
        let type_name = if self.by_type { event.event_type() } else { None };
        let event_type = EventType::ALL.into_iter().find(|event| Some(event.name()) == type_name.as_deref());
        let mut written = 0;
        let mut has_stream = false;
        for (place, stream) in self.tables.iter_mut().enumerate().filter(|(_, stream)| stream.has(event_type))
        {
            has_stream = true;
            if event.sequence <= stream.bookmark {
                continue;
            }
            let template = shape.as_mut().and_then(|shape| shape.templates.of(place, &stream.table, members));
            if !template.is_some_and(|template| template.write(&stream.table, members, &system, out)) {
                let row = stream.table.place(members, event.unreadable.map(|event| event.text));
                let appeared = stream.table.take_appeared();
                if !appeared.is_empty() {
                    remember(&appeared)?;
                    if stream.table.are_written(&appeared) {
                        write_schema(&stream.table, out);
                    }
                }
                row::write_row(&stream.table, &row, &system, out);
            }
            self.reached.streams[place].count(event.sequence);
            written += 1;
        }
        if !has_stream {
            self.count_unselected(type_name.unwrap_or_default());
        }
        for stream in self.tables.iter_mut().filter(|stream| stream.id() != StreamId::Rejected) {
            stream.bookmark = stream.bookmark.max(event.sequence);
        }
        self.reached.events = event.sequence;
        Ok(written)
    }

    /// Appends a rejected item to the stream of rejected items, if that is selected.
    pub(super) fn write_rejected(
        &mut self,
        item: StoredRejection<'_>,
        batched_at: UnixMillis,
        out: &mut Vec<u8>,
    ) {
        for (place, stream) in self.tables.iter_mut().enumerate() {
            if stream.id() == StreamId::Rejected {
                self.records.write_rejected(&stream.table, item, batched_at, out);
                stream.bookmark = item.sequence;
                self.reached.streams[place].count(item.sequence);
            }
        }
        self.reached.rejected = item.sequence;
    }

    /// Goes past what can't be read, and appends a row that says so to the stream of rejected items, if that is selected.
    /// Says how many records.
    ///
    /// What stands in the table of events moves the bookmarks of the streams of events: the row comes again exactly if
    /// they do.
    pub(super) fn write_damage(
        &mut self,
        kept: ItemKind,
        damage: &Damage,
        batched_at: UnixMillis,
        out: &mut Vec<u8>,
    ) -> u64 {
        let Damage { after, through, reason } = damage;
        let what = if after.next() == *through {
            format!("the item with sequence {through}")
        } else {
            format!("items with sequences from {} to {through}", after.next())
        };
        let reason = format!("the spool is damaged: {what} can't be read ({reason})");
        warn!("{reason}: passed over; `spool verify` tells more");
        self.damages += 1;
        // Where the row itself would stand, with a text that no other row has: its key is made of that.
        let body = format!(r#"{{"damaged_from":{},"damaged_through":{through}}}"#, after.next());
        let item = StoredRejection {
            sequence: *through,
            received_at: batched_at,
            reason: &reason,
            body: body.as_bytes(),
        };
        let mut written = 0;
        for stream in &mut self.tables {
            let is_rejected = stream.id() == StreamId::Rejected;
            if is_rejected {
                self.records.write_rejected(&stream.table, item, batched_at, out);
                written += 1;
            }
            if is_rejected == (kept == ItemKind::Rejected) {
                stream.bookmark = stream.bookmark.max(*through);
            }
        }
        match kept {
            ItemKind::Event => self.reached.events = *through,
            ItemKind::Rejected => self.reached.rejected = *through,
        }
        written
    }

    /// Tells, at the end of a run, how often something could not be read.
    pub(super) fn tell_damage(&self) {
        if self.damages > 0 {
            warn!("the spool is damaged in {} places, which were passed over", self.damages);
        }
    }

    fn count_unselected(&mut self, mut type_name: String) {
        // It may be of any length.
        if let Some((end, _)) = type_name.char_indices().nth(TOLD_CHARACTERS) {
            type_name.truncate(end);
            type_name.push('…');
        }
        let name = if self.unselected.len() < TOLD_TYPES || self.unselected.contains_key(&type_name) {
            type_name
        } else {
            "(others)".to_owned()
        };
        let count = self.unselected.entry(name.clone()).or_insert(0);
        *count += 1;
        if *count == 1 {
            warn!(
                "no selected stream has events of type \"{}\": they are not written, and go after retention_days",
                name.escape_debug()
            );
        }
    }

    /// Tells, at the end of a run, how many events had no stream.
    pub(super) fn tell_unselected(&self) {
        for (name, count) in &self.unselected {
            warn!(
                "{count} events of type \"{}\" were not written: no selected stream has them",
                name.escape_debug()
            );
        }
    }
}

fn write_schema(table: &Table, out: &mut Vec<u8>) {
    let schema = table.json_schema();
    let key: Vec<&str> = table.key_properties().iter().map(String::as_str).collect();
    let message = OutgoingMessage::Schema {
        stream: table.name(),
        schema: &schema,
        key_properties: &key,
        bookmark_properties: &[table.stream().replication_key()],
    };
    message.write_line(out);
}
