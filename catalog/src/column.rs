//! Columns: their types, the JSON Schema of each, and which JSON values fit.

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::members::json_string;
use crate::schema::types_of;

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// Any text, unchanged.
    Text,
    /// A signed 64-bit integer.
    Integer,
    /// A number that a double holds without loss: up to 15 significant digits, not huge and not tiny.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A date and time, as RFC 3339 text in UTC.
    Timestamp,
    /// Any JSON object.
    Object,
}

/// Whether a JSON value fits a column of a given type.
#[derive(Debug, PartialEq, Eq)]
pub enum Fit<'a> {
    /// The column gets null: the value is null, or counts as null in this column.
    Null,
    /// The column gets this JSON text.
    Json(Cow<'a, str>),
    /// The value does not have the column's type, and must go into another column.
    Misfit,
}

impl ColumnType {
    /// The types that a field's column can have.
    const FIELD_TYPES: [Self; 5] = [Self::Text, Self::Integer, Self::Number, Self::Boolean, Self::Object];

    /// Decides whether `value`, the text of one JSON value without surrounding space, goes into a column of
    /// this type.
    ///
    /// - In a column that is not text, `""` is null: Mailjet's test button sends `""` for every field.
    /// - In a column of numbers or booleans, text that exactly spells a value of the column's type
    ///   (`"1513975381"`, `"true"`) is that value.
    /// - In a text column, only a value whose own type ([`ColumnType::infer`]) is text fits.
    ///
    /// Numbers are copied, never reformatted.
    pub fn fit(self, value: &str) -> Fit<'_> {
        match self {
            // By far the most common case.
            ColumnType::Text if value.starts_with('"') => Fit::Json(Cow::Borrowed(value)),
            _ if value == "null" => Fit::Null,
            ColumnType::Text => match ColumnType::infer(value) {
                ColumnType::Text => Fit::Json(self.to_json(value)),
                _ => Fit::Misfit,
            },
            ColumnType::Timestamp => fit_if(value, value.starts_with('"')),
            ColumnType::Object if value == "\"\"" => Fit::Null,
            ColumnType::Object => fit_if(value, value.starts_with('{')),
            ColumnType::Integer => fit_spelled(value, is_integer),
            ColumnType::Number => fit_spelled(value, is_exact_double),
            ColumnType::Boolean => fit_spelled(value, |text| matches!(text, "true" | "false")),
        }
    }

    /// Returns the type that a column for `value` needs. Text is also the type of arrays and objects, and of
    /// numbers that are neither a 64-bit integer nor exact as a double: the column holds their JSON text.
    pub fn infer(value: &str) -> Self {
        match value.as_bytes().first() {
            Some(b't' | b'f') => ColumnType::Boolean,
            Some(b'-' | b'0'..=b'9') if is_integer(value) => ColumnType::Integer,
            Some(b'-' | b'0'..=b'9') if is_exact_double(value) => ColumnType::Number,
            _ => ColumnType::Text,
        }
    }

    /// Returns the JSON text of `value` in a column of this type, which must be the value's own type or text.
    /// In a text column, a value that is not a string becomes a string that holds its JSON text.
    pub fn to_json(self, value: &str) -> Cow<'_, str> {
        if self == ColumnType::Text && !value.starts_with('"') {
            Cow::Owned(json_string(value))
        } else {
            Cow::Borrowed(value)
        }
    }

    /// Returns the name of the type in JSON Schema.
    pub fn json_type(self) -> &'static str {
        match self {
            ColumnType::Text | ColumnType::Timestamp => "string",
            ColumnType::Integer => "integer",
            ColumnType::Number => "number",
            ColumnType::Boolean => "boolean",
            ColumnType::Object => "object",
        }
    }

    /// Returns the suffix of a split column: values that do not fit the column `a` go into `a__st` and the
    /// like, as with Stitch.
    pub fn split_suffix(self) -> &'static str {
        match self {
            ColumnType::Integer => "it",
            ColumnType::Number => "fl",
            ColumnType::Boolean => "bl",
            ColumnType::Text | ColumnType::Timestamp | ColumnType::Object => "st",
        }
    }

    /// Whether this is the suffix of a split column.
    pub fn is_split_suffix(suffix: &str) -> bool {
        Self::FIELD_TYPES.into_iter().any(|column_type| column_type.split_suffix() == suffix)
    }

    /// Returns the type with this name in JSON Schema, if there is one.
    pub fn from_json_type(json_type: &str) -> Option<Self> {
        Self::FIELD_TYPES.into_iter().find(|column_type| column_type.json_type() == json_type)
    }

    /// Returns the type that a JSON Schema asks for, if its `type` names exactly one, with or without null.
    pub fn from_schema(schema: &Value) -> Option<Self> {
        match types_of(schema)[..] {
            [name] => Self::from_json_type(name),
            _ => None,
        }
    }

    /// Returns what a JSON Schema says about the type, if no column can have that type. A schema that says
    /// nothing about it is fine.
    pub fn unsupported_type(schema: &Value) -> Option<String> {
        let Some(keywords) = schema.as_object() else {
            // The schema `true` allows anything.
            return (schema != &Value::Bool(true)).then(|| schema.to_string());
        };
        if Self::from_schema(schema).is_some() {
            return None;
        }
        if let Some(types) = keywords.get("type") {
            return Some(format!("\"type\": {types}"));
        }
        let others = ["anyOf", "oneOf", "allOf", "$ref"];
        others.into_iter().find(|name| keywords.contains_key(*name)).map(|name| format!("\"{name}\""))
    }
}

/// Where the values of a column come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnSource {
    /// A field of the event.
    Field,
    /// The values that have no column of their own.
    Extra,
    /// The hash of the event's content.
    PrimaryKey,
    /// The sequence that the spool assigned to the event.
    Sequence,
    /// When the event's webhook arrived.
    ReceivedAt,
    /// When the row was written.
    BatchedAt,
    /// The version of the table.
    TableVersion,
    /// The table that a rejected item was meant for.
    TableName,
    /// Why an item was rejected.
    Reason,
    /// A rejected item as text.
    Record,
    /// A rejected item's bytes.
    RecordBase64,
}

/// One column of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Name, exactly as in SCHEMA and RECORD.
    pub name: String,
    /// Type of the values.
    pub column_type: ColumnType,
    /// Whether a row may have null here.
    pub nullable: bool,
    /// Where the values come from.
    pub source: ColumnSource,
    /// What the column holds, for people who read the catalog.
    pub description: String,
}

impl Column {
    /// Returns the column's JSON Schema, as in a SCHEMA message.
    pub fn json_schema(&self) -> Value {
        let name = self.column_type.json_type();
        let types = if self.nullable { json!([name, "null"]) } else { json!([name]) };
        let mut schema = json!({ "type": types });
        if self.column_type == ColumnType::Timestamp {
            schema["format"] = json!("date-time");
        }
        schema["description"] = json!(self.description);
        schema
    }

    /// Whether the column cannot be deselected: the row's key and its position.
    pub fn is_automatic(&self) -> bool {
        matches!(self.source, ColumnSource::PrimaryKey | ColumnSource::Sequence)
    }
}

fn fit_if(value: &str, fits: bool) -> Fit<'_> {
    if fits { Fit::Json(Cow::Borrowed(value)) } else { Fit::Misfit }
}

/// Fits a value that has the type, or text that spells such a value.
fn fit_spelled(value: &str, is_of_type: impl Fn(&str) -> bool) -> Fit<'_> {
    let bare = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    match bare {
        Some("") => Fit::Null,
        // Escapes do not change what the text says.
        Some(text) if text.contains('\\') => match serde_json::from_str::<String>(value) {
            Ok(text) if is_of_type(&text) => Fit::Json(Cow::Owned(text)),
            _ => Fit::Misfit,
        },
        Some(text) => fit_if(text, is_of_type(text)),
        None => fit_if(value, is_of_type(value)),
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
    // 18 digits always fit. Only longer numbers need arithmetic.
    well_formed && (digits.len() <= 18 || text.parse::<i64>().is_ok())
}

/// Whether `text` is a JSON number that a double holds without loss. A target may print it differently, but
/// as the same number.
fn is_exact_double(text: &str) -> bool {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_number = all_digits(whole)
        && (whole.len() == 1 || !whole.starts_with('0'))
        && all_digits(fraction)
        && all_digits(exponent.strip_prefix(['-', '+']).unwrap_or(exponent));
    if !is_number {
        return false;
    }
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).skip_while(|digit| *digit == b'0').count();
    // Near the limits of a double's range, digits are lost.
    let is_in_range = |number: f64| digits == 0 || (1e-300..1e300).contains(&number.abs());
    // Every double keeps 15 significant digits.
    digits <= 15 && text.parse().is_ok_and(is_in_range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_fits_its_column_unchanged_or_not_at_all() {
        use ColumnType::{Boolean, Integer, Number, Object, Text};
        let unchanged = [
            (Text, r#""a@example.com" | """#),
            (Number, "1.10 | 5 | -0.0 | 1E+2"),
            (Integer, "576460779645409236 | -9223372036854775808 | 9223372036854775807"),
            (Boolean, "true"),
            (Object, r#"{"a":1}"#),
        ];
        let null = [
            (Text, "null"),
            (Number, r#""""#),
            (Integer, r#""" | null"#),
            (Boolean, r#""""#),
            (Object, r#""""#),
        ];
        let misfits = [
            (Text, "5 | true"),
            (Number, r#""1." | "01.5" | "NaN" | 576460779645409236 | 0.1234567890123456 | 1e400 | 1e-400"#),
            (Integer, r#"9223372036854775808 | 1.0 | 1e3 | "007" | " 7" | "+7" | "null" | true | "\ud800""#),
            (Boolean, r#""True" | 1"#),
            (Object, r#"[1] | "{}""#),
        ];
        let changed = [
            (Text, r#"[1, "a"]"#, r#""[1, \"a\"]""#),
            (Text, "{}", r#""{}""#),
            (Text, "18446744073709551616", r#""18446744073709551616""#),
            (Number, r#""2.50""#, "2.50"),
            (Integer, r#""1513975381""#, "1513975381"),
            (Integer, r#""\u0035""#, "5"),
            (Boolean, r#""false""#, "false"),
            (Boolean, r#""tru\u0065""#, "true"),
        ];
        let check = |column_type: ColumnType, value: &str, expected: Fit<'_>| {
            assert_eq!(column_type.fit(value), expected, "{value} in a column of type {column_type:?}");
        };
        let json = |text| Fit::Json(Cow::Borrowed(text));
        for (column_type, values) in unchanged {
            values.split(" | ").for_each(|value| check(column_type, value, json(value)));
        }
        for (column_type, values) in null {
            values.split(" | ").for_each(|value| check(column_type, value, Fit::Null));
        }
        for (column_type, values) in misfits {
            values.split(" | ").for_each(|value| check(column_type, value, Fit::Misfit));
        }
        for (column_type, value, expected) in changed {
            check(column_type, value, json(expected));
        }
    }

    #[test]
    fn a_columns_type_is_inferred_from_a_value() {
        use ColumnType::{Boolean, Integer, Number, Text};
        let cases = [
            (Text, r#""x" | 9223372036854775808 | 1e400 | 3.14159265358979323846 | [1] | {"a":1}"#),
            (Boolean, "true"),
            (Integer, "-5 | 9223372036854775807"),
            (Number, "1.5 | 1e3"),
        ];
        for (expected, values) in cases {
            for value in values.split(" | ") {
                assert_eq!(ColumnType::infer(value), expected, "{value}");
            }
        }
    }
}
