//! The Singer catalog: what `--discover` prints, and what comes back as `--catalog` with streams and columns
//! selected.

use std::collections::{HashMap, HashSet};

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::column::{Column, ColumnType};
use crate::stream::{PRIMARY_KEY_COLUMN, Stream, StreamId};

/// A Singer catalog, as it is printed.
#[derive(Debug, Serialize)]
pub struct Catalog {
    streams: Vec<Entry>,
}

#[derive(Debug, Serialize)]
struct Entry {
    tap_stream_id: &'static str,
    stream: &'static str,
    key_properties: Vec<String>,
    replication_method: &'static str,
    replication_key: String,
    schema: Value,
    metadata: Vec<Metadata>,
}

/// What the catalog says about a stream (an empty breadcrumb) or about one of its columns.
#[derive(Debug, Serialize)]
struct Metadata {
    breadcrumb: Vec<String>,
    metadata: Value,
}

impl Catalog {
    /// The catalog of everything that the tap offers.
    pub fn new(streams: impl IntoIterator<Item = Stream>) -> Self {
        Catalog { streams: streams.into_iter().map(|stream| Entry::new(&stream)).collect() }
    }
}

impl Entry {
    fn new(stream: &Stream) -> Self {
        let key = default_key();
        let of_stream = Metadata {
            breadcrumb: Vec::new(),
            metadata: json!({
                "inclusion": "available",
                "selected-by-default": stream.id.is_selected_by_default(),
                "table-key-properties": key,
                "forced-replication-method": "INCREMENTAL",
                "valid-replication-keys": [stream.replication_key()],
            }),
        };
        // Every column has metadata of its own: Meltano takes one without as "automatic", never to be
        // deselected. A split column is that on purpose: it holds what its field says, and goes with the
        // field. Who lists the columns that he wants can't know of it.
        let of_columns = stream.columns.iter().map(|column| Metadata {
            breadcrumb: vec!["properties".to_owned(), column.name.clone()],
            metadata: if column.is_automatic() || stream.is_split(column) {
                json!({ "inclusion": "automatic" })
            } else {
                json!({ "inclusion": "available", "selected-by-default": true })
            },
        });
        Entry {
            tap_stream_id: stream.id.name(),
            stream: stream.id.name(),
            key_properties: key,
            replication_method: "INCREMENTAL",
            replication_key: stream.replication_key().to_owned(),
            schema: stream.json_schema(),
            metadata: std::iter::once(of_stream).chain(of_columns).collect(),
        }
    }
}

fn default_key() -> Vec<String> {
    vec![PRIMARY_KEY_COLUMN.to_owned()]
}

/// What a run is to write: what a catalog selects, or, without one, what is selected by default.
#[derive(Debug, Default)]
pub struct Selection {
    /// None without a catalog.
    choices: Option<HashMap<String, StreamSelection>>,
}

/// Why a catalog can't be used.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The text is not JSON.
    #[error("it is not JSON ({0})")]
    NotJson(#[from] serde_json::Error),
    /// The text is JSON, but not a catalog.
    #[error("it has no list \"streams\"; `--discover` prints a catalog to start from")]
    NoStreams,
    /// A key is no list of names.
    #[error(
        "stream \"{stream}\": table-key-properties is {found}; it has to be a list of columns' names, such as [\"{PRIMARY_KEY_COLUMN}\"]"
    )]
    KeyNotNames {
        /// The stream.
        stream: String,
        /// What stands there.
        found: Value,
    },
    /// A key names a column that the stream has not, or that is not selected.
    #[error(
        "stream \"{stream}\": table-key-properties names \"{column}\", which is no selected column of it; select it, or \
         take it out of the key"
    )]
    KeyNotSelected {
        /// The stream.
        stream: &'static str,
        /// The column.
        column: String,
    },
}

impl Selection {
    /// Reads a catalog as `--discover` prints it, with what was selected in it since.
    pub fn parse(text: &[u8]) -> Result<Self, CatalogError> {
        let catalog: Value = serde_json::from_slice(text)?;
        let entries = catalog["streams"].as_array().ok_or(CatalogError::NoStreams)?;
        let named = |entry: &Value| {
            let name = entry["tap_stream_id"].as_str().or_else(|| entry["stream"].as_str());
            name.map(str::to_owned)
        };
        let choices = entries.iter().filter_map(|entry| {
            let name = named(entry)?;
            Some(StreamSelection::parse(&name, entry).map(|choice| (name, choice)))
        });
        Ok(Selection { choices: Some(choices.collect::<Result<_, _>>()?) })
    }

    /// What is chosen of a stream; None if the stream is not selected.
    #[must_use]
    pub fn stream(&self, id: StreamId) -> Option<StreamSelection> {
        match &self.choices {
            None => id.is_selected_by_default().then(StreamSelection::default),
            Some(choices) => choices.get(id.name()).filter(|choice| choice.is_selected(id)).cloned(),
        }
    }

    /// What the catalog asks for and does not get, a line for each thing.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let Some(choices) = &self.choices else { return Vec::new() };
        let is_unknown = |name: &&String| !StreamId::all().any(|stream| stream.name() == *name);
        let mut unknown: Vec<_> = choices.keys().filter(is_unknown).collect();
        unknown.sort();
        let mut warnings: Vec<_> =
            unknown.iter().map(|name| format!("there is no stream \"{name}\"; it is passed over")).collect();
        for stream in StreamId::all() {
            let Some(choice) = self.stream(stream) else { continue };
            for (column, schema) in &choice.schemas {
                let Some(found) = ColumnType::unsupported_type(schema) else { continue };
                warnings.push(format!(
                    "stream \"{}\", column \"{}\": the schema says {found}, which no column can have; it is passed over. \
                     Its \"type\" has to be one of \"string\", \"integer\", \"number\", \"boolean\" and \"object\", alone or \
                     in a list with \"null\"",
                    stream.name(),
                    column.escape_debug()
                ));
            }
        }
        warnings
    }
}

/// What is chosen of a stream that is selected. By default: every column, as the tap has it.
#[derive(Debug, Clone, Default)]
pub struct StreamSelection {
    /// Whether the stream itself is selected, if the catalog says so.
    selected: Option<bool>,
    /// Fields and columns that the catalog deselects, in lower case: who deselects `email` does not want
    /// `Email` either.
    deselected: HashSet<String>,
    /// The schemas of columns, as they came back.
    schemas: Map<String, Value>,
    /// `table-key-properties`, if given.
    key: Option<Vec<String>>,
}

impl StreamSelection {
    fn parse(stream: &str, entry: &Value) -> Result<Self, CatalogError> {
        let items = entry["metadata"].as_array().map_or(&[][..], Vec::as_slice);
        let is_of_stream = |item: &&Value| item["breadcrumb"] == json!([]);
        let of_stream = items.iter().find(is_of_stream).map_or(&Value::Null, |item| &item["metadata"]);
        let mut of_fields = HashMap::new();
        for item in items {
            if let Some(name) = field_of(&item["breadcrumb"]) {
                of_fields.entry(name).or_insert(&item["metadata"]);
            }
        }
        let selected = chosen(of_stream, &[&entry["selected"], &entry["schema"]["selected"]]);
        let key = match &of_stream["table-key-properties"] {
            Value::Null => None,
            found => {
                let names = serde_json::from_value(found.clone());
                let not_names =
                    |_| CatalogError::KeyNotNames { stream: stream.to_owned(), found: found.clone() };
                Some(names.map_err(not_names)?)
            }
        };
        let schemas = entry["schema"]["properties"].as_object().cloned().unwrap_or_default();
        let mut older = HashMap::new();
        note_selected(&entry["schema"], "", &mut older);
        let is_deselected = |name: &&String| {
            let metadata = of_fields.get(*name).copied().unwrap_or(&Value::Null);
            chosen(metadata, &[older.get(*name).copied().unwrap_or(&Value::Null)]) == Some(false)
        };
        let names = of_fields.keys().chain(older.keys());
        let deselected = names.filter(is_deselected).map(|name| name.to_lowercase()).collect();
        Ok(StreamSelection { selected, deselected, schemas, key })
    }

    fn is_selected(&self, stream: StreamId) -> bool {
        self.selected.unwrap_or_else(|| stream.is_selected_by_default())
    }

    /// Whether a column is written. Where the catalog does not say, it is; not so if a field that it may come
    /// from is deselected (`a` for `a__st` and `a__b`; both `a` and `a_` for `a___b`).
    #[must_use]
    pub fn selects(&self, column: &Column) -> bool {
        column.is_automatic() || self.selects_field(&column.name, 0)
    }

    /// Whether what comes from a field is written. `own` is where in `name` the field's own name begins: what
    /// it is part of, if anything, is known to be selected (in `a___b`, 4 if `a_` has a field `b`, 3 if `a`
    /// has a field `_b`).
    ///
    /// As in a nested schema, what is deselected takes its parts with it, whatever the catalog says of those.
    #[must_use]
    pub fn selects_field(&self, name: &str, own: usize) -> bool {
        if self.deselected.is_empty() {
            return true;
        }
        let (folded, own) = (name.to_lowercase(), name[..own].to_lowercase().len());
        let takes_it = |whole: &String| {
            let rest = folded.strip_prefix(whole.as_str());
            whole.len() >= own && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("__"))
        };
        !self.deselected.iter().any(takes_it)
    }

    /// Whether a field of an object, or one of a field of it, is deselected.
    #[must_use]
    pub fn deselects_within(&self, object: &str) -> bool {
        if self.deselected.is_empty() {
            return false;
        }
        let within = format!("{}__", object.to_lowercase());
        self.deselected.iter().any(|name| name.starts_with(&within))
    }

    /// Whether no field is deselected.
    #[must_use]
    pub fn selects_all(&self) -> bool {
        self.deselected.is_empty()
    }

    /// The schema of a column as the catalog has it, if it has one.
    #[must_use]
    pub fn schema(&self, name: &str) -> Option<&Value> {
        self.schemas.get(name)
    }

    /// The columns that identify a row of `stream`.
    pub fn key_properties(&self, stream: &Stream) -> Result<Vec<String>, CatalogError> {
        let Some(key) = &self.key else { return Ok(default_key()) };
        for name in key {
            let column = stream.columns.iter().find(|column| column.name == *name);
            if !column.is_some_and(|column| self.selects(column)) {
                return Err(CatalogError::KeyNotSelected { stream: stream.id.name(), column: name.clone() });
            }
        }
        Ok(key.clone())
    }
}

/// The field that a breadcrumb leads to: `["properties", "a"]` to `a`; where a schema describes an object's
/// fields, `["properties", "a", "properties", "b"]` to `a__b`, which is that field's column.
fn field_of(breadcrumb: &Value) -> Option<String> {
    let steps = breadcrumb.as_array()?.chunks(2).map(|step| match step {
        [Value::String(properties), Value::String(name)] if properties == "properties" => Some(name.as_str()),
        _ => None,
    });
    let names = steps.collect::<Option<Vec<_>>>()?;
    if names.is_empty() { None } else { Some(names.join("__")) }
}

/// Notes what a schema says, in Singer's older way, of the fields that it describes: by the names of their
/// columns.
fn note_selected<'a>(schema: &'a Value, parents: &str, selected: &mut HashMap<String, &'a Value>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let name = format!("{parents}{name}");
        selected.insert(name.clone(), &field["selected"]);
        note_selected(field, &format!("{name}__"), selected);
    }
}

/// Whether metadata, or one of the older places, selects something.
fn chosen(metadata: &Value, older: &[&Value]) -> Option<bool> {
    match metadata["inclusion"].as_str() {
        Some("unsupported") => return Some(false),
        Some("automatic") => return Some(true),
        _ => {}
    }
    let places = [&metadata["selected"]].into_iter().chain(older.iter().copied());
    places.chain([&metadata["selected-by-default"]]).find_map(truth)
}

/// The specification writes the text "true" where most write the boolean.
fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(value) => Some(*value),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventType;
    use crate::stream::{DEFAULT_SYSTEM_PREFIX, discovered_column};

    /// The catalog that is printed, changed by `change`, and read again.
    fn selection(change: impl FnOnce(&mut Value)) -> Selection {
        let printed = Catalog::new(StreamId::all().map(|id| Stream::new(id, DEFAULT_SYSTEM_PREFIX)));
        let mut catalog = serde_json::to_value(printed).expect("a catalog is JSON");
        change(&mut catalog);
        Selection::parse(catalog.to_string().as_bytes()).expect("a catalog")
    }

    fn columns(selection: &Selection, id: StreamId) -> Option<usize> {
        let choice = selection.stream(id)?;
        Some(
            Stream::new(id, DEFAULT_SYSTEM_PREFIX)
                .columns
                .iter()
                .filter(|column| choice.selects(column))
                .count(),
        )
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
    fn what_was_printed_selects_what_is_selected_without_a_catalog() {
        let click = StreamId::Event(EventType::Click);
        for selection in [Selection::default(), selection(|_| {})] {
            assert_eq!(columns(&selection, StreamId::Data), Some(28));
            assert_eq!(columns(&selection, StreamId::Rejected), Some(9));
            assert_eq!(columns(&selection, click), None);
        }
    }

    #[test]
    fn streams_are_selected_by_metadata_and_in_the_older_ways() {
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
    fn a_deselected_column_takes_what_comes_from_its_field_with_it() {
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
    fn what_a_field_is_part_of_is_told_apart_where_its_name_does_not_say() {
        let without = |names: &[&str]| {
            let deselected = names.iter().map(|name| (*name).to_owned()).collect();
            StreamSelection { deselected, ..StreamSelection::default() }
        };
        let column = discovered_column("email___b".to_owned(), ColumnType::Text);
        // Deselected, whether `b` of `email_` and `_b` of `email` are selected, and whether their column is.
        for (name, of_email_, of_email, of_column) in [
            ("email_", true, true, false),
            ("email", true, true, false),
            ("email___b", false, false, false),
            ("email__", true, true, true),
            ("b", true, true, true),
            ("_b", true, true, true),
        ] {
            let choice = without(&[name]);
            // What they are part of was asked for before.
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
    fn a_key_that_is_no_list_of_names_is_an_error() {
        for wrong in [json!("MessageID"), json!(["MessageID", 5]), json!([["event"]]), json!({})] {
            let catalog = json!({"streams": [{"stream": "data", "metadata":
                [{"breadcrumb": [], "metadata": {"table-key-properties": wrong}}]}]});
            let error = Selection::parse(catalog.to_string().as_bytes()).expect_err("no key").to_string();
            assert!(error.starts_with("stream \"data\": table-key-properties is "), "{error}");
        }
    }

    #[test]
    fn the_key_may_be_changed_to_columns_that_are_there() {
        let stream = Stream::new(StreamId::Data, DEFAULT_SYSTEM_PREFIX);
        let key = |value: Value| {
            let selection = selection(|catalog| {
                set_stream(catalog, 0, "table-key-properties", value);
                set_column(catalog, "email", "selected", json!(false));
            });
            selection
                .stream(StreamId::Data)
                .expect("selected")
                .key_properties(&stream)
                .map_err(|error| error.to_string())
        };
        assert_eq!(key(json!(["MessageID", "event"])), Ok(vec!["MessageID".to_owned(), "event".to_owned()]));
        assert_eq!(key(json!([])), Ok(vec![]));
        for wrong in ["email", "nonsense"] {
            let error = key(json!([wrong])).expect_err(wrong);
            assert!(error.contains(&format!("names \"{wrong}\", which is no selected column")), "{error}");
        }
    }

    #[test]
    fn what_is_no_catalog_is_refused() {
        for (text, expected) in
            [("{", "not JSON"), ("{}", "no list \"streams\""), ("[]", "no list \"streams\"")]
        {
            let error = Selection::parse(text.as_bytes()).expect_err(text).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    /// `catalog.json` is what `--discover` prints by default: a reader can see it without building anything.
    #[test]
    fn catalog_json_is_what_discovery_prints() {
        let catalog = Catalog::new(StreamId::all().map(|id| Stream::new(id, DEFAULT_SYSTEM_PREFIX)));
        let printed = serde_json::to_string_pretty(&catalog).expect("a catalog is JSON") + "\n";
        let kept = include_str!("../catalog.json");
        assert!(
            kept == printed,
            "catalog/catalog.json is out of date; write it anew with\n    \
             cargo run --bin tap-mailjet-webhooks -- --discover > catalog/catalog.json"
        );
    }
}
