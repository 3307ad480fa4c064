//! Checks one value: by its text, or, if the schema says more than such a check can express, with the
//! jsonschema crate.

use jsonschema::{ValidationError, Validator};
use serde_json::Value;

use super::RecordError;
use super::date_time::is_date_time;
use super::dialect::{Dialect, has_only};

/// What a schema requires of one value.
#[derive(Debug, Default)]
pub(super) enum ValueCheck {
    /// Any value is valid.
    #[default]
    Anything,
    /// No value is valid: `additionalProperties` is false.
    Nothing,
    /// A check of the text: the value has an allowed type, and the format `date-time` if that is required of
    /// text.
    Type { allowed: TypeSet, date_time: bool },
    /// Everything that the schema says, checked by the jsonschema crate on a tree of the value.
    Schema(Box<Validator>),
}

/// Keywords that a check of the text can handle, or that do not affect which values are valid.
const TEXT_KEYWORDS: &str = "type format description title default examples $comment readOnly writeOnly \
    deprecated secret selected";

impl ValueCheck {
    /// Compiles the schema of a property.
    pub(super) fn compile(schema: &Value, dialect: Dialect) -> Result<Self, ValidationError<'static>> {
        if let Some(check) = Self::text_check(schema, dialect) {
            return Ok(check);
        }
        Ok(ValueCheck::Schema(Box::new(dialect.compile(schema)?)))
    }

    /// Returns a check that needs no tree, if there is one that says everything that the schema says.
    fn text_check(schema: &Value, dialect: Dialect) -> Option<Self> {
        let keywords = match schema {
            Value::Bool(true) => return Some(ValueCheck::Anything),
            Value::Object(keywords) => keywords,
            _ => return None,
        };
        if !has_only(keywords, TEXT_KEYWORDS) {
            return None;
        }
        let allowed = match keywords.get("type") {
            Some(names) => TypeSet::parse(names)?,
            None => TypeSet::ALL,
        };
        let separates_integers = allowed.contains(TypeSet::INTEGER) && !allowed.contains(TypeSet::FRACTION);
        if separates_integers && !dialect.whole_floats_are_integers() {
            return None;
        }
        let date_time = keywords.get("format").is_some_and(|format| format == "date-time");
        if allowed == TypeSet::ALL && !date_time {
            return Some(ValueCheck::Anything);
        }
        Some(ValueCheck::Type { allowed, date_time })
    }

    /// Whether the value, given as JSON text without space around it, passes.
    pub(super) fn passes(&self, value: &str) -> bool {
        match self {
            ValueCheck::Anything => true,
            ValueCheck::Nothing => false,
            ValueCheck::Type { allowed, date_time } => {
                allowed.contains(TypeSet::of_value(value))
                    && !(*date_time && value.starts_with('"') && !spells_date_time(value))
            }
            ValueCheck::Schema(validator) => {
                serde_json::from_str(value).is_ok_and(|value: Value| validator.is_valid(&value))
            }
        }
    }

    /// Returns the rule that the value breaks, if any. The error's field is the path within the value: empty,
    /// or `/` and names.
    pub(super) fn violation(&self, value: &str) -> Option<RecordError> {
        let found = TypeSet::of_value(value);
        match self {
            _ if self.passes(value) => None,
            ValueCheck::Anything => None,
            ValueCheck::Nothing => {
                Some(RecordError::new("", "additionalProperties", "the schema has no such property"))
            }
            ValueCheck::Type { allowed, .. } if !allowed.contains(found) => {
                let reason = format!("it must be {}, and is {}", allowed.names(), found.names());
                Some(RecordError::new("", "type", reason))
            }
            ValueCheck::Type { .. } => {
                let reason = "it must be a date-time, such as 2017-12-22T21:36:21Z; set \"validate_records\" \
                              to false to store it as it is";
                Some(RecordError::new("", "format", reason))
            }
            ValueCheck::Schema(validator) => find_violation(validator, value),
        }
    }
}

/// Returns the rule that the value breaks according to the jsonschema crate, if any. As with
/// [`ValueCheck::violation`], the error's field is a path.
pub(super) fn find_violation(validator: &Validator, value: &str) -> Option<RecordError> {
    let tree: Value = match serde_json::from_str(value) {
        Ok(tree) => tree,
        // The value is JSON, but no tree can hold it: it has a number beyond a double, or half a surrogate
        // pair.
        Err(error) => {
            return Some(RecordError::new("", "readable", format!("it cannot be checked ({error})")));
        }
    };
    let error = validator.validate(&tree).err()?;
    // The message leaves out the value, which may be long, or somebody's address.
    let reason = shorten(error.masked_with("the value").to_string());
    Some(RecordError::new(error.instance_path().to_string(), error.kind().keyword(), reason))
}

/// Cuts a message to a readable length. An `enum` can list thousands of values.
pub(super) fn shorten(mut message: String) -> String {
    const MAX_BYTES: usize = 300;
    if message.len() > MAX_BYTES {
        message.truncate((0..=MAX_BYTES).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0));
        message.push('…');
    }
    message
}

/// A set of JSON types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TypeSet(u8);

impl TypeSet {
    const NULL: Self = TypeSet(1);
    const BOOLEAN: Self = TypeSet(1 << 1);
    /// A number without a fraction, however it is written: `1.0` is one.
    pub(super) const INTEGER: Self = TypeSet(1 << 2);
    const FRACTION: Self = TypeSet(1 << 3);
    const STRING: Self = TypeSet(1 << 4);
    const ARRAY: Self = TypeSet(1 << 5);
    pub(super) const OBJECT: Self = TypeSet(1 << 6);
    const ALL: Self = TypeSet((1 << 7) - 1);

    const NAMES: [(&'static str, Self); 7] = [
        ("null", Self::NULL),
        ("boolean", Self::BOOLEAN),
        ("number", TypeSet(Self::INTEGER.0 | Self::FRACTION.0)),
        ("integer", Self::INTEGER),
        ("string", Self::STRING),
        ("array", Self::ARRAY),
        ("object", Self::OBJECT),
    ];

    /// Reads the value of the keyword `type`.
    pub(super) fn parse(names: &Value) -> Option<Self> {
        let parse_one = |name| Some(Self::NAMES.iter().find(|(known, _)| name == known)?.1);
        match names {
            Value::Array(names) => {
                names.iter().try_fold(TypeSet(0), |all, name| Some(TypeSet(all.0 | parse_one(name)?.0)))
            }
            name => parse_one(name),
        }
    }

    /// Returns the type of a value, given as JSON text.
    fn of_value(value: &str) -> Self {
        match value.as_bytes().first() {
            Some(b'"') => Self::STRING,
            Some(b'{') => Self::OBJECT,
            Some(b'[') => Self::ARRAY,
            Some(b't' | b'f') => Self::BOOLEAN,
            Some(b'n') | None => Self::NULL,
            Some(_) if is_whole(value) => Self::INTEGER,
            Some(_) => Self::FRACTION,
        }
    }

    /// Whether all types of `other` are in this set.
    pub(super) fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Lists the types' names, for people.
    fn names(self) -> String {
        let mut left = self;
        let mut names = Vec::new();
        for (name, types) in Self::NAMES {
            if left.contains(types) {
                left.0 &= !types.0;
                names.push(name);
            }
        }
        match names.as_slice() {
            // The only type without a name.
            [] => "a number with a fraction".to_owned(),
            names => names.join(" or "),
        }
    }
}

/// Whether a JSON number is an integer as JSON Schema defines it: by its value, not by its spelling. A number
/// beyond the range of a double counts as one.
fn is_whole(number: &str) -> bool {
    if !number.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E')) {
        return true;
    }
    number.parse::<f64>().is_ok_and(|value| value.is_infinite() || value.fract() == 0.0)
}

/// Whether a JSON string, given with its quotes, is a date and time.
fn spells_date_time(string: &str) -> bool {
    if string.contains('\\') {
        return serde_json::from_str::<String>(string).is_ok_and(|text| is_date_time(&text));
    }
    is_date_time(&string[1..string.len() - 1])
}
