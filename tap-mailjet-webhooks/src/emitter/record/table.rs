//! A stream as it is written: its columns, to which new fields add more, and how a value is written in one.

use std::collections::{HashMap, HashSet};

use catalog::column::{Column, ColumnSource, ColumnType, Fit};
use catalog::members;
use catalog::message::OutgoingMessage;
use catalog::selection::{CatalogError, StreamSelection};
use catalog::stream::{EXTRA_COLUMN, Stream, StreamId, discovered_column};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::target_safe;
use crate::spool::DiscoveredColumn;

/// How long the names of the columns that have appeared may be on average. Each row repeats the name of each
/// column.
const MEAN_NAME_BYTES: usize = 32;

/// How to handle a field that the catalog does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UnknownFields {
    /// It becomes a new column.
    #[default]
    Columns,
    /// It goes into one JSON column, and the schema never changes.
    Extra,
}

/// The type of the column that holds the values without a column of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ExtraColumn {
    /// JSON text, which every target and mapper keeps.
    #[default]
    Text,
    /// A JSON object. Targets and mappers that flatten objects drop it.
    Object,
}

impl ExtraColumn {
    fn column_type(self) -> ColumnType {
        match self {
            ExtraColumn::Text => ColumnType::Text,
            ExtraColumn::Object => ColumnType::Object,
        }
    }
}

/// Which columns appear besides those that the catalog knows.
#[derive(Debug, Clone, Copy)]
pub struct ColumnRules {
    /// How to handle fields that the catalog does not know.
    pub unknown_fields: UnknownFields,
    /// How many columns may appear besides the documented ones and those that a catalog declares.
    pub max_discovered: usize,
    /// The type of the column that holds the values without a column of their own.
    pub extra_column: ExtraColumn,
}

/// Returns a stream with its documented columns and those of `discovered` that appeared in its events. The
/// spool's registry remembers them, so that a column keeps its type in any process.
///
/// The system prefix may have been changed since they appeared, so that a system column now has the name of
/// one of them, or one that differs only by case. Many databases take the two for the same name: the system
/// column stays.
pub(crate) fn stream_with_discovered_columns(
    id: StreamId,
    system_prefix: &str,
    discovered: &[DiscoveredColumn],
    extra_column: ExtraColumn,
) -> Stream {
    let mut stream = Stream::new(id, system_prefix);
    let taken: HashSet<_> = stream.columns.iter().map(|column| column.name.to_lowercase()).collect();
    let of_stream = discovered.iter().filter(|column| column.stream == id.name());
    let free = of_stream.filter(|column| !taken.contains(&column.name.to_lowercase()));
    stream.columns.extend(free.map(|column| {
        // A type that a later version has written is text here, which takes any value.
        let column_type = match column.name == EXTRA_COLUMN {
            true => extra_column.column_type(),
            false => ColumnType::from_json_type(&column.json_type).unwrap_or(ColumnType::Text),
        };
        discovered_column(column.name.clone(), column_type)
    }));
    stream
}

#[derive(Debug)]
pub(crate) struct Table {
    id: StreamId,
    /// The stream's name in messages.
    pub(super) name: String,
    replication_key: String,
    key_properties: Vec<String>,
    pub(super) selection: StreamSelection,
    pub(super) rules: ColumnRules,
    /// In the order in which they are written.
    pub(super) columns: Vec<OutputColumn>,
    /// How many of them have appeared, and the bytes of their names.
    discovered: usize,
    discovered_name_bytes: usize,
    index_by_name: HashMap<String, usize>,
    lowercase_names: HashSet<String>,
    /// The names of the columns that the registry remembers.
    remembered: HashSet<String>,
    /// Columns that the registry does not know yet.
    pub(super) new_columns: Vec<DiscoveredColumn>,
}

impl Table {
    pub(crate) fn new(
        mut stream: Stream,
        selection: StreamSelection,
        rules: ColumnRules,
    ) -> Result<Self, CatalogError> {
        let discovered = stream.columns.get(stream.documented..).unwrap_or_default();
        let remembered = discovered.iter().map(|column| column.name.clone()).collect();
        // The column for values without one is no field's, and takes no room from others.
        let of_fields = discovered.iter().filter(|column| column.name != EXTRA_COLUMN);
        let discovered_name_bytes = of_fields.clone().map(|column| column.name.len()).sum();
        let discovered = of_fields.count();
        let mut taken: HashSet<_> = stream.columns.iter().map(|column| column.name.to_lowercase()).collect();
        if rules.unknown_fields == UnknownFields::Extra && taken.insert(EXTRA_COLUMN.to_lowercase()) {
            let column_type = rules.extra_column.column_type();
            stream.columns.push(discovered_column(EXTRA_COLUMN.to_owned(), column_type));
        }
        let declared: Vec<Column> = selection
            .declared()
            .filter(|(name, _)| target_safe::is_target_safe_name(name) && !Stream::is_system(name))
            // The first of several names that differ only by case has the column, as elsewhere.
            .filter(|(name, _)| taken.insert(name.to_lowercase()))
            .map(|(name, column_type)| discovered_column(name.to_owned(), column_type))
            .collect();
        let mut table = Table {
            id: stream.id,
            name: selection.stream_name(stream.id).to_owned(),
            replication_key: stream.replication_key().to_owned(),
            key_properties: selection.key_properties(stream.id, stream.columns.iter().chain(&declared))?,
            selection,
            rules,
            columns: Vec::new(),
            discovered,
            discovered_name_bytes,
            index_by_name: HashMap::new(),
            lowercase_names: HashSet::new(),
            remembered,
            new_columns: Vec::new(),
        };
        for column in stream.columns {
            table.add_column(column);
        }
        for column in declared {
            // Nothing is known of its values, so a column of text takes any of them.
            let takes_all = column.column_type == ColumnType::Text;
            table.add_column(column);
            table.columns.last_mut().expect("it was added").converts_to_text = takes_all;
        }
        Ok(table)
    }

    /// The columns that are written, each with its index.
    pub(super) fn selected_columns(&self) -> impl Iterator<Item = (usize, &OutputColumn)> {
        self.columns.iter().enumerate().filter(|(_, column)| column.is_selected)
    }

    /// Returns the index of the column for a field, whether or not it is selected.
    pub(super) fn field_column(&self, name: &str) -> Option<usize> {
        let index = *self.index_by_name.get(name)?;
        (self.columns[index].source == ColumnSource::Field).then_some(index)
    }

    pub(super) fn has_extra_column(&self) -> bool {
        self.index_by_name.contains_key(EXTRA_COLUMN)
    }

    /// Whether a column for a field with this name can be added.
    pub(super) fn can_add_column(&self, name: &str) -> bool {
        self.rules.unknown_fields == UnknownFields::Columns
            && self.discovered < self.rules.max_discovered
            && self.discovered_name_bytes + name.len() <= self.rules.max_discovered * MEAN_NAME_BYTES
            && target_safe::is_target_safe_name(name)
            && !self.lowercase_names.contains(&name.to_lowercase())
            // A column may have the name of a deselected field although its values do not come from that
            // field.
            && self.selection.selects_field(name, 0)
    }

    /// Adds a column that was not known before.
    pub(super) fn add_new_column(&mut self, name: &str, column_type: ColumnType) {
        self.discovered += 1;
        self.discovered_name_bytes += name.len();
        self.remembered.insert(name.to_owned());
        self.new_columns.push(DiscoveredColumn {
            stream: self.id.name().to_owned(),
            name: name.to_owned(),
            json_type: column_type.json_type().to_owned(),
        });
        self.add_column(discovered_column(name.to_owned(), column_type));
    }

    /// Adds the column for values that have no column of their own. It does not count as one that appeared.
    pub(super) fn add_extra_column(&mut self) {
        self.add_new_column(EXTRA_COLUMN, self.rules.extra_column.column_type());
        self.discovered -= 1;
        self.discovered_name_bytes -= EXTRA_COLUMN.len();
    }

    fn add_column(&mut self, column: Column) {
        self.add_output_column(OutputColumn::new(column, &self.selection));
    }

    fn add_output_column(&mut self, column: OutputColumn) {
        self.index_by_name.insert(column.name.clone(), self.columns.len());
        self.lowercase_names.insert(column.name.to_lowercase());
        self.columns.push(column);
    }

    /// Removes the columns that the registry no longer remembers: `discovered` has those that it does.
    /// Returns whether the SCHEMA has changed.
    pub(crate) fn forget_columns(&mut self, discovered: &[DiscoveredColumn]) -> bool {
        let of_stream = discovered.iter().filter(|column| column.stream == self.id.name());
        let still: HashSet<&str> = of_stream.map(|column| column.name.as_str()).collect();
        let forgotten: Vec<String> =
            self.remembered.iter().filter(|name| !still.contains(name.as_str())).cloned().collect();
        for name in &forgotten {
            self.remembered.remove(name);
            if name != EXTRA_COLUMN {
                self.discovered = self.discovered.saturating_sub(1);
                self.discovered_name_bytes = self.discovered_name_bytes.saturating_sub(name.len());
            }
        }
        let (gone, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.columns)
            .into_iter()
            .partition(|column| forgotten.contains(&column.name));
        self.index_by_name.clear();
        self.lowercase_names.clear();
        for column in kept {
            self.add_output_column(column);
        }
        gone.iter().any(|column| column.is_selected)
    }

    /// Whether any of these columns is in the SCHEMA.
    pub(super) fn selects_any(&self, columns: &[DiscoveredColumn]) -> bool {
        columns.iter().any(|column| self.columns[self.index_by_name[&column.name]].is_selected)
    }

    pub(crate) fn write_schema(&self, out: &mut Vec<u8>) {
        let schema = self.json_schema();
        let key: Vec<&str> = self.key_properties.iter().map(String::as_str).collect();
        OutgoingMessage::Schema {
            stream: &self.name,
            schema: &schema,
            key_properties: &key,
            bookmark_properties: &[&self.replication_key],
        }
        .write_line(out);
    }

    pub(super) fn json_schema(&self) -> Value {
        let columns = self.selected_columns();
        let properties: Map<String, Value> =
            columns.map(|(_, column)| (column.name.clone(), column.schema.clone())).collect();
        json!({ "type": "object", "properties": properties })
    }
}

/// A column of a stream, as it is written.
#[derive(Debug)]
pub(super) struct OutputColumn {
    pub(super) name: String,
    /// The name as a JSON string, and a colon.
    pub(super) label: Vec<u8>,
    pub(super) source: ColumnSource,
    pub(super) is_selected: bool,
    /// The column's JSON Schema: the catalog's if it has one, otherwise the tap's.
    pub(super) schema: Value,
    pub(super) column_type: ColumnType,
    /// Whether the catalog asks for text although the field is of another type. Then values of any type
    /// become text.
    converts_to_text: bool,
}

impl OutputColumn {
    pub(super) fn new(column: Column, selection: &StreamSelection) -> Self {
        let schema = catalog_schema(&column, selection).unwrap_or_else(|| column.json_schema());
        let column_type = ColumnType::from_schema(&schema).unwrap_or(column.column_type);
        let mut label = members::json_string(&column.name).into_bytes();
        label.push(b':');
        OutputColumn {
            label,
            source: column.source,
            is_selected: selection.selects(&column),
            schema,
            column_type,
            converts_to_text: column_type == ColumnType::Text && column.column_type != ColumnType::Text,
            name: column.name,
        }
    }

    /// Decides how a value is written in this column, if it fits.
    #[inline]
    pub(super) fn fit<'v>(&self, value: &'v str) -> Fit<'v> {
        match self.column_type.fit(value) {
            Fit::Json(_) if self.column_type == ColumnType::Object => {
                // Elsewhere its JSON text would do, but not in a column of objects.
                if target_safe::is_target_safe(value) {
                    Fit::Json(target_safe::one_line(value))
                } else {
                    Fit::Misfit
                }
            }
            Fit::Misfit if self.converts_to_text => Fit::Json(self.column_type.to_json(value)),
            fit => fit,
        }
    }

    /// Whether values of this type that do not fit their own column can be written in this one.
    pub(super) fn takes_split_values(&self, value_type: ColumnType) -> bool {
        self.is_selected && (self.column_type == value_type || self.converts_to_text)
    }
}

/// Returns the catalog's schema for a field's column, if it names a type that a column can have. Values
/// follow that type.
fn catalog_schema(column: &Column, selection: &StreamSelection) -> Option<Value> {
    let mut schema = selection.schema(&column.name)?.clone();
    let column_type = ColumnType::from_schema(&schema)?;
    let is_obeyed = match column.source {
        ColumnSource::Field => true,
        ColumnSource::Extra => matches!(column_type, ColumnType::Text | ColumnType::Object),
        _ => false,
    };
    if !is_obeyed {
        return None;
    }
    // Constraints are left out: the values are Mailjet's, and a target would stop at one that breaks a
    // constraint.
    schema.as_object_mut()?.retain(|keyword, _| {
        matches!(keyword.as_str(), "title" | "description") || keyword.starts_with("x-")
    });
    // Whatever the type, a field may be missing.
    schema["type"] = json!([column_type.json_type(), "null"]);
    Some(schema)
}
