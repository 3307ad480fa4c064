//! Reads the parts of a stream's entry in a catalog: its key, the ways to select, and what was edited.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{CatalogError, KNOWN_COLUMNS};
use crate::column::ColumnSource;
use crate::stream::{PRIMARY_KEY_COLUMN, Stream, StreamId};

/// Returns the key that the catalog asks for. `table-key-properties` counts, unless only the older
/// `key_properties` was changed. If both were, and differ, `warnings` says so.
pub(super) fn key_of(
    stream: &str,
    of_stream: &Value,
    entry: &Value,
    warnings: &mut Vec<String>,
) -> Result<Option<Vec<String>>, CatalogError> {
    let usual = json!([PRIMARY_KEY_COLUMN]);
    let places = [
        ("table-key-properties", &of_stream["table-key-properties"]),
        ("key_properties", &entry["key_properties"]),
    ];
    let mut changed = places.into_iter().filter(|(_, found)| !found.is_null() && **found != usual);
    let Some((place, found)) = changed.next() else { return Ok(None) };
    if let Some((other, ignored)) = changed.next().filter(|(_, other)| *other != found) {
        warnings.push(format!("{other} is {ignored}, which is ignored: {place} is {found}"));
    }
    let names = serde_json::from_value(found.clone());
    let not_names = |_| CatalogError::KeyNotNames { stream: stream.to_owned(), place, found: found.clone() };
    names.map(Some).map_err(not_names)
}

/// Returns the columns that were deleted from the schema by hand: those that `--discover` has printed and
/// that the schema lacks. A catalog that was not printed by `--discover` deletes nothing.
pub(super) fn deleted_columns(of_stream: &Value, schemas: &Map<String, Value>) -> Vec<String> {
    let known = of_stream[KNOWN_COLUMNS].as_array();
    let names = known.into_iter().flatten().filter_map(Value::as_str);
    names.filter(|name| !schemas.contains_key(*name)).map(str::to_owned).collect()
}

/// Returns the documented fields that a schema lacks, if it is not known whether they were deleted.
pub(super) fn unlisted_fields(stream: &str, of_stream: &Value, schemas: &Map<String, Value>) -> Vec<String> {
    let id = StreamId::from_name(stream).filter(|_| of_stream[KNOWN_COLUMNS].is_null());
    let columns = id.map_or_else(Vec::new, |id| Stream::new(id, "").columns).into_iter();
    let fields = columns.filter(|column| column.source == ColumnSource::Field).map(|column| column.name);
    fields.filter(|name| !schemas.contains_key(name)).collect()
}

/// Collects the values of `selected` in a schema, by column. This is Singer's older way to select.
pub(super) fn collect_selected<'a>(
    schema: &'a Value,
    parents: &str,
    selected: &mut BTreeMap<String, &'a Value>,
) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let name = format!("{parents}{name}");
        selected.insert(name.clone(), &field["selected"]);
        collect_selected(field, &format!("{name}__"), selected);
    }
}

/// Whether something is selected: by its metadata, or by one of the older ways. If it is both selected and
/// deselected, it is not selected.
///
/// `follows_automatic` is for what is written whenever the metadata calls it automatic: Meltano deselects
/// every column that a user does not list, and nobody lists a split column.
pub(super) fn is_selected(metadata: &Value, older: &[&Value], follows_automatic: bool) -> Option<bool> {
    let is_automatic = metadata["inclusion"] == "automatic";
    if metadata["inclusion"] == "unsupported" {
        return Some(false);
    }
    if is_automatic && follows_automatic {
        return Some(true);
    }
    let said = || [&metadata["selected"]].into_iter().chain(older.iter().copied()).filter_map(parse_bool);
    if said().any(|selected| !selected) {
        return Some(false);
    }
    if is_automatic || said().next().is_some() {
        return Some(true);
    }
    parse_bool(&metadata["selected-by-default"])
}

/// Whether one place selects explicitly what another place deselects.
pub(super) fn is_contradictory(metadata: &Value, older: &[&Value]) -> bool {
    let said = || [&metadata["selected"]].into_iter().chain(older.iter().copied()).filter_map(parse_bool);
    said().any(|selected| selected)
        && (metadata["inclusion"] == "unsupported" || said().any(|selected| !selected))
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
