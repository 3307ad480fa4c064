//! RECORD messages, put together from the layout of an event, its row and the system columns.

use catalog::column::{ColumnSource, ColumnType};
use catalog::members::json_string;

use super::Event;
use super::field_layout::{FieldLayout, LayoutCache};
use super::frame::{SystemValues, begin_record, begin_value, end_record};
use super::primary_key::{CanonicalOrder, PrimaryKey};
use super::rejected::RejectedRecord;
use super::table::Table;
use crate::os::clock::UnixMillis;
use crate::spool::{CUT_BODY_BYTES, DiscoveredColumn, StoredItem};

/// Writes RECORD messages. It keeps what the next one can reuse.
#[derive(Debug, Default)]
pub(crate) struct RecordWriter {
    /// A buffer for the canonical text of an event.
    canonical: Vec<u8>,
    layouts: LayoutCache,
    received_at: MomentText,
    batched_at: MomentText,
}

/// An event of which a RECORD can be written to each stream that has it.
pub(crate) struct EventWriter<'w, 'e> {
    event: &'e Event<'e>,
    layout: Option<&'w mut FieldLayout>,
    system: SystemValues<'w>,
}

impl RecordWriter {
    /// Computes what all RECORDs of an event have in common. `batched_at` is now.
    pub(crate) fn event<'w, 'e>(
        &'w mut self,
        event: &'e Event<'e>,
        batched_at: UnixMillis,
    ) -> EventWriter<'w, 'e> {
        let layout = if event.unreadable.is_none() { self.layouts.layout_of(event.members) } else { None };
        let mut hash = |order: &_| PrimaryKey::hash_event(event.members, order, &mut self.canonical);
        let key = match (event.unreadable, &layout) {
            (Some(unreadable), _) => unreadable.key,
            (None, Some(layout)) => hash(&layout.order),
            (None, None) => hash(&CanonicalOrder::new(event.members)),
        };
        let received_at = self.received_at.get(event.received_at);
        let batched_at = self.batched_at.get(batched_at);
        let system = SystemValues { key, sequence: event.sequence, received_at, batched_at };
        EventWriter { event, layout, system }
    }

    /// Appends the RECORD of a rejected item to `out`. `batched_at` is now.
    pub(crate) fn write_rejected(
        &mut self,
        table: &Table,
        item: StoredItem<'_>,
        batched_at: UnixMillis,
        out: &mut Vec<u8>,
    ) {
        // Two items that were cut may differ only in what was cut off, so their sequences tell them apart.
        let key = match item.body.len() == CUT_BODY_BYTES {
            false => PrimaryKey::hash(item.body),
            true => PrimaryKey::hash(&[item.body, &item.sequence.get().to_be_bytes()].concat()),
        };
        let record = RejectedRecord::new(item.body);
        let received_at = self.received_at.get(item.received_at);
        let batched_at = self.batched_at.get(batched_at);
        let system = SystemValues { key, sequence: item.sequence, received_at, batched_at };
        write_record(table, &system, out, |_, source, out| {
            let text = match source {
                // The table that it was meant for.
                ColumnSource::TableName => json_string("data"),
                ColumnSource::Reason => json_string(item.reason.unwrap_or_default()),
                ColumnSource::Record => json_string(&record.text),
                ColumnSource::RecordBase64 => record.base64.as_deref().map_or("null".to_owned(), json_string),
                _ => "null".to_owned(),
            };
            out.extend_from_slice(text.as_bytes());
        });
    }
}

impl EventWriter<'_, '_> {
    /// Appends the event's RECORD in `table`, the selected stream at `stream_index`, to `out`.
    ///
    /// If that adds columns to the table, those of the `following` events of the stream are added with them.
    /// `add_columns` gets them first, and a SCHEMA goes before the RECORD. Returns where the RECORD starts.
    pub(crate) fn write<'f, E>(
        &mut self,
        stream_index: usize,
        table: &mut Table,
        following: impl Iterator<Item = Event<'f>>,
        out: &mut Vec<u8>,
        add_columns: impl FnOnce(&[DiscoveredColumn]) -> Result<(), E>,
    ) -> Result<usize, E> {
        let mut start = out.len();
        let EventWriter { event, layout, system } = self;
        let template =
            layout.as_mut().and_then(|layout| layout.templates.get(stream_index, table, event.members));
        if template.is_some_and(|template| template.write(table, event.members, system, out)) {
            return Ok(start);
        }
        let row = table.place(event);
        if !table.new_columns.is_empty() {
            following.for_each(|event| drop(table.place(&event)));
        }
        let new_columns = std::mem::take(&mut table.new_columns);
        if !new_columns.is_empty() {
            add_columns(&new_columns)?;
            if table.selects_any(&new_columns) {
                table.write_schema(out);
                start = out.len();
            }
        }
        write_record(table, system, out, |column, source, out| match source {
            ColumnSource::Extra if table.columns[column].column_type == ColumnType::Text => {
                row.write_extra_as_text(out);
            }
            ColumnSource::Extra => row.write_extra(out),
            _ => out.extend_from_slice(row.json(column).as_bytes()),
        });
        Ok(start)
    }
}

/// Appends a RECORD to `out`. `write_value` appends the value of a column that is not a system column.
fn write_record(
    table: &Table,
    system: &SystemValues<'_>,
    out: &mut Vec<u8>,
    mut write_value: impl FnMut(usize, ColumnSource, &mut Vec<u8>),
) {
    begin_record(table, out);
    for (position, (index, column)) in table.selected_columns().enumerate() {
        begin_value(position, column, out);
        if !system.write(column.source, out) {
            write_value(index, column.source, out);
        }
    }
    end_record(system, out);
}

/// The text of the last moment that was asked for: neighbouring events usually share it.
#[derive(Debug, Default)]
struct MomentText {
    moment: Option<UnixMillis>,
    text: String,
}

impl MomentText {
    fn get(&mut self, moment: UnixMillis) -> &str {
        if self.moment != Some(moment) {
            self.moment = Some(moment);
            self.text = moment.to_rfc3339();
        }
        &self.text
    }
}
