//! What a catalog says about one stream.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Map, Value};

use super::columns::ColumnChoices;
use super::metadata::Metadata;
use super::read::{collect_selected, deleted_columns, is_selected, key_of, unlisted_fields};
use super::warnings::warnings_of_stream;
use super::{CatalogError, KNOWN_COLUMNS};
use crate::column::{Column, ColumnType};
use crate::stream::{PRIMARY_KEY_COLUMN, StreamId};

/// What a catalog says about one stream. The default is every column, with the tap's own schema.
#[derive(Debug, Clone, Default)]
pub struct StreamSelection {
    /// Whether the stream itself is selected, if the catalog says so.
    pub(super) selected: Option<bool>,
    /// Fields and columns that the catalog deselects, in lower case: `email` also stands for `Email`.
    pub(super) deselected: HashSet<String>,
    /// The schemas of columns in the catalog.
    pub(super) schemas: Map<String, Value>,
    /// `table-key-properties`, or `key_properties` if only that was changed.
    pub(super) key: Option<Vec<String>>,
    /// The name that messages have instead of the stream's own.
    pub(super) alias: Option<String>,
    /// Columns that were deleted from the schema by hand.
    pub(super) deleted: Vec<String>,
    /// Documented fields that the schema lacks, and that are written.
    pub(super) unlisted: Vec<String>,
    /// What the catalog says about replication: names of keys and their values.
    pub(super) replication: Vec<(&'static str, Value)>,
    /// Columns that metadata selects or deselects.
    pub(super) mentioned: Vec<String>,
    /// What the schema has or had, down into objects, in lower case.
    pub(super) known: HashSet<String>,
    /// What the tap ignores of the entry, whether or not the stream is selected.
    pub(super) stream_warnings: Vec<String>,
    /// What it ignores about columns.
    pub(super) column_warnings: Vec<String>,
}

impl StreamSelection {
    pub(super) fn parse(stream: &str, entry: &Value) -> Result<Self, CatalogError> {
        let metadata = Metadata::parse(stream, entry)?;
        let (of_stream, mut stream_warnings) = (&metadata.of_stream, Vec::new());
        let key = key_of(stream, of_stream, entry, &mut stream_warnings)?;
        let older_of_stream = [&entry["selected"], &entry["schema"]["selected"]];
        let properties = &entry["schema"]["properties"];
        let schemas = properties.as_object().cloned().unwrap_or_default();
        let has_properties = properties.is_object();
        let deleted = if has_properties { deleted_columns(of_stream, &schemas) } else { Vec::new() };
        let unlisted = if has_properties { unlisted_fields(stream, of_stream, &schemas) } else { Vec::new() };
        let mut older = BTreeMap::new();
        collect_selected(&entry["schema"], "", &mut older);
        let columns = ColumnChoices::new(stream, &metadata.of_columns, &older);
        let mut column_warnings = columns.warnings();
        if !has_properties && (!properties.is_null() || !of_stream[KNOWN_COLUMNS].is_null()) {
            column_warnings.push(
                "the schema has no object \"properties\": every column is written that the metadata does not \
                 deselect"
                    .to_owned(),
            );
        }
        stream_warnings.extend(metadata.warnings());
        stream_warnings.extend(warnings_of_stream(entry, of_stream, &older_of_stream));
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
            selected: is_selected(of_stream, &older_of_stream, false),
            deselected: columns.deselected.iter().chain(&deleted).map(|name| name.to_lowercase()).collect(),
            mentioned: columns.mentioned,
            known: older.into_keys().chain(deleted.iter().cloned()).map(|name| name.to_lowercase()).collect(),
            schemas,
            key,
            alias: alias.map(str::to_owned),
            deleted,
            unlisted,
            replication: replication.map(|(key, value)| (key, value.clone())).collect(),
            stream_warnings,
            column_warnings,
        })
    }

    /// Adds an earlier entry of the catalog for the same stream. This one counts, but what the earlier one
    /// deselects is not written either.
    pub(super) fn add_earlier(&mut self, earlier: StreamSelection) {
        if earlier.selected == Some(false) {
            self.selected = Some(false);
        }
        self.deselected.extend(earlier.deselected);
        let repeats = "the catalog has several entries for it: the last one counts, but what any of them \
                       deselects is not written";
        for (lines, earlier) in [
            (&mut self.stream_warnings, earlier.stream_warnings),
            (&mut self.column_warnings, earlier.column_warnings),
        ] {
            let new: Vec<_> = earlier.into_iter().filter(|line| !lines.contains(line)).collect();
            lines.extend(new);
        }
        if !self.stream_warnings.iter().any(|line| line == repeats) {
            self.stream_warnings.push(repeats.to_owned());
        }
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

    /// Returns the columns that identify a row of the stream `id`, which has `columns`.
    pub fn key_properties<'a>(
        &self,
        id: StreamId,
        columns: impl Iterator<Item = &'a Column>,
    ) -> Result<Vec<String>, CatalogError> {
        let Some(key) = &self.key else { return Ok(vec![PRIMARY_KEY_COLUMN.to_owned()]) };
        let selected: HashSet<&str> =
            columns.filter(|column| self.selects(column)).map(|column| column.name.as_str()).collect();
        match key.iter().find(|name| !selected.contains(name.as_str())) {
            Some(column) => Err(CatalogError::KeyNotSelected { stream: id.name(), column: column.clone() }),
            None => Ok(key.clone()),
        }
    }
}
