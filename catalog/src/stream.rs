//! The streams that the tap offers, and the columns of each.

use schemars::JsonSchema;
use serde_json::{Map, Value};

use crate::column::{Column, ColumnSource, ColumnType};
use crate::event::{Event, EventType, Rejected, SystemColumns};
use crate::schema::properties_of;

/// Name of the column that holds a row's key.
pub const PRIMARY_KEY_COLUMN: &str = "__sdc_primary_key";
/// Name of the column that holds, as one JSON object, the values that have no column of their own.
pub const EXTRA_COLUMN: &str = "_sdc_extra";
/// Prefix of the other system columns, unless the configuration sets another.
pub const DEFAULT_SYSTEM_PREFIX: &str = "_sdc_";

/// Identifies a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamId {
    /// Every event of every type: the table that Stitch's integration creates.
    Data,
    /// The events of one type.
    Event(EventType),
    /// Received items that are not events.
    Rejected,
}

impl StreamId {
    /// Iterates over all streams, in the order of the catalog.
    pub fn all() -> impl Iterator<Item = StreamId> {
        let events = EventType::ALL.into_iter().map(StreamId::Event);
        std::iter::once(StreamId::Data).chain(events).chain([StreamId::Rejected])
    }

    /// Returns the stream with this name.
    pub fn from_name(name: &str) -> Option<StreamId> {
        StreamId::all().find(|id| id.name() == name)
    }

    /// Returns the stream's name, which targets use as the table's name.
    pub fn name(self) -> &'static str {
        match self {
            StreamId::Data => "data",
            StreamId::Event(event) => event.name(),
            StreamId::Rejected => "_sdc_rejected",
        }
    }

    /// Whether the stream is selected unless a catalog says otherwise. The streams of single types are not:
    /// each event would be written twice.
    pub fn is_selected_by_default(self) -> bool {
        !matches!(self, StreamId::Event(_))
    }
}

/// A stream as the tap can write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// Which stream it is.
    pub id: StreamId,
    /// Its columns in the order in which they are written: the event's fields, the system columns, the
    /// discovered columns.
    pub columns: Vec<Column>,
    /// How many of the columns are documented. They come first.
    pub documented: usize,
}

impl Stream {
    /// A stream with its documented columns. The names of the system columns start with `system_prefix`.
    pub fn new(id: StreamId, system_prefix: &str) -> Self {
        let mut columns = match id {
            StreamId::Data => columns_of::<Event>(),
            StreamId::Event(event) => event_columns(event),
            StreamId::Rejected => columns_of::<Rejected>(),
        };
        columns.extend(columns_of::<SystemColumns>().into_iter().map(|mut column| {
            if let Some(name) = column.name.strip_prefix(DEFAULT_SYSTEM_PREFIX) {
                column.name = format!("{system_prefix}{name}");
            }
            column
        }));
        Stream { id, documented: columns.len(), columns }
    }

    /// Whether a column of this name cannot be left out, if system columns start with `system_prefix`.
    pub fn is_automatic(name: &str, system_prefix: &str) -> bool {
        name == PRIMARY_KEY_COLUMN || name.strip_prefix(system_prefix) == Some("sequence")
    }

    /// Whether a name is that of a system column, whatever the prefix.
    pub fn is_system(name: &str) -> bool {
        let columns = columns_of::<SystemColumns>();
        let mut names = columns.iter().filter_map(|column| column.name.strip_prefix(DEFAULT_SYSTEM_PREFIX));
        name == PRIMARY_KEY_COLUMN || names.any(|system| name.ends_with(&format!("_{system}")))
    }

    /// Returns the name of the replication key.
    pub fn replication_key(&self) -> &str {
        let mut columns = self.columns.iter();
        columns.find(|column| column.source == ColumnSource::Sequence).map_or("", |column| &column.name)
    }

    /// Whether a column is a split column: it holds the values that do not fit another column.
    pub fn is_split(&self, column: &Column) -> bool {
        let suffix = column.column_type.split_suffix();
        let original = column.name.strip_suffix(suffix).and_then(|name| name.strip_suffix("__"));
        column.source == ColumnSource::Field
            && self.columns.iter().any(|other| Some(other.name.as_str()) == original)
    }

    /// Returns the stream's JSON Schema, as in the catalog.
    pub fn json_schema(&self) -> Value {
        let properties: Map<String, Value> =
            self.columns.iter().map(|column| (column.name.clone(), column.json_schema())).collect();
        serde_json::json!({ "type": "object", "properties": properties })
    }
}

/// A column for a field that Mailjet does not document, or the column for values without a column.
pub fn discovered_column(name: String, column_type: ColumnType) -> Column {
    let (source, description) = if name == EXTRA_COLUMN {
        (ColumnSource::Extra, "Values that have no column of their own: field name to value.")
    } else {
        (ColumnSource::Field, "Not documented by Mailjet. The type is that of the first value that appeared.")
    };
    Column { name, column_type, nullable: true, source, description: description.to_owned() }
}

/// Returns a column for each field that Mailjet documents for one type of event.
pub fn event_columns(event: EventType) -> Vec<Column> {
    let mut properties = properties_of::<Event>();
    let has_event = |events: &Vec<Value>| events.iter().any(|name| name == event.name());
    properties.retain(|_, schema| schema["x-events"].as_array().is_none_or(has_event));
    properties.iter().map(|(name, schema)| column(name, schema)).collect()
}

/// Returns the columns that a documented struct describes.
fn columns_of<T: JsonSchema>() -> Vec<Column> {
    properties_of::<T>().iter().map(|(name, schema)| column(name, schema)).collect()
}

/// Reads one property of a derived schema. Panics if no column can have its type: that is a mistake in our
/// structs, which any test finds.
fn column(name: &str, schema: &Value) -> Column {
    let column_type = match ColumnType::from_schema(schema) {
        Some(ColumnType::Text) if schema["format"] == "date-time" => ColumnType::Timestamp,
        Some(column_type) => column_type,
        None => panic!("column {name}: no column type for {schema}"),
    };
    let source = match name {
        PRIMARY_KEY_COLUMN => ColumnSource::PrimaryKey,
        "_sdc_sequence" => ColumnSource::Sequence,
        "_sdc_received_at" | "_sdc_rejected_at" => ColumnSource::ReceivedAt,
        "_sdc_batched_at" => ColumnSource::BatchedAt,
        "_sdc_table_version" => ColumnSource::TableVersion,
        "table_name" => ColumnSource::TableName,
        "reason" => ColumnSource::Reason,
        "record" => ColumnSource::Record,
        "record_base64" => ColumnSource::RecordBase64,
        _ => ColumnSource::Field,
    };
    let description = schema["description"].as_str().expect("every field is documented");
    // A doc comment may be wrapped; its description is one line.
    let description = description.split_whitespace().collect::<Vec<_>>().join(" ");
    Column { name: name.to_owned(), column_type, nullable: schema["type"].is_array(), source, description }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(stream: &Stream) -> String {
        stream.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn data_has_mailjets_23_fields_and_the_system_columns() {
        let stream = Stream::new(StreamId::Data, DEFAULT_SYSTEM_PREFIX);
        assert_eq!(
            names(&stream),
            "event time MessageID Message_GUID email mj_campaign_id mj_contact_id customcampaign CustomID \
             Payload mj_message_id smtp_reply ip geo agent url blocked hard_bounce error_related_to error \
             comment source mj_list_id __sdc_primary_key _sdc_sequence _sdc_received_at _sdc_batched_at \
             _sdc_table_version"
        );
        let nullable = stream.columns.iter().filter(|column| column.nullable).count();
        assert_eq!(nullable, 23, "only Mailjet's fields may be missing");
    }

    #[test]
    fn each_event_type_has_the_fields_that_mailjet_documents() {
        let counts = EventType::ALL.map(|event| format!("{} {}", event.name(), event_columns(event).len()));
        assert_eq!(counts.join(", "), "sent 12, open 13, click 14, bounce 15, blocked 12, spam 11, unsub 14");
    }

    #[test]
    fn the_prefix_renames_four_system_columns_and_the_replication_key() {
        assert_eq!(
            names(&Stream::new(StreamId::Rejected, "_mailjet_")),
            "_sdc_rejected_at table_name reason record record_base64 __sdc_primary_key _mailjet_sequence \
             _mailjet_received_at _mailjet_batched_at _mailjet_table_version"
        );
        assert_eq!(Stream::new(StreamId::Data, "_mailjet_").replication_key(), "_mailjet_sequence");
    }
}
