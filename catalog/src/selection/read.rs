//! Reads the parts of a stream's entry in a catalog: metadata, the older ways to select, and what was edited.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::{CatalogError, KNOWN_COLUMNS};
use crate::column::ColumnSource;
use crate::stream::{PRIMARY_KEY_COLUMN, Stream, StreamId};

/// Returns the key that the catalog asks for. `table-key-properties` counts, unless only the older
/// `key_properties` was changed.
pub(super) fn key_of(
    stream: &str,
    of_stream: &Value,
    entry: &Value,
) -> Result<Option<Vec<String>>, CatalogError> {
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
pub(super) fn deleted_columns(of_stream: &Value, schemas: &Map<String, Value>) -> Vec<String> {
    let known = of_stream[KNOWN_COLUMNS].as_array().filter(|_| !schemas.is_empty());
    let names = known.into_iter().flatten().filter_map(Value::as_str);
    names.filter(|name| !schemas.contains_key(*name)).map(str::to_owned).collect()
}

/// Returns the documented fields that a schema lacks, if it is not known whether they were deleted.
pub(super) fn unlisted_fields(stream: &str, of_stream: &Value, schemas: &Map<String, Value>) -> Vec<String> {
    let id =
        StreamId::from_name(stream).filter(|_| of_stream[KNOWN_COLUMNS].is_null() && !schemas.is_empty());
    let columns = id.map_or_else(Vec::new, |id| Stream::new(id, "").columns).into_iter();
    let fields = columns.filter(|column| column.source == ColumnSource::Field).map(|column| column.name);
    fields.filter(|name| !schemas.contains_key(name)).collect()
}

/// Returns the column that a breadcrumb leads to: `["properties", "a"]` to `a`, and
/// `["properties", "a", "properties", "b"]` to `a__b`, the column of a field of an object.
pub(super) fn field_of(breadcrumb: &Value) -> Option<String> {
    let steps = breadcrumb.as_array()?.chunks(2).map(|step| match step {
        [Value::String(properties), Value::String(name)] if properties == "properties" => Some(name.as_str()),
        _ => None,
    });
    let names = steps.collect::<Option<Vec<_>>>()?;
    if names.is_empty() { None } else { Some(names.join("__")) }
}

/// Collects the values of `selected` in a schema, by column. This is Singer's older way to select.
pub(super) fn collect_selected<'a>(
    schema: &'a Value,
    parents: &str,
    selected: &mut HashMap<String, &'a Value>,
) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let name = format!("{parents}{name}");
        selected.insert(name.clone(), &field["selected"]);
        collect_selected(field, &format!("{name}__"), selected);
    }
}

/// Whether something is selected: by its metadata, or by one of the older ways.
pub(super) fn is_selected(metadata: &Value, older: &[&Value]) -> Option<bool> {
    match metadata["inclusion"].as_str() {
        Some("unsupported") => return Some(false),
        Some("automatic") => return Some(true),
        _ => {}
    }
    let places = [&metadata["selected"]].into_iter().chain(older.iter().copied());
    places.chain([&metadata["selected-by-default"]]).find_map(parse_bool)
}

/// Reads a boolean. The specification writes the text "true" where most catalogs have the boolean.
pub(super) fn parse_bool(value: &Value) -> Option<bool> {
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
