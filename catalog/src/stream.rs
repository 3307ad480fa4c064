//! The tables that the tap offers, and the columns of each.

use serde_json::{Map, Value};

use crate::column::{Column, ColumnSource, ColumnType};
use crate::event::{Event, EventType, Rejected, SystemColumns};
use crate::schema::properties_of;

/// Name of the column that holds a row's key.
pub const PRIMARY_KEY_COLUMN: &str = "__sdc_primary_key";
/// Name of the column that holds, as one JSON object, whatever has no column of its own.
pub const EXTRA_COLUMN: &str = "_sdc_extra";
/// What the names of the other system columns start with, unless the configuration says otherwise.
pub const DEFAULT_SYSTEM_PREFIX: &str = "_sdc_";
/// How many columns a stream may have; what comes later has its place in [`EXTRA_COLUMN`].
pub const MAX_COLUMNS: usize = 500;

/// Which table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamId {
    /// Every event, whatever its type. The table that Stitch's integration made.
    Data,
    /// The events of one type.
    Event(EventType),
    /// What was received and is no event.
    Rejected,
}

impl StreamId {
    /// All streams, in the order in which the catalog lists them.
    pub fn all() -> impl Iterator<Item = StreamId> {
        let events = EventType::ALL.into_iter().map(StreamId::Event);
        std::iter::once(StreamId::Data).chain(events).chain([StreamId::Rejected])
    }

    /// Name of the stream, which targets take as the name of the table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            StreamId::Data => "data",
            StreamId::Event(event) => event.name(),
            StreamId::Rejected => "_sdc_rejected",
        }
    }

    /// Whether the stream is written when nobody says otherwise. An event is written once then, and not
    /// twice.
    #[must_use]
    pub fn is_selected_by_default(self) -> bool {
        !matches!(self, StreamId::Event(_))
    }
}

/// A table as the tap can write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// Which one.
    pub id: StreamId,
    /// Its columns, in the order in which they are written: the event's own, the system's, those that
    /// appeared.
    pub columns: Vec<Column>,
}

impl Stream {
    /// A stream with its documented columns, the system columns among them named with `system_prefix`.
    #[must_use]
    pub fn new(id: StreamId, system_prefix: &str) -> Self {
        let mut columns = match id {
            StreamId::Data => columns_of(&properties_of::<Event>()),
            StreamId::Event(event) => event_columns(event),
            StreamId::Rejected => columns_of(&properties_of::<Rejected>()),
        };
        columns.extend(columns_of(&properties_of::<SystemColumns>()).into_iter().map(|mut column| {
            if let Some(name) = column.name.strip_prefix(DEFAULT_SYSTEM_PREFIX) {
                column.name = format!("{system_prefix}{name}");
            }
            column
        }));
        Stream { id, columns }
    }

    /// Name of the replication key.
    #[must_use]
    pub fn replication_key(&self) -> &str {
        self.columns
            .iter()
            .find(|column| column.source == ColumnSource::Sequence)
            .map_or("", |column| &column.name)
    }

    /// Whether a column is one for the values of another that do not fit that one.
    #[must_use]
    pub fn is_split(&self, column: &Column) -> bool {
        let of =
            column.name.strip_suffix(column.kind.split_suffix()).and_then(|name| name.strip_suffix("__"));
        column.source == ColumnSource::Field
            && self.columns.iter().any(|other| Some(other.name.as_str()) == of)
    }

    /// The stream's JSON Schema, as it stands in the catalog.
    #[must_use]
    pub fn json_schema(&self) -> Value {
        let properties: Map<String, Value> =
            self.columns.iter().map(|column| (column.name.clone(), column.json_schema())).collect();
        serde_json::json!({ "type": "object", "properties": properties })
    }
}

/// A column that is not documented: it appeared in an event.
#[must_use]
pub fn discovered_column(name: String, kind: ColumnType) -> Column {
    let (source, description) = if name == EXTRA_COLUMN {
        (ColumnSource::Extra, "Whatever has no column of its own: field name to value.")
    } else {
        (ColumnSource::Field, "Not documented by Mailjet; of the type that it had when it first appeared.")
    };
    Column { name, kind, nullable: true, source, description: description.to_owned() }
}

/// The fields that Mailjet documents for one kind of event.
#[must_use]
pub fn event_columns(event: EventType) -> Vec<Column> {
    let mut properties = properties_of::<Event>();
    properties.retain(|_, schema| match schema["x-events"].as_array() {
        Some(events) => events.iter().any(|name| name == event.name()),
        None => true,
    });
    columns_of(&properties)
}

/// The columns that a documented struct describes.
fn columns_of(properties: &Map<String, Value>) -> Vec<Column> {
    properties.iter().map(|(name, schema)| column(name, schema)).collect()
}

/// Reads one property of a derived schema. The structs are ours, so anything else than the types below is a
/// mistake in them, which the first test that runs finds.
fn column(name: &str, schema: &Value) -> Column {
    let kind = match ColumnType::from_schema(schema) {
        Some(ColumnType::Text) if schema["format"] == "date-time" => ColumnType::Timestamp,
        Some(kind) => kind,
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
        _ => ColumnSource::Field,
    };
    let description = schema["description"].as_str().expect("every field is documented");
    // A doc comment that is wrapped is still one sentence.
    let description = description.split_whitespace().collect::<Vec<_>>().join(" ");
    Column { name: name.to_owned(), kind, nullable: schema["type"].is_array(), source, description }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(id: StreamId, prefix: &str) -> Vec<String> {
        Stream::new(id, prefix).columns.into_iter().map(|column| column.name).collect()
    }

    #[test]
    fn data_has_mailjets_23_fields_and_the_system_columns() {
        let stream = Stream::new(StreamId::Data, DEFAULT_SYSTEM_PREFIX);
        let names: Vec<_> = stream.columns.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(
            names.join(" "),
            "event time MessageID Message_GUID email mj_campaign_id mj_contact_id customcampaign CustomID Payload \
             mj_message_id smtp_reply ip geo agent url blocked hard_bounce error_related_to error comment source \
             mj_list_id __sdc_primary_key _sdc_sequence _sdc_received_at _sdc_batched_at _sdc_table_version"
        );
        let nullable = stream.columns.iter().filter(|column| column.nullable).count();
        assert_eq!(nullable, 23, "a field of Mailjet's may be missing, a system column always has a value");
    }

    #[test]
    fn each_event_has_mailjets_fields() {
        let counts = EventType::ALL.map(|event| (event.name(), event_columns(event).len()));
        let expected = [
            ("sent", 12),
            ("open", 13),
            ("click", 14),
            ("bounce", 15),
            ("blocked", 12),
            ("spam", 11),
            ("unsub", 14),
        ];
        assert_eq!(counts, expected);
    }

    #[test]
    fn the_prefix_renames_four_system_columns_and_the_replication_key() {
        let names = names(StreamId::Rejected, "_mailjet_");
        assert_eq!(
            names.join(" "),
            "_sdc_rejected_at table_name reason record __sdc_primary_key _mailjet_sequence _mailjet_received_at \
             _mailjet_batched_at _mailjet_table_version"
        );
        assert_eq!(Stream::new(StreamId::Data, "_mailjet_").replication_key(), "_mailjet_sequence");
    }
}
