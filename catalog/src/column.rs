//! Columns: the types there are, the JSON Schema of each, and which JSON values fit.

use serde_json::{Value, json};

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// Any text, unchanged.
    Text,
    /// An integer that fits in 64 bits with a sign.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// A moment, as RFC 3339 text in UTC.
    Timestamp,
    /// A JSON object of any shape.
    Object,
}

/// What becomes of a JSON value in a column of a given type.
#[derive(Debug, PartialEq, Eq)]
pub enum Fit<'a> {
    /// The value is null, or as good as null in this column.
    Null,
    /// This JSON text goes into the column. It is a slice of the value's own text: nothing is reprinted.
    Json(&'a str),
    /// The value is not of the column's type and must go elsewhere, unchanged.
    Misfit,
}

impl ColumnType {
    /// Decides whether `value`, the text of one JSON value without surrounding space, goes into a column of this
    /// type.
    ///
    /// In a column that is not text, `""` is null (Mailjet's test button sends `""` for every field) and text that
    /// spells a value of the column's type exactly (`"1513975381"`, `"true"`) is that value.
    #[must_use]
    pub fn fit(self, value: &str) -> Fit<'_> {
        if value == "null" {
            return Fit::Null;
        }
        match self {
            ColumnType::Text | ColumnType::Timestamp => keep_if(value, value.starts_with('"')),
            ColumnType::Object => keep_if(value, value.starts_with('{')),
            ColumnType::Integer => spelled(value, is_integer),
            ColumnType::Boolean => spelled(value, |text| matches!(text, "true" | "false")),
        }
    }

    /// The JSON Schema type name.
    #[must_use]
    pub fn json_type(self) -> &'static str {
        match self {
            ColumnType::Text | ColumnType::Timestamp => "string",
            ColumnType::Integer => "integer",
            ColumnType::Boolean => "boolean",
            ColumnType::Object => "object",
        }
    }
}

/// One column of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Name, exactly as it stands in SCHEMA and RECORD.
    pub name: String,
    /// Type of the values.
    pub kind: ColumnType,
    /// Whether a row may have no value here.
    pub nullable: bool,
    /// What the column holds, for people who read the catalog.
    pub description: String,
}

impl Column {
    /// The column's JSON Schema, as it stands in a SCHEMA message.
    #[must_use]
    pub fn json_schema(&self) -> Value {
        let types = if self.nullable {
            json!([self.kind.json_type(), "null"])
        } else {
            json!([self.kind.json_type()])
        };
        let mut schema = json!({ "type": types });
        if self.kind == ColumnType::Timestamp {
            schema["format"] = json!("date-time");
        }
        schema["description"] = json!(self.description);
        schema
    }
}

fn keep_if(value: &str, fits: bool) -> Fit<'_> {
    if fits { Fit::Json(value) } else { Fit::Misfit }
}

/// A value that is of the type as it stands, or text that spells one.
fn spelled(value: &str, is_of_type: impl Fn(&str) -> bool) -> Fit<'_> {
    let bare = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    match bare {
        Some("") => Fit::Null,
        Some(text) => keep_if(text, is_of_type(text)),
        None => keep_if(value, is_of_type(value)),
    }
}

/// Whether `text` is a JSON integer (no fraction, no exponent, no leading zero) within 64 bits.
fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text).as_bytes();
    let well_formed = match digits {
        [b'0'] => true,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    // Up to 18 digits always fit; only longer ones need arithmetic.
    well_formed && (digits.len() <= 18 || text.parse::<i64>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_goes_into_its_column_or_elsewhere_unchanged() {
        use ColumnType::{Boolean, Integer, Object, Text};
        let cases = [
            (Text, r#""a@example.com""#, Fit::Json(r#""a@example.com""#)),
            (Text, r#""""#, Fit::Json(r#""""#)),
            (Text, "null", Fit::Null),
            (Text, "5", Fit::Misfit),
            (Text, r#"{"a":1}"#, Fit::Misfit),
            (Integer, "576460779645409236", Fit::Json("576460779645409236")),
            (Integer, r#""1513975381""#, Fit::Json("1513975381")),
            (Integer, r#""""#, Fit::Null),
            (Integer, "null", Fit::Null),
            (Integer, "-9223372036854775808", Fit::Json("-9223372036854775808")),
            (Integer, "9223372036854775807", Fit::Json("9223372036854775807")),
            (Integer, "9223372036854775808", Fit::Misfit),
            (Integer, "1.0", Fit::Misfit),
            (Integer, "1e3", Fit::Misfit),
            (Integer, r#""007""#, Fit::Misfit),
            (Integer, r#"" 7""#, Fit::Misfit),
            (Integer, r#""+7""#, Fit::Misfit),
            (Integer, r#""null""#, Fit::Misfit),
            (Integer, "true", Fit::Misfit),
            (Boolean, "true", Fit::Json("true")),
            (Boolean, r#""false""#, Fit::Json("false")),
            (Boolean, r#""""#, Fit::Null),
            (Boolean, r#""True""#, Fit::Misfit),
            (Boolean, "1", Fit::Misfit),
            (Object, r#"{"a":1}"#, Fit::Json(r#"{"a":1}"#)),
            (Object, "[1]", Fit::Misfit),
        ];
        for (kind, value, expected) in cases {
            assert_eq!(kind.fit(value), expected, "{value} in a column of type {kind:?}");
        }
    }
}
