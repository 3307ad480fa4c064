//! What one value must be like: a check that reads the value's text, or, where the schema says more than such a check
//! can express, the jsonschema crate.

use jsonschema::{ValidationError, Validator};
use serde_json::Value;

use super::date_time::is_date_time;
use super::dialect::Dialect;

/// What a schema demands of one value.
#[derive(Debug)]
pub(super) enum Check {
    /// Nothing.
    Anything,
    /// That there be no such value: `additionalProperties` is false.
    Nothing,
    /// A type, and perhaps that text be a date and time.
    Type {
        /// The types that are allowed.
        allowed: Types,
        /// Whether text must be of the format `date-time`.
        date_time: bool,
    },
    /// Whatever the schema says, checked by the jsonschema crate on a tree of the value.
    Schema(Box<Validator>),
}

/// Which rule a value breaks.
#[derive(Debug)]
pub(super) struct Breach {
    /// Path to the broken part within the value; empty, or `/` and names.
    pub(super) path: String,
    /// The schema's keyword.
    pub(super) rule: String,
    /// What the keyword demands.
    pub(super) reason: String,
}

/// Keywords that say nothing about which values are right, or that a quick check knows.
const QUICK_KEYWORDS: [&str; 12] = [
    "type",
    "format",
    "description",
    "title",
    "default",
    "examples",
    "$comment",
    "readOnly",
    "writeOnly",
    "deprecated",
    "secret",
    "selected",
];

impl Check {
    /// The check for a property's schema.
    pub(super) fn compile(schema: &Value, dialect: Dialect) -> Result<Self, ValidationError<'static>> {
        if let Some(quick) = Self::quick(schema, dialect) {
            return Ok(quick);
        }
        Ok(Check::Schema(Box::new(dialect.compile(schema)?)))
    }

    /// A check that needs no tree, if there is one that says all that the schema says.
    fn quick(schema: &Value, dialect: Dialect) -> Option<Self> {
        let keywords = match schema {
            Value::Bool(true) => return Some(Check::Anything),
            Value::Object(keywords) => keywords,
            _ => return None,
        };
        if !keywords.keys().all(|keyword| QUICK_KEYWORDS.contains(&keyword.as_str())) {
            return None;
        }
        let allowed = match keywords.get("type") {
            Some(names) => Types::named(names)?,
            None => Types::ALL,
        };
        let tells_integers_apart = allowed.contains(Types::INTEGER) && !allowed.contains(Types::FRACTION);
        if tells_integers_apart && !dialect.whole_floats_are_integers() {
            return None;
        }
        let date_time = keywords.get("format").is_some_and(|format| format == "date-time");
        if allowed == Types::ALL && !date_time {
            return Some(Check::Anything);
        }
        Some(Check::Type { allowed, date_time })
    }

    /// Whether the value, given as JSON text without space around it, passes.
    pub(super) fn passes(&self, value: &str) -> bool {
        match self {
            Check::Anything => true,
            Check::Nothing => false,
            Check::Type { allowed, date_time } => {
                allowed.contains(Types::of(value))
                    && !(*date_time && value.starts_with('"') && !spells_date_time(value))
            }
            Check::Schema(validator) => {
                serde_json::from_str(value).is_ok_and(|value: Value| validator.is_valid(&value))
            }
        }
    }

    /// Which rule the value breaks, if any.
    pub(super) fn breach(&self, value: &str) -> Option<Breach> {
        if self.passes(value) {
            return None;
        }
        let breach =
            |rule: &str, reason: String| Breach { path: String::new(), rule: rule.to_owned(), reason };
        Some(match self {
            Check::Anything => return None,
            Check::Nothing => breach("additionalProperties", "the schema has no such property".to_owned()),
            Check::Type { allowed, .. } if !allowed.contains(Types::of(value)) => {
                breach("type", format!("it must be {}, and is {}", allowed.list(), Types::of(value).list()))
            }
            Check::Type { .. } => {
                breach("format", "it must be an RFC 3339 date-time, such as 2017-12-22T21:36:21Z".to_owned())
            }
            Check::Schema(validator) => breach_of_tree(validator, value)?,
        })
    }
}

/// Which rule of the jsonschema crate's the value breaks, if any.
pub(super) fn breach_of_tree(validator: &Validator, value: &str) -> Option<Breach> {
    let tree: Value = match serde_json::from_str(value) {
        Ok(tree) => tree,
        // It is JSON, or the message would not have been read; but there are values that no tree can hold.
        Err(error) => {
            return Some(Breach {
                path: String::new(),
                rule: "readable".to_owned(),
                reason: format!("it can't be checked ({error})"),
            });
        }
    };
    let error = validator.validate(&tree).err()?;
    let keyword = error.kind().keyword().to_owned();
    // The value itself stays out of the message: it may be long, and it may be somebody's address.
    let reason = error.masked_with("the value").to_string();
    Some(Breach { path: error.instance_path().to_string(), rule: keyword, reason: shortened(reason) })
}

/// Keeps a message to one line of a sensible length: an `enum` can list thousands of values.
pub(super) fn shortened(mut reason: String) -> String {
    const LONGEST: usize = 300;
    if reason.len() > LONGEST {
        reason.truncate((0..=LONGEST).rev().find(|at| reason.is_char_boundary(*at)).unwrap_or(0));
        reason.push('…');
    }
    reason
}

/// A set of JSON types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Types(u8);

impl Types {
    const NULL: Self = Types(1);
    const BOOLEAN: Self = Types(1 << 1);
    /// A number without a fraction, however it is written: `1.0` is one.
    pub(super) const INTEGER: Self = Types(1 << 2);
    const FRACTION: Self = Types(1 << 3);
    const STRING: Self = Types(1 << 4);
    const ARRAY: Self = Types(1 << 5);
    pub(super) const OBJECT: Self = Types(1 << 6);
    const ALL: Self = Types((1 << 7) - 1);

    const NAMES: [(&'static str, Self); 7] = [
        ("null", Self::NULL),
        ("boolean", Self::BOOLEAN),
        ("number", Types(Self::INTEGER.0 | Self::FRACTION.0)),
        ("integer", Self::INTEGER),
        ("string", Self::STRING),
        ("array", Self::ARRAY),
        ("object", Self::OBJECT),
    ];

    /// The types that the keyword `type` names.
    pub(super) fn named(names: &Value) -> Option<Self> {
        let one = |name: &Value| {
            let known = Self::NAMES.iter().find(|(known, _)| name == known)?;
            Some(known.1)
        };
        match names {
            Value::Array(names) => {
                names.iter().try_fold(Types(0), |all, name| Some(Types(all.0 | one(name)?.0)))
            }
            name => one(name),
        }
    }

    /// The type of a value, given as JSON text.
    fn of(value: &str) -> Self {
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

    /// Whether all of `other` is in this set.
    pub(super) fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The types' names, for people.
    fn list(self) -> String {
        let mut left = self;
        let mut names = Vec::new();
        for (name, types) in Self::NAMES {
            if left.contains(types) {
                left.0 &= !types.0;
                names.push(name);
            }
        }
        match names.as_slice() {
            // Only the type of a value comes out without a name.
            [] => "a number with a fraction".to_owned(),
            names => names.join(" or "),
        }
    }
}

/// Whether a JSON number is an integer in the sense of JSON Schema, which asks for the value and not for its spelling.
/// A number past what a double can hold has no fraction that could be seen.
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
