//! The Singer catalog: `--discover` prints it, and `--catalog` reads it with streams and columns selected.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::{Map, Value, json};

use crate::column::{Column, ColumnSource, ColumnType};
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
        "stream \"{stream}\": table-key-properties names \"{column}\", which is not a selected column; \
         select it, or remove it from the key"
    )]
    KeyNotSelected { stream: &'static str, column: String },
}

impl Selection {
    /// Reads a catalog: what `--discover` prints, changed by the user or by Meltano.
    pub fn parse(text: &[u8]) -> Result<Self, CatalogError> {
        let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        let catalog: Value = serde_json::from_slice(text)?;
        let entries = catalog["streams"].as_array().ok_or(CatalogError::NoStreams)?;
        let streams = entries.iter().filter_map(|entry| {
            let (id, stream) = (entry["tap_stream_id"].as_str(), entry["stream"].as_str());
            // By its id. One without a known id may be meant by its name.
            let known = [id, stream].into_iter().flatten().find(|name| StreamId::from_name(name).is_some());
            let name = known.or(id).or(stream)?;
            Some(StreamSelection::parse(name, entry).map(|stream| (name.to_owned(), stream)))
        });
        Ok(Selection { streams: Some(streams.collect::<Result<_, _>>()?) })
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

    /// Returns a line for each thing in the catalog that the tap ignores. The names of its system columns
    /// start with `system_prefix`.
    pub fn warnings(&self, system_prefix: &str) -> Vec<String> {
        let Some(streams) = &self.streams else { return Vec::new() };
        let is_unknown = |name: &&String| !StreamId::all().any(|id| id.name() == *name);
        let unknown = streams.keys().filter(is_unknown);
        let mut warnings: Vec<_> =
            unknown.map(|name| format!("there is no stream \"{name}\"; it is ignored")).collect();
        for id in StreamId::all() {
            let Some(stream) = self.stream(id) else { continue };
            let replication_key = format!("{system_prefix}sequence");
            for (key, found) in &stream.replication {
                if *found != INCREMENTAL && *found != replication_key.as_str() {
                    warnings.push(format!(
                        "stream \"{}\": {key} is {found}, which is ignored: the tap's only replication \
                         method is {INCREMENTAL}, and its only replication key is {replication_key}. To \
                         write everything again, run with a new state file",
                        id.name()
                    ));
                }
            }
            for (place, found) in &stream.unreadable {
                warnings.push(format!(
                    "stream \"{}\", {place}: \"selected\" is {found}, which is neither true nor false; it is \
                     ignored",
                    id.name()
                ));
            }
            if !stream.unlisted.is_empty() {
                warnings.push(format!(
                    "stream \"{}\": the schema lacks the fields {}, which are written all the same. To leave \
                     them out, set \"selected\": false in their metadata, or delete them from what \
                     --discover prints now",
                    id.name(),
                    stream.unlisted.join(", ")
                ));
            }
            for name in stream.deleted.iter().filter(|name| Stream::is_automatic(name, system_prefix)) {
                warnings.push(format!(
                    "stream \"{}\": the column \"{name}\" was deleted from the schema, but is written: a row \
                     cannot do without it",
                    id.name()
                ));
            }
            for (column, schema) in &stream.schemas {
                let Some(found) = ColumnType::unsupported_type(schema) else { continue };
                warnings.push(format!(
                    "stream \"{}\", column \"{}\": the schema says {found}, which no column can have; it is \
                     ignored. Its \"type\" must be one of \"string\", \"integer\", \"number\", \"boolean\" \
                     and \"object\", alone or in a list with \"null\"",
                    id.name(),
                    column.escape_debug()
                ));
            }
        }
        warnings
    }
}

/// What a catalog says about one stream. The default is every column, with the tap's own schema.
#[derive(Debug, Clone, Default)]
pub struct StreamSelection {
    /// Whether the stream itself is selected, if the catalog says so.
    selected: Option<bool>,
    /// Fields and columns that the catalog deselects, in lower case: `email` also stands for `Email`.
    deselected: HashSet<String>,
    /// The schemas of columns in the catalog.
    schemas: Map<String, Value>,
    /// `table-key-properties`, or `key_properties` if only that was changed.
    key: Option<Vec<String>>,
    /// The name that messages have instead of the stream's own.
    alias: Option<String>,
    /// Columns that were deleted from the schema by hand.
    deleted: Vec<String>,
    /// Documented fields that the schema lacks, and that are written.
    unlisted: Vec<String>,
    /// What the catalog says about replication: names of keys and their values.
    replication: Vec<(&'static str, Value)>,
    /// Values of `selected` that say nothing, and where they are.
    unreadable: Vec<(String, Value)>,
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

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
        let selected = is_selected(of_stream, &[&entry["selected"], &entry["schema"]["selected"]]);
        let key = key_of(stream, of_stream, entry)?;
        let schemas = entry["schema"]["properties"].as_object().cloned().unwrap_or_default();
        let deleted = deleted_columns(of_stream, &schemas);
        let unlisted = unlisted_fields(stream, of_stream, &schemas);
        let mut older = HashMap::new();
        collect_selected(&entry["schema"], "", &mut older);
        let is_deselected = |name: &&String| {
            let metadata = of_fields.get(*name).copied().unwrap_or(&Value::Null);
            is_selected(metadata, &[older.get(*name).copied().unwrap_or(&Value::Null)]) == Some(false)
        };
        let names = of_fields.keys().chain(older.keys());
        let deselected =
            names.filter(is_deselected).chain(&deleted).map(|name| name.to_lowercase()).collect();
        let mut unreadable = Vec::new();
        let places =
            of_fields.iter().map(|(name, metadata)| (format!("column \"{name}\""), &metadata["selected"]));
        let places = places.chain(older.iter().map(|(name, value)| (format!("column \"{name}\""), *value)));
        let of_entry = [&of_stream["selected"], &entry["selected"], &entry["schema"]["selected"]];
        for (place, value) in places.chain(of_entry.map(|value| ("the stream itself".to_owned(), value))) {
            if !value.is_null() && parse_bool(value).is_none() {
                unreadable.push((place, value.clone()));
            }
        }
        unreadable.sort_by(|(one, _), (other, _)| one.cmp(other));
        let replication = [
            ("replication-method", &of_stream["replication-method"]),
            ("forced-replication-method", &of_stream["forced-replication-method"]),
            ("replication-key", &of_stream["replication-key"]),
            ("replication_method", &entry["replication_method"]),
            ("replication_key", &entry["replication_key"]),
        ];
        let replication = replication.into_iter().filter(|(_, value)| !value.is_null());
        let alias = entry["stream"].as_str().filter(|alias| !alias.is_empty() && *alias != stream);
        Ok(StreamSelection {
            selected,
            deselected,
            schemas,
            key,
            alias: alias.map(str::to_owned),
            deleted,
            unlisted,
            replication: replication.map(|(key, value)| (key, value.clone())).collect(),
            unreadable,
        })
    }

    /// Returns the name that messages of the stream have: its own, or another that the catalog gives it.
    pub fn stream_name(&self, id: StreamId) -> &str {
        self.alias.as_deref().unwrap_or(id.name())
    }

    /// Returns the columns that the catalog declares, and the type of each, if a column can have that type.
    pub fn declared(&self) -> impl Iterator<Item = (&str, ColumnType)> {
        self.schemas
            .iter()
            .filter_map(|(name, schema)| Some((name.as_str(), ColumnType::from_schema(schema)?)))
    }

    /// Whether a column is written. It is not if it is deselected, or if a field that it may come from is
    /// (`a` for `a__st` and `a__b`; both `a` and `a_` for `a___b`).
    pub fn selects(&self, column: &Column) -> bool {
        column.is_automatic() || self.selects_field(&column.name, 0)
    }

    /// Whether the values of a field are written. `own` is where the field's own name begins in `name`: in
    /// `a___b`, 4 if `a_` has a field `b`, and 3 if `a` has a field `_b`. The caller knows that the fields
    /// before it are selected.
    ///
    /// A deselected object takes its fields with it, whatever the catalog says about them.
    pub fn selects_field(&self, name: &str, own: usize) -> bool {
        if self.deselected.is_empty() {
            return true;
        }
        let (folded, own) = (name.to_lowercase(), name[..own].to_lowercase().len());
        let covers = |deselected: &String| {
            let rest = folded.strip_prefix(deselected.as_str());
            deselected.len() >= own && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("__"))
        };
        !self.deselected.iter().any(covers)
    }

    /// Whether anything inside an object is deselected, at any depth.
    pub fn deselects_within(&self, object: &str) -> bool {
        if self.deselected.is_empty() {
            return false;
        }
        let within = format!("{}__", object.to_lowercase());
        self.deselected.iter().any(|name| name.starts_with(&within))
    }

    /// Whether nothing is deselected.
    pub fn selects_all(&self) -> bool {
        self.deselected.is_empty()
    }

    /// Returns a column's schema in the catalog, if it has one.
    pub fn schema(&self, name: &str) -> Option<&Value> {
        self.schemas.get(name)
    }

    /// Returns the columns that identify a row of `stream`.
    pub fn key_properties(&self, stream: &Stream) -> Result<Vec<String>, CatalogError> {
        let Some(key) = &self.key else { return Ok(vec![PRIMARY_KEY_COLUMN.to_owned()]) };
        for name in key {
            let column = stream.columns.iter().find(|column| column.name == *name);
            if !column.is_some_and(|column| self.selects(column)) {
                return Err(CatalogError::KeyNotSelected { stream: stream.id.name(), column: name.clone() });
            }
        }
        Ok(key.clone())
    }
}

/// Returns the key that the catalog asks for. `table-key-properties` counts, unless only the older
/// `key_properties` was changed.
fn key_of(stream: &str, of_stream: &Value, entry: &Value) -> Result<Option<Vec<String>>, CatalogError> {
    let usual = json!([PRIMARY_KEY_COLUMN]);
    let places = [
        ("table-key-properties", &of_stream["table-key-properties"]),
        ("key_properties", &entry["key_properties"]),
    ];
    let Some((place, found)) = places.into_iter().find(|(_, found)| !found.is_null() && **found != usual)
    else {
        return Ok(None);
    };
    let names = serde_json::from_value(found.clone());
    let not_names = |_| CatalogError::KeyNotNames { stream: stream.to_owned(), place, found: found.clone() };
    names.map(Some).map_err(not_names)
}

/// Returns the columns that were deleted from the schema by hand: those that `--discover` has printed and
/// that the schema lacks. A catalog that was not printed by `--discover`, or has no schema, deletes
/// nothing.
fn deleted_columns(of_stream: &Value, schemas: &Map<String, Value>) -> Vec<String> {
    let known = of_stream[KNOWN_COLUMNS].as_array().filter(|_| !schemas.is_empty());
    let names = known.into_iter().flatten().filter_map(Value::as_str);
    names.filter(|name| !schemas.contains_key(*name)).map(str::to_owned).collect()
}

/// Returns the documented fields that a schema lacks, if it is not known whether they were deleted.
fn unlisted_fields(stream: &str, of_stream: &Value, schemas: &Map<String, Value>) -> Vec<String> {
    let id =
        StreamId::from_name(stream).filter(|_| of_stream[KNOWN_COLUMNS].is_null() && !schemas.is_empty());
    let columns = id.map_or_else(Vec::new, |id| Stream::new(id, "").columns).into_iter();
    let fields = columns.filter(|column| column.source == ColumnSource::Field).map(|column| column.name);
    fields.filter(|name| !schemas.contains_key(name)).collect()
}

/// Returns the column that a breadcrumb leads to: `["properties", "a"]` to `a`, and
/// `["properties", "a", "properties", "b"]` to `a__b`, the column of a field of an object.
fn field_of(breadcrumb: &Value) -> Option<String> {
    let steps = breadcrumb.as_array()?.chunks(2).map(|step| match step {
        [Value::String(properties), Value::String(name)] if properties == "properties" => Some(name.as_str()),
        _ => None,
    });
    let names = steps.collect::<Option<Vec<_>>>()?;
    if names.is_empty() { None } else { Some(names.join("__")) }
}

/// Collects the values of `selected` in a schema, by column. This is Singer's older way to select.
fn collect_selected<'a>(schema: &'a Value, parents: &str, selected: &mut HashMap<String, &'a Value>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let name = format!("{parents}{name}");
        selected.insert(name.clone(), &field["selected"]);
        collect_selected(field, &format!("{name}__"), selected);
    }
}

/// Whether something is selected: by its metadata, or by one of the older ways.
fn is_selected(metadata: &Value, older: &[&Value]) -> Option<bool> {
    match metadata["inclusion"].as_str() {
        Some("unsupported") => return Some(false),
        Some("automatic") => return Some(true),
        _ => {}
    }
    let places = [&metadata["selected"]].into_iter().chain(older.iter().copied());
    places.chain([&metadata["selected-by-default"]]).find_map(parse_bool)
}

/// Reads a boolean. The specification writes the text "true" where most catalogs have the boolean.
fn parse_bool(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(value) => Some(*value),
        Value::Number(number) => match number.as_u64() {
            Some(0) => Some(false),
            Some(1) => Some(true),
            _ => None,
        },
        Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Some(true),
            "false" | "no" | "off" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
            choice.key_properties(&stream).map_err(|error| error.to_string())
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
        let key = choice.key_properties(&Stream::new(StreamId::Data, DEFAULT_SYSTEM_PREFIX));
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
            include_str!("../catalog.json") == printed,
            "catalog/catalog.json is out of date; update it with\n    \
             cargo run -q -p tap-mailjet-webhooks -- --discover > catalog/catalog.json"
        );
    }
}
