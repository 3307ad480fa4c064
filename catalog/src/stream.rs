//! The tables that the tap offers, and the columns of each.

use serde_json::{Map, Value};

use crate::column::{Column, ColumnType};
use crate::event::{Event, EventType, SystemColumns};
use crate::settings::properties_of;

/// Name of the column that holds a row's key.
pub const PRIMARY_KEY: &str = "__sdc_primary_key";
/// Name of the column that holds a row's sequence: the replication key and the bookmark.
pub const SEQUENCE: &str = "_sdc_sequence";
/// Name of the column that holds when the webhook arrived.
pub const RECEIVED_AT: &str = "_sdc_received_at";
/// Name of the column that holds when the row was written to the target.
pub const BATCHED_AT: &str = "_sdc_batched_at";
/// Name of the column that holds the version of the table.
pub const TABLE_VERSION: &str = "_sdc_table_version";
/// Name of the column that holds, as one JSON object, whatever has no column of its own.
pub const EXTRA: &str = "_sdc_extra";

/// A table as the tap can write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// Name of the stream, which targets take as the name of the table.
    pub name: &'static str,
    /// The event's own columns, in the order in which they are written.
    pub fields: Vec<Column>,
    /// The columns that the tap adds, after the event's own.
    pub system: Vec<Column>,
}

impl Stream {
    /// `data`: every event, whatever its type. The table that Stitch's integration made.
    #[must_use]
    pub fn data() -> Self {
        let mut fields: Vec<_> =
            properties_of::<Event>().iter().map(|(name, schema)| column(name, schema)).collect();
        fields.push(Column {
            name: EXTRA.to_owned(),
            kind: ColumnType::Object,
            nullable: true,
            description:
                "Whatever has no column of its own, or does not fit it: field name to value, unchanged."
                    .to_owned(),
        });
        let system =
            properties_of::<SystemColumns>().iter().map(|(name, schema)| column(name, schema)).collect();
        Stream { name: "data", fields, system }
    }

    /// All columns, in the order in which they are written.
    pub fn columns(&self) -> impl Iterator<Item = &Column> {
        self.fields.iter().chain(&self.system)
    }

    /// Columns that together identify a row.
    #[must_use]
    pub fn key_properties(&self) -> [&'static str; 1] {
        [PRIMARY_KEY]
    }

    /// The stream's JSON Schema, as it stands in a SCHEMA message and in the catalog.
    #[must_use]
    pub fn json_schema(&self) -> Value {
        let properties: Map<String, Value> =
            self.columns().map(|column| (column.name.clone(), column.json_schema())).collect();
        serde_json::json!({ "type": "object", "properties": properties })
    }
}

/// The fields that Mailjet documents for one kind of event.
#[must_use]
pub fn fields_of(event: EventType) -> Vec<Column> {
    let has_field = |schema: &Value| match schema["x-events"].as_array() {
        Some(events) => events.iter().any(|name| name == event.name()),
        None => true,
    };
    let properties = properties_of::<Event>();
    properties
        .iter()
        .filter(|(_, schema)| has_field(schema))
        .map(|(name, schema)| column(name, schema))
        .collect()
}

/// Reads one property of a derived schema. The structs are ours, so anything else than the types below is a mistake in
/// them, which the first test that runs finds.
fn column(name: &str, schema: &Value) -> Column {
    let (kind, nullable) = match &schema["type"] {
        Value::String(kind) => (kind.as_str(), false),
        Value::Array(kinds) => (kinds[0].as_str().expect("a type is named by text"), true),
        other => panic!("column {name}: no type in the derived schema, but {other}"),
    };
    let is_timestamp = schema["format"] == "date-time";
    let kind = match kind {
        "string" if is_timestamp => ColumnType::Timestamp,
        "string" => ColumnType::Text,
        "integer" => ColumnType::Integer,
        "boolean" => ColumnType::Boolean,
        other => panic!("column {name}: no column type for {other}"),
    };
    let description = schema["description"].as_str().expect("every field is documented");
    // A doc comment that is wrapped is still one sentence.
    let description = description.split_whitespace().collect::<Vec<_>>().join(" ");
    Column { name: name.to_owned(), kind, nullable, description }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_has_mailjets_23_fields_and_the_system_columns() {
        let stream = Stream::data();
        let names: Vec<_> = stream.columns().map(|column| column.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "event",
                "time",
                "MessageID",
                "Message_GUID",
                "email",
                "mj_campaign_id",
                "mj_contact_id",
                "customcampaign",
                "CustomID",
                "Payload",
                "mj_message_id",
                "smtp_reply",
                "ip",
                "geo",
                "agent",
                "url",
                "blocked",
                "hard_bounce",
                "error_related_to",
                "error",
                "comment",
                "source",
                "mj_list_id",
                EXTRA,
                PRIMARY_KEY,
                SEQUENCE,
                RECEIVED_AT,
                BATCHED_AT,
                TABLE_VERSION,
            ]
        );
        assert!(stream.fields.iter().all(|column| column.nullable), "a field of Mailjet's may be missing");
        assert!(stream.system.iter().all(|column| !column.nullable), "a system column always has a value");
    }

    #[test]
    fn each_event_has_mailjets_fields() {
        let counts = EventType::ALL.map(|event| (event.name(), fields_of(event).len()));
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
}
