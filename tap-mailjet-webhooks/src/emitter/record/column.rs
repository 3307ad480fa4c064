//! How a value is written in a column.

use catalog::column::{Column, ColumnSource, ColumnType, Fit};
use catalog::members;
use catalog::selection::StreamSelection;
use serde_json::{Value, json};

use super::target_safe;

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
    if column.source != ColumnSource::Field {
        return None;
    }
    let mut schema = selection.schema(&column.name)?.clone();
    let column_type = ColumnType::from_schema(&schema)?;
    // Constraints are left out: the values are Mailjet's, and a target would stop at one that breaks a
    // constraint.
    schema.as_object_mut()?.retain(|keyword, _| {
        matches!(keyword.as_str(), "title" | "description") || keyword.starts_with("x-")
    });
    // Whatever the type, a field may be missing.
    schema["type"] = json!([column_type.json_type(), "null"]);
    Some(schema)
}
