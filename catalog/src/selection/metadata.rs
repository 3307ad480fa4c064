//! Reads the list `metadata` of a stream's entry, including what is repeated or not in Singer's form.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::CatalogError;
use super::read::{is_selected, parse_bool};

/// What says whether something is selected.
const SELECTING: [&str; 3] = ["selected", "selected-by-default", "inclusion"];

/// The metadata of a stream and of its columns, each from all entries that have its breadcrumb.
#[derive(Debug, Default)]
pub(super) struct Metadata {
    pub(super) of_stream: Value,
    /// By the column's name.
    pub(super) of_columns: BTreeMap<String, Value>,
    /// Places with several entries.
    pub(super) repeated: Vec<String>,
    /// Breadcrumbs of entries that are not in Singer's form. Only a deselection counts.
    pub(super) malformed: Vec<String>,
    /// Breadcrumbs that lead to neither the stream nor a column.
    pub(super) nowhere: Vec<String>,
}

impl Metadata {
    pub(super) fn parse(stream: &str, entry: &Value) -> Result<Self, CatalogError> {
        let mut metadata = Metadata::default();
        match &entry["metadata"] {
            Value::Null => {}
            Value::Array(items) => items.iter().for_each(|item| metadata.read_item(item)),
            found => {
                let (stream, found) = (stream.to_owned(), found.clone());
                return Err(CatalogError::MetadataNotList { stream, found });
            }
        }
        Ok(metadata)
    }

    fn read_item(&mut self, item: &Value) {
        let breadcrumb = &item["breadcrumb"];
        let (place, is_in_form) = match exact_place_of(breadcrumb) {
            Some(place) => (place, true),
            None => match likely_place_of(breadcrumb) {
                Some(place) if item.is_object() => (place, false),
                _ => return self.nowhere.push(shown(if item.is_object() { breadcrumb } else { item })),
            },
        };
        // Some write `selected` beside `metadata` instead of within it.
        let outside: Map<String, Value> =
            SELECTING.into_iter().filter_map(|key| Some((key.to_owned(), item.get(key)?.clone()))).collect();
        let within = item["metadata"].as_object();
        if !is_in_form || !outside.is_empty() || (within.is_none() && !item["metadata"].is_null()) {
            self.malformed.push(shown(breadcrumb));
        }
        let is_repeated = is_in_form && within.is_some() && self.get_mut(&place).is_some_and(has_entry);
        if is_repeated {
            self.repeated.push(shown(breadcrumb));
        }
        let found = within.cloned().unwrap_or_default();
        if is_in_form {
            self.merge(&place, found);
        } else if deselects(found) {
            self.deselect(&place);
        }
        if deselects(outside) {
            self.deselect(&place);
        }
    }

    fn get_mut(&mut self, place: &Place) -> Option<&mut Value> {
        match place {
            Place::Stream => Some(&mut self.of_stream),
            Place::Column(name) => self.of_columns.get_mut(name),
        }
    }

    /// Adds what another entry says about a place. The first one counts, but a deselection always does.
    fn merge(&mut self, place: &Place, found: Map<String, Value>) {
        let value = match place {
            Place::Stream => &mut self.of_stream,
            Place::Column(name) => self.of_columns.entry(name.clone()).or_default(),
        };
        for (key, found) in found {
            let is_deselection = match key.as_str() {
                "selected" | "selected-by-default" => parse_bool(&found) == Some(false),
                "inclusion" => found == "unsupported",
                _ => false,
            };
            if is_deselection || value.get(&key).is_none_or(Value::is_null) {
                value[key] = found;
            }
        }
    }

    fn deselect(&mut self, place: &Place) {
        self.merge(place, Map::from_iter([("selected".to_owned(), json!(false))]));
    }
}

/// What an entry of the metadata is about.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Stream,
    /// A column, or the field of an object: `["properties", "a", "properties", "b"]` is `a__b`.
    Column(String),
}

/// Returns where a breadcrumb in Singer's form leads.
fn exact_place_of(breadcrumb: &Value) -> Option<Place> {
    let steps = breadcrumb.as_array()?.chunks(2).map(|step| match step {
        [Value::String(properties), Value::String(name)] if properties == "properties" => Some(name.as_str()),
        _ => None,
    });
    let names = steps.collect::<Option<Vec<_>>>()?;
    Some(if names.is_empty() { Place::Stream } else { Place::Column(names.join("__")) })
}

/// Returns where a breadcrumb in another form can only lead: `["email"]` and `"email"` to the column `email`,
/// and nothing at all to the stream.
fn likely_place_of(breadcrumb: &Value) -> Option<Place> {
    let steps = match breadcrumb {
        Value::Null => return Some(Place::Stream),
        Value::String(text) if text.is_empty() => return Some(Place::Stream),
        Value::Array(steps) => steps.as_slice(),
        step => std::slice::from_ref(step),
    };
    let names = steps.iter().map(Value::as_str).collect::<Option<Vec<_>>>()?;
    // What is inside an array has no column.
    if names.len() > 2 && names.contains(&"items") {
        return None;
    }
    let names: Vec<_> = names.into_iter().filter(|name| !name.eq_ignore_ascii_case("properties")).collect();
    if names.is_empty() { None } else { Some(Place::Column(names.join("__"))) }
}

fn deselects(metadata: Map<String, Value>) -> bool {
    is_selected(&Value::Object(metadata), &[], false) == Some(false)
}

/// Whether an entry has been read into this value.
fn has_entry(value: &mut Value) -> bool {
    !value.is_null()
}

/// Returns a value of the catalog as a warning shows it. Nobody needs all of a long one.
pub(super) fn shown(value: &Value) -> String {
    const MAX_CHARACTERS: usize = 80;
    let text = if value.is_null() { "(none)".to_owned() } else { value.to_string() };
    match text.char_indices().nth(MAX_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
