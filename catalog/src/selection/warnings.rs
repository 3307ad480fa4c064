//! What a catalog says and the tap ignores: a line for each kind of mistake in a stream, however often it is
//! made.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use serde_json::Value;

use super::columns::unreadable;
use super::metadata::{Metadata, shown};
use super::read::is_contradictory;
use super::{INCREMENTAL, Selection, StreamSelection};
use crate::column::{ColumnSource, ColumnType};
use crate::stream::{Stream, StreamId};

/// How many names a line shows.
const MAX_NAMES: usize = 10;

/// Returns names in quotes, the first ones and the number of the others.
pub(super) fn list(names: &[impl AsRef<str>]) -> String {
    let quoted = names.iter().map(|name| format!("\"{}\"", name.as_ref().escape_debug()));
    bounded(quoted.collect(), ", ")
}

fn bounded(mut items: Vec<String>, separator: &str) -> String {
    let more = items.len().saturating_sub(MAX_NAMES);
    items.truncate(MAX_NAMES);
    let shown = items.join(separator);
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

impl Selection {
    /// Returns a line for each thing in the catalog that the tap ignores. The names of its system columns
    /// start with `system_prefix`.
    pub fn warnings(&self, system_prefix: &str) -> Vec<String> {
        let Some(streams) = &self.streams else { return Vec::new() };
        let unknown: Vec<_> = streams.keys().filter(|name| StreamId::from_name(name).is_none()).collect();
        let mut warnings = Vec::new();
        match unknown[..] {
            [] => {}
            [name] => warnings.push(format!("there is no stream \"{name}\"; it is ignored")),
            _ => warnings.push(format!("there are no streams {}; they are ignored", list(&unknown))),
        }
        if !self.nameless.is_empty() {
            let numbers = self.nameless.iter().map(usize::to_string).collect();
            warnings.push(format!(
                "\"streams\" has entries without a \"tap_stream_id\", which are ignored: number {}",
                bounded(numbers, ", ")
            ));
        }
        for id in StreamId::all() {
            let Some(entry) = streams.get(id.name()) else { continue };
            let selected = self.stream(id);
            let of_columns = selected.iter().flat_map(|stream| {
                stream.column_warnings.iter().cloned().chain(stream.warnings(id, system_prefix))
            });
            let lines = entry.stream_warnings.iter().cloned().chain(of_columns);
            warnings.extend(lines.map(|line| format!("stream \"{}\": {line}", id.name())));
        }
        warnings
    }
}

impl StreamSelection {
    /// Returns what depends on the names of the system columns, or on what the stream has.
    fn warnings(&self, id: StreamId, system_prefix: &str) -> Vec<String> {
        let mut warnings = Vec::new();
        let stream = Stream::new(id, system_prefix);
        let replication_key = stream.replication_key();
        for (key, found) in &self.replication {
            if *found != INCREMENTAL && *found != replication_key {
                warnings.push(format!(
                    "{key} is {found}, which is ignored: the tap's only replication method is {INCREMENTAL}, \
                     and its only replication key is {replication_key}. To write everything again, run with \
                     a new state file"
                ));
            }
        }
        if !self.unlisted.is_empty() {
            warnings.push(format!(
                "the schema lacks the fields {}, which are written all the same. To leave them out, set \
                 \"selected\": false in their metadata, or delete them from what --discover prints now",
                self.unlisted.join(", ")
            ));
        }
        let is_automatic = |name: &&String| Stream::is_automatic(name, system_prefix);
        for name in self.deleted.iter().filter(is_automatic) {
            warnings.push(format!(
                "the column \"{name}\" was deleted from the schema, but is written: a row cannot do without \
                 it"
            ));
        }
        let deleted = |name: &String| self.deleted.contains(name);
        for column in stream.columns.iter().filter(|column| column.is_automatic() && !deleted(&column.name)) {
            if self.deselected.contains(&column.name.to_lowercase()) {
                warnings.push(format!(
                    "the column \"{}\" is deselected, but is written: a row cannot do without it",
                    column.name
                ));
            }
        }
        let has = |name: &String| {
            let folded = name.to_lowercase();
            self.known.contains(&folded)
                || stream.columns.iter().any(|column| column.name.to_lowercase() == folded)
        };
        let strange: Vec<_> = self.mentioned.iter().filter(|name| !has(name)).collect();
        if !strange.is_empty() {
            warnings.push(format!(
                "metadata selects or deselects {}, which neither the schema nor Mailjet's documentation has. \
                 It has no effect unless a field of that name arrives; check the spelling",
                list(&strange)
            ));
        }
        warnings.extend(self.case_warning());
        warnings.extend(self.type_warnings(&stream));
        warnings
    }

    /// Returns a line about columns that many databases take for one, of which the first is written.
    fn case_warning(&self) -> Option<String> {
        let mut first: HashMap<String, &String> = HashMap::new();
        let mut pairs = Vec::new();
        for name in self.schemas.keys() {
            match first.entry(name.to_lowercase()) {
                Entry::Vacant(free) => drop(free.insert(name)),
                Entry::Occupied(taken) => {
                    pairs.push(format!("{} from {}", list(&[name]), list(&[taken.get()])));
                }
            }
        }
        (!pairs.is_empty()).then(|| {
            format!(
                "the schema has columns whose names differ only by case, {}: many databases take such names \
                 for one, so only the first becomes a column",
                bounded(pairs, ", ")
            )
        })
    }

    /// Returns what the schema says about types that the tap cannot do.
    fn type_warnings(&self, stream: &Stream) -> Vec<String> {
        let mut warnings = Vec::new();
        for (name, schema) in &self.schemas {
            let column = name.escape_debug();
            if let Some(found) = ColumnType::unsupported_type(schema) {
                warnings.push(format!(
                    "column \"{column}\": the schema says {found}, which no column can have; it is ignored. \
                     Its \"type\" must be one of \"string\", \"integer\", \"number\", \"boolean\" and \
                     \"object\", alone or in a list with \"null\""
                ));
                continue;
            }
            let own = stream.columns.iter().find(|own| own.name == *name);
            let fixed = own.filter(|own| own.source != ColumnSource::Field);
            let (Some(own), Some(found)) = (fixed, ColumnType::from_schema(schema)) else { continue };
            if found.json_type() != own.column_type.json_type() {
                warnings.push(format!(
                    "column \"{column}\": the schema says \"{}\", which is ignored: the tap's own columns \
                     keep their types, and this one is \"{}\"",
                    found.json_type(),
                    own.column_type.json_type()
                ));
            }
        }
        let more = warnings.len().saturating_sub(MAX_NAMES);
        warnings.truncate(MAX_NAMES);
        if more > 0 {
            warnings.push(format!("the schema says the same of {more} more columns"));
        }
        warnings
    }
}

impl Metadata {
    /// Returns what is repeated or not in Singer's form.
    pub(super) fn warnings(&self) -> Vec<String> {
        let breadcrumbs = |found: &[String]| {
            let mut found = found.to_vec();
            found.dedup();
            bounded(found, ", ")
        };
        let mut warnings = Vec::new();
        if !self.repeated.is_empty() {
            warnings.push(format!(
                "metadata has several entries with the breadcrumb {}: the first one counts, but a \
                 deselection in any of them does too",
                breadcrumbs(&self.repeated)
            ));
        }
        if !self.malformed.is_empty() {
            warnings.push(format!(
                "metadata has entries that are not of the form {{\"breadcrumb\": [\"properties\", \
                 \"email\"], \"metadata\": {{\"selected\": false}}}}, with the breadcrumb {}: what they \
                 deselect is not written, and anything else in them is ignored",
                breadcrumbs(&self.malformed)
            ));
        }
        if !self.nowhere.is_empty() {
            warnings.push(format!(
                "metadata is ignored whose breadcrumb is neither [\"properties\", \"email\"], for a column, \
                 nor [], for the stream: {}. What is inside an array cannot be selected on its own",
                breadcrumbs(&self.nowhere)
            ));
        }
        warnings
    }
}

/// Returns what the tap ignores of what an entry says about the stream itself.
pub(super) fn warnings_of_stream(entry: &Value, of_stream: &Value, older: &[&Value]) -> Vec<String> {
    let mut warnings = Vec::new();
    if is_contradictory(of_stream, older) {
        warnings.push("the catalog both selects and deselects it; it is not written".to_owned());
    }
    warnings.extend(unreadable_warning(&unreadable("the stream itself", of_stream, older)));
    let name = &entry["stream"];
    if !name.is_null() && name.as_str().is_none_or(str::is_empty) {
        warnings.push(format!("\"stream\" is {}, which is not a name; it is ignored", shown(name)));
    }
    warnings
}

/// Returns a line about values of `selected` and the like that mean nothing, if there are any.
pub(super) fn unreadable_warning(found: &[(String, &'static str, Value)]) -> Option<String> {
    let places = found.iter().map(|(place, key, value)| format!("{place}: \"{key}\" is {}", shown(value)));
    (!found.is_empty()).then(|| {
        format!(
            "{}; ignored. \"selected\" and \"selected-by-default\" must be true or false, and \"inclusion\" \
             \"available\", \"automatic\" or \"unsupported\"",
            bounded(places.collect(), "; ")
        )
    })
}
