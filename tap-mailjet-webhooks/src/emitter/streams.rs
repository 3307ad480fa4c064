//! The selected streams of a run: which of them an event goes to, and how far each has got.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use catalog::event::{self, EventType};
use catalog::selection::CatalogError;
use catalog::stream::StreamId;
use tracing::warn;

use super::OutputSpec;
use super::read_ahead::{Following, MAX_VALUES};
use super::record::{Event, RecordWriter, Table, stream_with_discovered_columns};
use super::state::{Positions, StreamPosition};
use crate::os::clock::UnixMillis;
use crate::os::log_throttle::LogThrottle;
use crate::spool::{Damage, DiscoveredColumn, ItemKind, Sequence, StoredItem};

/// How many types of unselected events are counted under their own names. The others are counted together.
const MAX_TYPES: usize = 50;
/// How many characters of such a type's name are kept.
const MAX_NAME_CHARACTERS: usize = 100;

/// The longest RECORD of an event. An event of 20 MB, the largest that a listener accepts by default, can
/// only be longer if most of it is escaped several times.
const MAX_ROW_BYTES: usize = 64 << 20;

#[derive(Debug)]
pub(super) struct Streams {
    selected: Vec<StreamProgress>,
    records: RecordWriter,
    /// Whether the streams that have an event depend on its type.
    depends_on_type: bool,
    /// The number of events that no selected stream has, by type.
    unselected: BTreeMap<String, u64>,
    /// How often something could not be read.
    damages: u64,
    too_large_throttle: LogThrottle,
}

/// A stream, and how far it has got.
#[derive(Debug)]
struct StreamProgress {
    table: Table,
    position: StreamPosition,
    /// The records that this run has written to it.
    records: u64,
}

impl StreamProgress {
    fn id(&self) -> StreamId {
        self.position.stream
    }

    fn note_record(&mut self, sequence: Sequence) {
        self.position.last_record = Some(sequence);
        self.records += 1;
    }
}

/// Whether a stream has events of this type (`None`: of a type that Mailjet does not document).
fn has_event(id: StreamId, event_type: Option<EventType>) -> bool {
    match id {
        StreamId::Data => true,
        StreamId::Event(own) => event_type == Some(own),
        StreamId::Rejected => false,
    }
}

/// Returns the type of an event, if anything depends on it.
fn type_of(event: &Event<'_>, depends_on_type: bool) -> Option<EventType> {
    let name = if depends_on_type { event::type_name(event.members.text) } else { None };
    EventType::from_name(&name?)
}

impl Streams {
    /// Applies `spec` to those of `ids` that it selects, with the columns that appeared before.
    pub(super) fn new(
        spec: &OutputSpec,
        ids: impl IntoIterator<Item = StreamId>,
        discovered: &[DiscoveredColumn],
    ) -> Result<Self, CatalogError> {
        let mut selected = Vec::new();
        for id in ids {
            if let Some(selection) = spec.selection.stream(id) {
                let stream = stream_with_discovered_columns(
                    id,
                    &spec.system_prefix,
                    discovered,
                    spec.columns.extra_column,
                );
                let table = Table::new(stream, selection, spec.columns)?;
                let position = StreamPosition::new(id, Sequence::START);
                selected.push(StreamProgress { table, position, records: 0 });
            }
        }
        let depends_on_type = selected.iter().any(|stream| matches!(stream.id(), StreamId::Event(_)))
            || selected.iter().all(|stream| stream.id() != StreamId::Data);
        Ok(Streams {
            selected,
            records: RecordWriter::default(),
            depends_on_type,
            unselected: BTreeMap::new(),
            damages: 0,
            too_large_throttle: LogThrottle::default(),
        })
    }

    pub(super) fn ids(&self) -> Vec<StreamId> {
        self.selected.iter().map(StreamProgress::id).collect()
    }

    /// Continues from `positions`, which has one for each selected stream.
    pub(super) fn start_at(&mut self, positions: &Positions) {
        for (stream, position) in self.selected.iter_mut().zip(&positions.0) {
            stream.position = *position;
        }
    }

    pub(super) fn positions(&self) -> Positions {
        Positions(self.selected.iter().map(|stream| stream.position).collect())
    }

    pub(super) fn record_counts(&self) -> Vec<(StreamId, u64)> {
        self.selected.iter().map(|stream| (stream.id(), stream.records)).collect()
    }

    /// Removes the columns that the registry no longer remembers, and appends the SCHEMAs that have changed.
    /// `discovered` has the columns that it does remember.
    pub(super) fn forget_columns(&mut self, discovered: &[DiscoveredColumn], out: &mut Vec<u8>) {
        for stream in &mut self.selected {
            if stream.table.forget_columns(discovered) {
                stream.table.write_schema(out);
            }
        }
        // What it keeps is computed from the columns of the tables.
        self.records = RecordWriter::default();
    }

    pub(super) fn write_schemas(&self, out: &mut Vec<u8>) {
        for stream in &self.selected {
            stream.table.write_schema(out);
        }
    }

    /// Appends an event to each stream that has it and is not past it. Returns the number of records.
    ///
    /// `add_columns` gets new columns before anything with a value in them is written. If there are any,
    /// those of the `following` events are added with them, so that they take one SCHEMA together.
    ///
    /// A row that is longer than [`MAX_ROW_BYTES`] is not written. The event then goes, whole, to the
    /// stream of rejected items.
    pub(super) fn write_event<E>(
        &mut self,
        event: &Event<'_>,
        following: Following<'_>,
        batched_at: UnixMillis,
        out: &mut Vec<u8>,
        mut add_columns: impl FnMut(&[DiscoveredColumn]) -> Result<(), E>,
    ) -> Result<u64, E> {
        let depends_on_type = self.depends_on_type;
        let type_name = if depends_on_type { event::type_name(event.members.text) } else { None };
        let event_type = type_name.as_deref().and_then(EventType::from_name);
        let mut writer = self.records.event(event, batched_at);
        let (mut records, mut has_stream, mut is_too_long) = (0, false, false);
        for (index, stream) in self.selected.iter_mut().enumerate() {
            if !has_event(stream.id(), event_type) {
                continue;
            }
            has_stream = true;
            if event.sequence <= stream.position.bookmark {
                continue;
            }
            let id = stream.id();
            let following = following.events().filter(|event| has_event(id, type_of(event, depends_on_type)));
            let start = writer.write(index, &mut stream.table, following, out, &mut add_columns)?;
            if out.len() - start > MAX_ROW_BYTES {
                out.truncate(start);
                is_too_long = true;
            } else {
                stream.note_record(event.sequence);
                records += 1;
            }
        }
        if is_too_long {
            let (sequence, received_at) = (event.sequence, event.received_at);
            let item =
                StoredItem { sequence, received_at, reason: None, body: event.members.text.as_bytes() };
            let reason = format!("its row would be longer than {} MiB", MAX_ROW_BYTES >> 20);
            records += self.reject_event(item, &reason, batched_at, out);
        }
        if !has_stream {
            self.count_unselected(type_name.unwrap_or_default().into_owned());
        }
        self.advance(ItemKind::Event, event.sequence);
        Ok(records)
    }

    /// Appends a rejected item to the stream of rejected items, if that is selected. Returns the number of
    /// records.
    pub(super) fn write_rejected(
        &mut self,
        item: StoredItem<'_>,
        batched_at: UnixMillis,
        out: &mut Vec<u8>,
    ) -> u64 {
        let stream = self.write_rejected_row(item, batched_at, out);
        let records = stream.map_or(0, |stream| {
            stream.note_record(item.sequence);
            1
        });
        self.advance(ItemKind::Rejected, item.sequence);
        records
    }

    /// Appends an event that has too many values for a row to the stream of rejected items, if that is
    /// selected. Returns the number of records.
    pub(super) fn write_too_many_values(
        &mut self,
        item: StoredItem<'_>,
        batched_at: UnixMillis,
        out: &mut Vec<u8>,
    ) -> u64 {
        let mut streams = self.selected.iter().filter(|stream| stream.position.kind() == ItemKind::Event);
        let records = match streams.any(|stream| item.sequence > stream.position.bookmark) {
            true => {
                self.reject_event(item, &format!("it has more than {MAX_VALUES} values"), batched_at, out)
            }
            false => 0,
        };
        self.advance(ItemKind::Event, item.sequence);
        records
    }

    /// Appends an event that cannot be a row to the stream of rejected items, if that is selected. Like the
    /// row for damage, this is not a record of the stream's own.
    fn reject_event(
        &mut self,
        item: StoredItem<'_>,
        why: &str,
        batched_at: UnixMillis,
        out: &mut Vec<u8>,
    ) -> u64 {
        let sequence = item.sequence;
        let reason = format!("the event is too large for a row: {why}");
        let item = StoredItem { reason: Some(&reason), ..item };
        let is_written = self.write_rejected_row(item, batched_at, out).is_some();
        if let Some(suppressed) = self.too_large_throttle.allow() {
            let consequence = match is_written {
                true => "it goes to the stream _sdc_rejected",
                false => "it is not written, because the stream _sdc_rejected is not selected",
            };
            warn!("event {sequence}: {reason}; {consequence}{suppressed}");
        }
        u64::from(is_written)
    }

    /// Skips items that cannot be read. Appends a row that says so to the stream of rejected items, if that
    /// is selected. Returns the number of records.
    ///
    /// The row is not a record of the stream's own: damaged events move only the bookmarks of the streams of
    /// events, so the row is written again exactly if they are.
    pub(super) fn write_damage(
        &mut self,
        kind: ItemKind,
        damage: &Damage,
        batched_at: UnixMillis,
        out: &mut Vec<u8>,
    ) -> u64 {
        let Damage { after, through, reason } = damage;
        let from = after.next();
        let what = if from == *through {
            format!("the item with sequence {through}")
        } else {
            format!("items with sequences from {from} to {through}")
        };
        let reason = format!("the spool is damaged: {what} cannot be read ({reason})");
        warn!("{reason}; skipped. `spool verify` shows details");
        self.damages += 1;
        // The row's key is a hash of this text, which no other row has.
        let body = format!(r#"{{"damaged_from":{from},"damaged_through":{through}}}"#);
        let (sequence, reason, body) = (*through, Some(reason.as_str()), body.as_bytes());
        let item = StoredItem { sequence, received_at: batched_at, reason, body };
        let records = u64::from(self.write_rejected_row(item, batched_at, out).is_some());
        self.advance(kind, *through);
        records
    }

    /// Appends a row to the stream of rejected items. Returns that stream if it is selected.
    fn write_rejected_row(
        &mut self,
        item: StoredItem<'_>,
        batched_at: UnixMillis,
        out: &mut Vec<u8>,
    ) -> Option<&mut StreamProgress> {
        let stream = self.selected.iter_mut().find(|stream| stream.id() == StreamId::Rejected)?;
        self.records.write_rejected(&stream.table, item, batched_at, out);
        Some(stream)
    }

    /// Notes that all streams with items of this kind have got up to `sequence`.
    fn advance(&mut self, kind: ItemKind, sequence: Sequence) {
        for position in self.selected.iter_mut().map(|stream| &mut stream.position) {
            if position.kind() == kind {
                position.bookmark = position.bookmark.max(sequence);
            }
        }
    }

    /// Counts an event that no selected stream has, and logs a warning at the first one of its type.
    fn count_unselected(&mut self, mut type_name: String) {
        // A sender may have given it any length.
        if let Some((end, _)) = type_name.char_indices().nth(MAX_NAME_CHARACTERS) {
            type_name.truncate(end);
            type_name.push('…');
        }
        if self.unselected.len() >= MAX_TYPES && !self.unselected.contains_key(&type_name) {
            "(others)".clone_into(&mut type_name);
        }
        match self.unselected.entry(type_name) {
            Entry::Occupied(mut count) => *count.get_mut() += 1,
            Entry::Vacant(new) => {
                warn!(
                    "no selected stream has events of type \"{}\": they are not written, and are deleted \
                     after retention_days",
                    new.key().escape_debug()
                );
                new.insert(1);
            }
        }
    }

    /// Logs, at the end of a run, what was not written.
    pub(super) fn log_unwritten(&self) {
        for (name, count) in &self.unselected {
            let name = name.escape_debug();
            warn!("{count} events of type \"{name}\" were not written: no selected stream has them");
        }
        if self.damages > 0 {
            warn!("the spool is damaged in {} places, which were skipped", self.damages);
        }
    }
}
