//! What a catalog says about one stream.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};

use super::CatalogError;
use super::read::{
    collect_selected, deleted_columns, field_of, is_selected, key_of, parse_bool, unlisted_fields,
};
use crate::column::{Column, ColumnType};
use crate::stream::{PRIMARY_KEY_COLUMN, Stream, StreamId};

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
    /// Values of `selected` that are neither true nor false, and where they are.
    pub(super) unreadable: Vec<(String, Value)>,
}

impl StreamSelection {
    pub(super) fn parse(stream: &str, entry: &Value) -> Result<Self, CatalogError> {
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
