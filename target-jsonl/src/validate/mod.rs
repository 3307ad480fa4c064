//! Checks a record against its SCHEMA.
//!
//! A SCHEMA is compiled once, into one check per column. Most columns only require a type, or a date and
//! time. That is read off the record's text, because building a tree of each record takes several times as
//! long as everything else that a target does. A column whose schema says more is checked by the jsonschema
//! crate, and so is the whole record if the schema says something about the record as a whole. Both ways give
//! the same verdict; a test compares them.

mod date_time;
mod dialect;
mod expansion;
mod multiple_of;
mod value_check;

use std::borrow::Cow;
use std::collections::HashMap;

use catalog::members::Members;
use catalog::message::Record;
use jsonschema::{ValidationError, Validator};
use serde_json::Value;

use self::dialect::{Dialect, has_only, has_references};
use self::value_check::{TypeSet, ValueCheck, find_violation, shorten};

/// How much of a record is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validation {
    /// Everything that the schema says.
    Full,
    /// Only that the key properties are there.
    KeysOnly,
}

/// A compiled SCHEMA. The default lets any record pass.
#[derive(Debug, Default)]
pub struct RecordCheck {
    columns: Vec<Column>,
    /// Positions in `columns`.
    by_name: HashMap<String, usize>,
    /// The check for properties without a column.
    unknown: ValueCheck,
    /// The schema as a whole, if columns cannot express it.
    whole: Option<Validator>,
    /// The column that probably comes first in a record.
    first: usize,
    /// How many columns are required.
    required: usize,
    /// How many records have been checked. Because of this count, [`Column::last_record`] need not be
    /// cleared.
    records: u64,
}

/// What a [`RecordCheck`] knows about one property.
#[derive(Debug)]
struct Column {
    name: String,
    check: ValueCheck,
    /// The rule by which each record must have the column: `required` or `key_properties`.
    required_by: Option<&'static str>,
    /// The column that followed this one in an earlier record. Taps write the columns in the same order each
    /// time, so one comparison of names usually replaces a look-up.
    next: usize,
    /// The number of the last record that had this column.
    last_record: u64,
}

/// What is wrong with a schema.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The message of each variant says what it is.
pub enum SchemaError {
    #[error("its schema has no \"properties\" object")]
    NoProperties,
    #[error(
        "its schema has more than {} parts once its references ($ref) are followed; write it with fewer of \
         them",
        expansion::MAX_PARTS
    )]
    TooLarge,
    #[error("its schema is not a valid JSON Schema: at {path}: {reason}")]
    Invalid { path: String, reason: String },
}

impl From<ValidationError<'_>> for SchemaError {
    fn from(error: ValidationError<'_>) -> Self {
        let path = error.instance_path().to_string();
        let path = if path.is_empty() { "/".to_owned() } else { path };
        SchemaError::Invalid { path, reason: shorten(error.to_string()) }
    }
}

/// A field of a record breaks a rule of the schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("field {field:?} breaks the rule \"{rule}\": {reason}")]
pub struct RecordError {
    /// Name of the field; `/` leads into nested ones.
    pub field: String,
    /// Keyword of the schema, or `key_properties`.
    pub rule: String,
    /// What the rule requires.
    pub reason: String,
}

impl RecordError {
    fn new(field: impl Into<String>, rule: &str, reason: impl Into<String>) -> Self {
        RecordError { field: field.into(), rule: rule.to_owned(), reason: reason.into() }
    }
}

/// Keywords at the top of a schema that the columns express, or that do not affect which records are valid.
const TOP_KEYWORDS: &str = "type properties required additionalProperties $schema definitions $defs \
    description title $comment examples selected key_properties";

impl RecordCheck {
    /// Compiles a schema, given as JSON text.
    pub fn compile(
        schema: &str,
        key_properties: &[String],
        validation: Validation,
    ) -> Result<Self, SchemaError> {
        let schema: Value = serde_json::from_str(schema)
            .map_err(|error| SchemaError::Invalid { path: "/".to_owned(), reason: error.to_string() })?;
        if !schema["properties"].is_object() {
            return Err(SchemaError::NoProperties);
        }
        if expansion::is_too_large(&schema) {
            return Err(SchemaError::TooLarge);
        }
        let mut check = RecordCheck::default();
        // Compiled even if it is not used: an invalid schema is the tap's mistake, whatever we do with
        // records.
        let (dialect, whole) = Dialect::detect(&schema)?;
        match validation {
            Validation::Full if can_be_split(&schema) => check.add_columns(&schema, dialect)?,
            Validation::Full => check.whole = Some(whole),
            Validation::KeysOnly => {}
        }
        for name in key_properties {
            check.require(name, "key_properties");
        }
        Ok(check)
    }

    /// Checks a record. Names the first rule that it breaks.
    pub fn check(&mut self, record: &Record<'_>) -> Result<(), RecordError> {
        let checks_nothing = self.columns.is_empty() && matches!(self.unknown, ValueCheck::Anything);
        if !checks_nothing && !self.passes_quickly(record.members()) {
            self.check_thoroughly(record.members())?;
        }
        let Some(whole) = &self.whole else { return Ok(()) };
        let Some(mut error) = find_violation(whole, record.text) else { return Ok(()) };
        // A rule of the record as a whole has no field.
        let path = if error.field.is_empty() { "(record)" } else { error.field.trim_start_matches('/') };
        error.field = path.to_owned();
        Err(error)
    }

    fn add_columns(&mut self, schema: &Value, dialect: Dialect) -> Result<(), ValidationError<'static>> {
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            self.add_column(name, ValueCheck::compile(property, dialect)?);
        }
        self.unknown = match schema.get("additionalProperties") {
            None | Some(Value::Bool(true)) => ValueCheck::Anything,
            Some(Value::Bool(false)) => ValueCheck::Nothing,
            Some(other) => ValueCheck::compile(other, dialect)?,
        };
        for name in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
            self.require(name.as_str().unwrap_or_default(), "required");
        }
        Ok(())
    }

    fn add_column(&mut self, name: &str, check: ValueCheck) -> usize {
        let position = self.columns.len();
        let name = name.to_owned();
        self.by_name.insert(name.clone(), position);
        self.columns.push(Column { name, check, required_by: None, next: position + 1, last_record: 0 });
        position
    }

    /// Makes a column required. The schema need not list it as a property.
    fn require(&mut self, name: &str, rule: &'static str) {
        let position = match self.by_name.get(name) {
            Some(position) => *position,
            None if matches!(self.unknown, ValueCheck::Nothing) => self.add_column(name, ValueCheck::Nothing),
            None => self.add_column(name, ValueCheck::Anything),
        };
        if self.columns[position].required_by.replace(rule).is_none() {
            self.required += 1;
        }
    }

    /// Reads the record once, and gives up at the first doubt. A record that passes is valid. One that does
    /// not may still be valid: of a name that appears twice, only the last value counts.
    fn passes_quickly(&mut self, members: Members<'_, '_>) -> bool {
        self.records += 1;
        let mut previous = None;
        let mut required = 0;
        for member in members.iter() {
            let name = &member.quoted_name[1..member.quoted_name.len() - 1];
            // The thorough check resolves escapes.
            if name.contains('\\') {
                return false;
            }
            let Some(position) = self.find_column(previous, name) else {
                if self.unknown.passes(member.value) {
                    continue;
                }
                return false;
            };
            let column = &mut self.columns[position];
            if !column.check.passes(member.value) {
                return false;
            }
            if column.required_by.is_some() && column.last_record != self.records {
                column.last_record = self.records;
                required += 1;
            }
            previous = Some(position);
        }
        required == self.required
    }

    /// Finds the column of a name. Looks first where an earlier record had it.
    fn find_column(&mut self, previous: Option<usize>, name: &str) -> Option<usize> {
        let guess = previous.map_or(self.first, |previous| self.columns[previous].next);
        if self.columns.get(guess).is_some_and(|column| column.name == name) {
            return Some(guess);
        }
        let found = *self.by_name.get(name)?;
        match previous {
            Some(previous) => self.columns[previous].next = found,
            None => self.first = found,
        }
        Some(found)
    }

    /// Checks a record that did not pass quickly, and finds out what is wrong with it, if anything.
    fn check_thoroughly(&self, members: Members<'_, '_>) -> Result<(), RecordError> {
        let values: HashMap<Cow<'_, str>, &str> =
            members.iter().map(|member| (member.name(), member.value)).collect();
        for column in &self.columns {
            let Some(rule) = column.required_by else { continue };
            if !values.contains_key(column.name.as_str()) {
                return Err(RecordError::new(column.name.as_str(), rule, "it is missing"));
            }
        }
        // First in the order of the schema, then in that of the alphabet, so that the same record always gets
        // the same message.
        let mut unknown: Vec<_> =
            values.keys().filter(|name| !self.by_name.contains_key(name.as_ref())).collect();
        unknown.sort();
        let known = self.columns.iter().map(|column| (column.name.as_str(), &column.check));
        for (name, check) in known.chain(unknown.into_iter().map(|name| (name.as_ref(), &self.unknown))) {
            if let Some(mut error) = values.get(name).and_then(|value| check.violation(value)) {
                error.field.insert_str(0, name);
                return Err(error);
            }
        }
        Ok(())
    }
}

/// Whether the schema says nothing about a record beyond what each column, taken alone, must be.
fn can_be_split(schema: &Value) -> bool {
    let has_only_known_keywords = schema.as_object().is_some_and(|keywords| has_only(keywords, TOP_KEYWORDS));
    // A record is always an object, so a type that allows objects says nothing more.
    let allows_objects = schema
        .get("type")
        .is_none_or(|names| TypeSet::parse(names).is_some_and(|types| types.contains(TypeSet::OBJECT)));
    let has_no_references = |keyword| schema.get(keyword).is_none_or(|part| !has_references(part));
    has_only_known_keywords
        && allows_objects
        && has_no_references("properties")
        && has_no_references("additionalProperties")
}

#[cfg(test)]
mod tests;
