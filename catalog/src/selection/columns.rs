//! Which columns of a stream its metadata and schema select, and what they contradict or repeat.

use std::collections::BTreeMap;

use serde_json::Value;

use super::read::{is_contradictory, is_selected, parse_bool};
use super::warnings::{list, unreadable_warning};
use crate::column::ColumnType;
use crate::stream::{DEFAULT_SYSTEM_PREFIX, PRIMARY_KEY_COLUMN, Stream, StreamId};

/// What a catalog chooses of a stream's columns.
#[derive(Debug, Default)]
pub(super) struct ColumnChoices {
    pub(super) deselected: Vec<String>,
    /// Columns that metadata selects or deselects explicitly.
    pub(super) mentioned: Vec<String>,
    contradictory: Vec<String>,
    /// Columns that are written because they are automatic, although they are deselected.
    automatic: Vec<String>,
    /// What cannot be read: place, key and value.
    unreadable: Vec<(String, &'static str, Value)>,
}

impl ColumnChoices {
    /// Reads the choices in `metadata` and in the schema (`older`), both by the column's name.
    pub(super) fn new(
        stream: &str,
        metadata: &BTreeMap<String, Value>,
        older: &BTreeMap<String, &Value>,
    ) -> Self {
        let documented = StreamId::from_name(stream)
            .map_or_else(Vec::new, |id| Stream::new(id, DEFAULT_SYSTEM_PREFIX).columns);
        let is_column = |name: &str| {
            metadata.contains_key(name)
                || older.contains_key(name)
                || documented.iter().any(|column| column.name == name)
        };
        let mut choices = ColumnChoices::default();
        let mut has_selected_automatic = false;
        let names = metadata.keys().chain(older.keys().filter(|name| !metadata.contains_key(*name)));
        for name in names {
            let of_column = metadata.get(name).unwrap_or(&Value::Null);
            let of_schema = [older.get(name).copied().unwrap_or(&Value::Null)];
            let is_automatic = of_column["inclusion"] == "automatic" && follows_automatic(name, is_column);
            let said = parse_bool(&of_column["selected"]);
            if is_selected(of_column, &of_schema, is_automatic) == Some(false) {
                choices.deselected.push(name.clone());
            } else if is_automatic {
                match said.or(parse_bool(of_schema[0])) {
                    Some(false) => choices.automatic.push(name.clone()),
                    _ => has_selected_automatic = true,
                }
            }
            if said.is_some() || of_column["inclusion"] == "unsupported" {
                choices.mentioned.push(name.clone());
            }
            if !is_automatic && is_contradictory(of_column, &of_schema) {
                choices.contradictory.push(name.clone());
            }
            let place = format!("column \"{}\"", name.escape_debug());
            choices.unreadable.extend(unreadable(&place, of_column, &of_schema));
        }
        if !has_selected_automatic {
            // Meltano deselects everything that a user does not list: the catalog means nothing by it.
            choices.automatic.clear();
        }
        choices
    }

    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if !self.contradictory.is_empty() {
            let columns = list(&self.contradictory);
            warnings.push(format!(
                "the catalog both selects and deselects the columns {columns}; they are not written"
            ));
        }
        if !self.automatic.is_empty() {
            warnings.push(format!(
                "the columns {} are deselected, but written, because their inclusion is automatic. To leave \
                 out a split column, set its inclusion to available, or deselect its field",
                list(&self.automatic)
            ));
        }
        warnings.extend(unreadable_warning(&self.unreadable));
        warnings
    }
}

/// Whether a column whose inclusion is automatic is written even if it is deselected: a column that a row
/// cannot do without, or a split column.
fn follows_automatic(name: &str, is_column: impl Fn(&str) -> bool) -> bool {
    let split = name.rsplit_once("__").filter(|(_, suffix)| ColumnType::is_split_suffix(suffix));
    // The prefix of the sequence's name is set elsewhere.
    name == PRIMARY_KEY_COLUMN
        || name.ends_with("_sequence")
        || split.is_some_and(|(field, _)| is_column(field))
}

/// Returns what says something about selection that cannot be read, with its place and key.
pub(super) fn unreadable(
    place: &str,
    metadata: &Value,
    older: &[&Value],
) -> Vec<(String, &'static str, Value)> {
    let is_boolean = |value: &Value| value.is_null() || parse_bool(value).is_some();
    let is_inclusion = |value: &Value| {
        value.is_null()
            || value.as_str().is_some_and(|text| matches!(text, "available" | "automatic" | "unsupported"))
    };
    let mut found = Vec::new();
    for value in older.iter().copied().chain([&metadata["selected"]]).filter(|value| !is_boolean(value)) {
        found.push((place.to_owned(), "selected", value.clone()));
    }
    if !is_boolean(&metadata["selected-by-default"]) {
        found.push((place.to_owned(), "selected-by-default", metadata["selected-by-default"].clone()));
    }
    if !is_inclusion(&metadata["inclusion"]) {
        found.push((place.to_owned(), "inclusion", metadata["inclusion"].clone()));
    }
    found
}
