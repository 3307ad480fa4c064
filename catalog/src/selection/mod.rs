//! The Singer catalog: `--discover` prints it, and `--catalog` reads it with streams and columns selected.

mod columns;
mod metadata;
mod read;
mod stream;
mod warnings;

use std::collections::BTreeMap;

use serde_json::{Value, json};

pub use self::stream::StreamSelection;
use crate::byte_order_mark::without_byte_order_mark;
use crate::stream::{PRIMARY_KEY_COLUMN, Stream, StreamId};

/// The columns that `--discover` knew, in the metadata of a stream.
const KNOWN_COLUMNS: &str = "tap-mailjet-webhooks.columns";
/// The only replication method of the tap.
const INCREMENTAL: &str = "INCREMENTAL";

/// Returns the catalog of these streams, as `--discover` prints it.
pub fn catalog_of(streams: impl IntoIterator<Item = Stream>) -> Value {
    json!({ "streams": streams.into_iter().map(|stream| entry(&stream)).collect::<Vec<_>>() })
}

fn entry(stream: &Stream) -> Value {
    // The metadata of the stream itself has an empty breadcrumb.
    let mut metadata = vec![json!({
        "breadcrumb": [],
        "metadata": {
            "inclusion": "available",
            "selected-by-default": stream.id.is_selected_by_default(),
            "table-key-properties": [PRIMARY_KEY_COLUMN],
            "forced-replication-method": INCREMENTAL,
            "valid-replication-keys": [stream.replication_key()],
            // Tells a column that was deleted from the schema from one that appeared later.
            KNOWN_COLUMNS: stream.columns.iter().map(|column| &column.name).collect::<Vec<_>>(),
        },
    })];
    // Every column has its own metadata, because Meltano treats a column without metadata as "automatic",
    // which cannot be deselected. For a split column, that is what we want: it follows its field, and a user
    // who lists the wanted columns cannot know of it.
    metadata.extend(stream.columns.iter().map(|column| {
        let of_column = if column.is_automatic() || stream.is_split(column) {
            json!({ "inclusion": "automatic" })
        } else {
            json!({ "inclusion": "available", "selected-by-default": true })
        };
        json!({ "breadcrumb": ["properties", column.name], "metadata": of_column })
    }));
    json!({
        "tap_stream_id": stream.id.name(),
        "stream": stream.id.name(),
        "key_properties": [PRIMARY_KEY_COLUMN],
        "replication_method": INCREMENTAL,
        "replication_key": stream.replication_key(),
        "schema": stream.json_schema(),
        "metadata": metadata,
    })
}

/// The streams and columns that a run writes: those that a catalog selects, or the default ones.
#[derive(Debug, Default)]
pub struct Selection {
    /// By the stream's name. `None` without a catalog.
    streams: Option<BTreeMap<String, StreamSelection>>,
    /// Entries of the catalog, counted from 1, that do not say which stream they are for.
    nameless: Vec<usize>,
}

/// Why a catalog cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The message of each variant says what it is.
pub enum CatalogError {
    #[error("it is not JSON ({0})")]
    NotJson(#[from] serde_json::Error),
    #[error("it has no list \"streams\"; `--discover` prints a catalog to start from")]
    NoStreams,
    #[error(
        "stream \"{stream}\": {place} is {found}; it must be a list of column names, such as \
         [\"{PRIMARY_KEY_COLUMN}\"]"
    )]
    KeyNotNames { stream: String, place: &'static str, found: Value },
    #[error(
        "stream \"{stream}\": metadata is {found}; it must be a list, such as [{{\"breadcrumb\": [], \
         \"metadata\": {{\"selected\": true}}}}]"
    )]
    MetadataNotList { stream: String, found: Value },
    #[error(
        "the streams \"{one}\" and \"{other}\" would both be written as \"{name}\", and many databases \
         ignore case; change \"stream\" in the entry of one of them, or deselect it"
    )]
    SameName { one: &'static str, other: &'static str, name: String },
    #[error(
        "stream \"{stream}\": table-key-properties names \"{column}\", which is not a selected column; \
         select it, or remove it from the key"
    )]
    KeyNotSelected { stream: &'static str, column: String },
}

impl Selection {
    /// Reads a catalog: what `--discover` prints, changed by the user or by Meltano.
    pub fn parse(text: &[u8]) -> Result<Self, CatalogError> {
        let text = without_byte_order_mark(text);
        let catalog: Value = serde_json::from_slice(text)?;
        let entries = catalog["streams"].as_array().ok_or(CatalogError::NoStreams)?;
        let mut selection = Selection::default();
        let mut streams = BTreeMap::new();
        for (number, entry) in (1..).zip(entries) {
            let (id, stream) = (entry["tap_stream_id"].as_str(), entry["stream"].as_str());
            // An entry without a known id is matched by its name.
            let known = [id, stream].into_iter().flatten().find(|name| StreamId::from_name(name).is_some());
            let Some(name) = known.or(id).or(stream) else {
                selection.nameless.push(number);
                continue;
            };
            let mut stream = StreamSelection::parse(name, entry)?;
            if let Some(earlier) = streams.remove(name) {
                stream.add_earlier(earlier);
            }
            streams.insert(name.to_owned(), stream);
        }
        selection.streams = Some(streams);
        selection.check_names()?;
        Ok(selection)
    }

    /// Refuses two selected streams with the same name, whose rows would be mixed in one table.
    fn check_names(&self) -> Result<(), CatalogError> {
        let mut names: BTreeMap<String, StreamId> = BTreeMap::new();
        for id in StreamId::all() {
            let Some(stream) = self.stream(id) else { continue };
            let name = stream.stream_name(id);
            if let Some(one) = names.insert(name.to_lowercase(), id) {
                return Err(CatalogError::SameName {
                    one: one.name(),
                    other: id.name(),
                    name: name.to_owned(),
                });
            }
        }
        Ok(())
    }

    /// Returns what is selected of a stream, or `None` if the stream is not selected.
    pub fn stream(&self, id: StreamId) -> Option<StreamSelection> {
        match &self.streams {
            None => id.is_selected_by_default().then(StreamSelection::default),
            Some(streams) => {
                let stream = streams.get(id.name())?;
                stream.selected.unwrap_or(id.is_selected_by_default()).then(|| stream.clone())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::column::ColumnType;
    use crate::event::EventType;
    use crate::stream::{DEFAULT_SYSTEM_PREFIX, discovered_column};

    fn default_catalog() -> Value {
        catalog_of(StreamId::all().map(|id| Stream::new(id, DEFAULT_SYSTEM_PREFIX)))
    }

    /// Prints the catalog, applies `change`, and reads it again.
    fn selection(change: impl FnOnce(&mut Value)) -> Selection {
        let mut catalog = default_catalog();
        change(&mut catalog);
        Selection::parse(catalog.to_string().as_bytes()).expect("a catalog")
    }

    fn columns(selection: &Selection, id: StreamId) -> Option<usize> {
        let choice = selection.stream(id)?;
        let columns = Stream::new(id, DEFAULT_SYSTEM_PREFIX).columns;
        Some(columns.iter().filter(|column| choice.selects(column)).count())
    }

    fn set_stream(catalog: &mut Value, stream: usize, key: &str, value: Value) {
        catalog["streams"][stream]["metadata"][0]["metadata"][key] = value;
    }

    fn set_column(catalog: &mut Value, name: &str, key: &str, value: Value) {
        let metadata = catalog["streams"][0]["metadata"].as_array_mut().expect("a list");
        let item = metadata.iter_mut().find(|item| item["breadcrumb"] == json!(["properties", name]));
        item.expect("every column has metadata")["metadata"][key] = value;
    }

    #[test]
    fn the_printed_catalog_selects_the_same_as_no_catalog() {
        let click = StreamId::Event(EventType::Click);
        for selection in [Selection::default(), selection(|_| {})] {
            assert_eq!(columns(&selection, StreamId::Data), Some(28));
            assert_eq!(columns(&selection, StreamId::Rejected), Some(10));
            assert_eq!(columns(&selection, click), None);
        }
    }

    #[test]
    fn streams_are_selected_by_metadata_or_in_the_older_ways() {
        let click = StreamId::Event(EventType::Click);
        for yes in [json!(true), json!("true")] {
            let by_metadata = selection(|catalog| set_stream(catalog, 3, "selected", yes.clone()));
            assert_eq!(columns(&by_metadata, click), Some(19));
            let by_stream = selection(|catalog| catalog["streams"][3]["selected"] = yes.clone());
            assert_eq!(columns(&by_stream, click), Some(19));
            let by_schema = selection(|catalog| catalog["streams"][3]["schema"]["selected"] = yes.clone());
            assert_eq!(columns(&by_schema, click), Some(19));
        }
        for no in [json!(false), json!("false")] {
            let without_data = selection(|catalog| set_stream(catalog, 0, "selected", no));
            assert_eq!(columns(&without_data, StreamId::Data), None);
        }
        let left_out =
            selection(|catalog| drop(catalog["streams"].as_array_mut().expect("a list").remove(0)));
        assert_eq!(columns(&left_out, StreamId::Data), None);
    }

    #[test]
    fn a_deselected_field_takes_all_its_columns_with_it() {
        let selection = selection(|catalog| {
            set_column(catalog, "email", "selected", json!(false));
            catalog["streams"][0]["schema"]["properties"]["email__it"] =
                json!({"type": "integer", "selected": true});
            set_column(catalog, "ip", "inclusion", json!("unsupported"));
            set_column(catalog, "_sdc_sequence", "selected", json!(false));
            catalog["streams"][0]["schema"]["properties"]["geo"]["selected"] = json!("false");
        });
        assert_eq!(columns(&selection, StreamId::Data), Some(25));
        let choice = selection.stream(StreamId::Data).expect("selected");
        let selects = |name: &str| choice.selects(&discovered_column(name.to_owned(), ColumnType::Text));
        assert!(!selects("email") && !selects("email__it") && !selects("email__a__b") && !selects("geo__x"));
        assert!(!selects("Email") && !selects("EMAIL__st"));
        assert!(selects("url__it") && selects("emails") && selects("brand_new"));
    }

    #[test]
    fn an_ambiguous_name_is_resolved_by_where_the_fields_own_name_begins() {
        let without = |names: &[&str]| {
            let deselected = names.iter().map(|name| (*name).to_owned()).collect();
            StreamSelection { deselected, ..StreamSelection::default() }
        };
        let column = discovered_column("email___b".to_owned(), ColumnType::Text);
        // What is deselected; whether `b` of `email_` and `_b` of `email` are selected; whether their column
        // is.
        for (name, of_email_, of_email, of_column) in [
            ("email_", true, true, false),
            ("email", true, true, false),
            ("email___b", false, false, false),
            ("email__", true, true, true),
            ("b", true, true, true),
            ("_b", true, true, true),
        ] {
            let choice = without(&[name]);
            // The objects around them are selected.
            assert_eq!(choice.selects_field("email___b", 8), of_email_, "{name}");
            assert_eq!(choice.selects_field("email___b", 7), of_email, "{name}");
            assert_eq!(choice.selects(&column), of_column, "{name}");
        }
        assert!(!without(&["email__b"]).selects_field("Email__b__c__d", 7));
        assert!(
            without(&["by__x__email"]).deselects_within("by") && without(&["by__st"]).deselects_within("By")
        );
        assert!(!without(&["by", "byte__x", "b"]).deselects_within("by"));
    }

    #[test]
    fn a_key_that_is_not_a_list_of_names_is_an_error() {
        for wrong in [json!("MessageID"), json!(["MessageID", 5]), json!([["event"]]), json!({})] {
            let catalog = json!({"streams": [{"stream": "data", "metadata":
                [{"breadcrumb": [], "metadata": {"table-key-properties": wrong}}]}]});
            let error = Selection::parse(catalog.to_string().as_bytes()).expect_err("no key").to_string();
            assert!(error.starts_with("stream \"data\": table-key-properties is "), "{error}");
        }
    }

    #[test]
    fn the_key_may_be_changed_to_selected_columns() {
        let stream = Stream::new(StreamId::Data, DEFAULT_SYSTEM_PREFIX);
        let key = |value: Value| {
            let selection = selection(|catalog| {
                set_stream(catalog, 0, "table-key-properties", value);
                set_column(catalog, "email", "selected", json!(false));
            });
            let choice = selection.stream(StreamId::Data).expect("selected");
            choice.key_properties(StreamId::Data, stream.columns.iter()).map_err(|error| error.to_string())
        };
        assert_eq!(key(json!(["MessageID", "event"])), Ok(vec!["MessageID".to_owned(), "event".to_owned()]));
        assert_eq!(key(json!([])), Ok(vec![]));
        for wrong in ["email", "nonsense"] {
            let error = key(json!([wrong])).expect_err(wrong);
            assert!(error.contains(&format!("names \"{wrong}\", which is not a selected column")), "{error}");
        }
    }

    #[test]
    fn a_column_that_was_deleted_by_hand_is_not_written() {
        let delete = |catalog: &mut Value, name: &str| {
            let properties =
                catalog["streams"][0]["schema"]["properties"].as_object_mut().expect("an object");
            properties.shift_remove(name).expect("a column");
        };
        let selection = selection(|catalog| {
            delete(catalog, "email");
            delete(catalog, "_sdc_sequence");
        });
        let choice = selection.stream(StreamId::Data).expect("selected");
        let selects = |name: &str| choice.selects(&discovered_column(name.to_owned(), ColumnType::Text));
        assert!(!selects("email") && !selects("email__st") && !selects("Email"));
        assert!(selects("ip") && selects("brand_new"));
        assert_eq!(columns(&selection, StreamId::Data), Some(27));
        let warnings = selection.warnings(DEFAULT_SYSTEM_PREFIX).join("\n");
        assert!(
            warnings.contains("\"_sdc_sequence\" was deleted") && !warnings.contains("email"),
            "{warnings}"
        );

        // Somebody has written this one, or an earlier version has printed it.
        let own = r#"{"streams":[{"stream":"data","schema":{"properties":{"time":{"type":"string"}}}}]}"#;
        let own = Selection::parse(own.as_bytes()).expect("a catalog");
        assert_eq!(columns(&own, StreamId::Data), Some(28));
        let warnings = own.warnings(DEFAULT_SYSTEM_PREFIX).join("\n");
        assert!(warnings.contains("lacks the fields event, MessageID"), "{warnings}");
    }

    #[test]
    fn what_the_tap_cannot_do_is_a_warning_that_names_it() {
        type Case = (fn(&mut Value), &'static str);
        let warnings = |change: fn(&mut Value)| selection(change).warnings(DEFAULT_SYSTEM_PREFIX);
        assert_eq!(warnings(|_| {}), [""; 0]);
        let cases: [Case; 7] = [
            (
                |catalog| set_stream(catalog, 0, "replication-method", json!("FULL_TABLE")),
                "replication-method is \"FULL_TABLE\"",
            ),
            (
                |catalog| set_stream(catalog, 0, "forced-replication-method", json!("LOG_BASED")),
                "forced-replication-method is \"LOG_BASED\"",
            ),
            (
                |catalog| set_stream(catalog, 0, "replication-key", json!("time")),
                "replication-key is \"time\"",
            ),
            (
                |catalog| catalog["streams"][0]["replication_method"] = json!("FULL_TABLE"),
                "replication_method is \"FULL_TABLE\"",
            ),
            (
                |catalog| catalog["streams"][0]["replication_key"] = json!("time"),
                "replication_key is \"time\"",
            ),
            (
                |catalog| set_column(catalog, "email", "selected", json!("nope")),
                "column \"email\": \"selected\" is \"nope\"",
            ),
            (|catalog| catalog["streams"][0]["tap_stream_id"] = json!("dat"), ""),
        ];
        for (change, expected) in cases {
            let warnings = warnings(change);
            assert!(warnings.iter().all(|line| line.contains(expected)), "{expected}: {warnings:?}");
            assert_eq!(warnings.len(), usize::from(!expected.is_empty()), "{warnings:?}");
        }
    }

    #[test]
    fn selected_may_be_spelled_in_other_ways() {
        for (spelled, is_selected) in [
            (json!("True"), true),
            (json!("yes"), true),
            (json!(1), true),
            (json!("1"), true),
            (json!(" FALSE "), false),
            (json!("no"), false),
            (json!("off"), false),
            (json!(0), false),
            // These say nothing.
            (json!(null), true),
            (json!("nope"), true),
            (json!(2), true),
        ] {
            let selection = selection(|catalog| set_column(catalog, "email", "selected", spelled.clone()));
            let expected = if is_selected { 28 } else { 27 };
            assert_eq!(columns(&selection, StreamId::Data), Some(expected), "{spelled}");
        }
    }

    #[test]
    fn a_stream_may_have_another_name_and_another_key() {
        let renamed = selection(|catalog| {
            catalog["streams"][0]["stream"] = json!("mailjet_events");
            catalog["streams"][0]["key_properties"] = json!(["MessageID", "event"]);
        });
        let choice = renamed.stream(StreamId::Data).expect("selected");
        assert_eq!(choice.stream_name(StreamId::Data), "mailjet_events");
        let columns = Stream::new(StreamId::Data, DEFAULT_SYSTEM_PREFIX).columns;
        let key = choice.key_properties(StreamId::Data, columns.iter());
        assert_eq!(key.expect("a key"), ["MessageID", "event"]);
        let with_mark = format!("\u{feff}{}", default_catalog());
        assert!(Selection::parse(with_mark.as_bytes()).expect("a catalog").stream(StreamId::Data).is_some());
    }

    #[test]
    fn text_that_is_not_a_catalog_is_refused_with_the_reason() {
        let no_streams = "no list \"streams\"";
        for (text, expected) in [("{", "not JSON"), ("{}", no_streams), ("[]", no_streams)] {
            let error = Selection::parse(text.as_bytes()).expect_err(text).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    /// `catalog.json` shows what `--discover` prints by default, without building anything.
    #[test]
    fn catalog_json_is_what_discover_prints() {
        let printed = format!("{:#}\n", default_catalog());
        assert!(
            include_str!("../../catalog.json") == printed,
            "catalog/catalog.json is out of date; update it with\n    \
             cargo run -q -p tap-mailjet-webhooks -- --discover > catalog/catalog.json"
        );
    }
}
