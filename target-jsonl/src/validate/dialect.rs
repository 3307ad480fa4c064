//! The drafts of JSON Schema, and how the jsonschema crate is set up for them.

use jsonschema::{Draft, ValidationError, Validator};
use serde_json::{Map, Value};

use super::date_time::is_date_time;
use super::multiple_of;

/// A draft of JSON Schema, as Singer targets read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dialect(Draft);

/// Formats that the jsonschema crate would check. Singer taps use them as hints: the Meltano SDK's own test
/// has the `time` "12:00:00", which lacks the zone that the standard requires.
const UNCHECKED_FORMATS: &str = "date duration email hostname idn-email idn-hostname ipv4 ipv6 iri \
    iri-reference json-pointer regex relative-json-pointer time uri uri-reference uri-template uuid";

/// Keywords that tie a part of a schema to something outside that part, or that change its dialect.
const REFERENCES: [&str; 8] =
    ["$ref", "$dynamicRef", "$recursiveRef", "$id", "id", "$anchor", "$dynamicAnchor", "$schema"];

impl Dialect {
    /// Compiles a whole schema in the dialect that it names with `$schema`, or else in draft 7, which the
    /// Meltano SDK assumes. Older taps write draft 4 without saying so, so draft 4 is tried if draft 7 does
    /// not fit.
    pub(super) fn detect(schema: &Value) -> Result<(Self, Validator), ValidationError<'static>> {
        let named = match Draft::Draft7.detect(schema) {
            Draft::Unknown => Draft::Draft7,
            draft => draft,
        };
        let dialect = Dialect(named);
        match dialect.compile(schema) {
            Err(error) if schema.get("$schema").is_none() => {
                let older = Dialect(Draft::Draft4);
                older.compile(schema).map(|validator| (older, validator)).map_err(|_| error)
            }
            compiled => compiled.map(|validator| (dialect, validator)),
        }
    }

    /// Compiles a schema, or a part of one that has no references. Nothing is fetched from the network or a
    /// file.
    pub(super) fn compile(self, schema: &Value) -> Result<Validator, ValidationError<'static>> {
        let options = jsonschema::options()
            .with_draft(self.0)
            .should_validate_formats(true)
            .with_format("date-time", is_date_time)
            .with_keyword("multipleOf", multiple_of::factory);
        let unchecked = UNCHECKED_FORMATS.split(' ');
        unchecked.fold(options, |options, name| options.with_format(name, |_| true)).build(schema)
    }

    /// Whether `1.0` is an integer. Since draft 6 it is.
    pub(super) fn whole_floats_are_integers(self) -> bool {
        self.0 != Draft::Draft4
    }
}

/// Whether `known` lists all these keywords, separated by spaces.
pub(super) fn has_only(keywords: &Map<String, Value>, known: &str) -> bool {
    keywords.keys().all(|keyword| known.split(' ').any(|known| known == keyword))
}

/// Whether this part of a schema may refer to another part, so that it cannot be compiled alone.
pub(super) fn has_references(schema: &Value) -> bool {
    match schema {
        // A property may have one of these names. Its value is then a schema, not text.
        Value::Object(keywords) => keywords.iter().any(|(key, value)| {
            value.is_string() && REFERENCES.contains(&key.as_str()) || has_references(value)
        }),
        Value::Array(items) => items.iter().any(has_references),
        _ => false,
    }
}
