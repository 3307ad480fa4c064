//! Whether a record is what its SCHEMA says.
//!
//! A SCHEMA is compiled once, into one check per column. Most columns demand no more than a type, or a date and time:
//! these are read off the record's text, without building a tree of it, since a tree for each record takes several
//! times as long as everything else that a target does. A column whose schema says more goes to the jsonschema crate,
//! and so does the whole record where the schema says something about the record as a whole. Both ways give the same
//! verdict; a test compares them.
//!
//! - `check`: one value
//! - `date_time`: the one format that is enforced
//! - `dialect`: drafts of JSON Schema

mod check;
mod date_time;
mod dialect;

use std::collections::HashMap;

use catalog::members::Members;
use catalog::message::Row;
use jsonschema::Validator;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use self::check::{Check, Types, breach_of_tree, shortened};
use self::dialect::{Dialect, has_references};

/// A SCHEMA, ready to check records.
#[derive(Debug)]
pub struct RecordCheck {
    columns: Vec<Column>,
    by_name: HashMap<String, usize>,
    /// What a property without a column must be like.
    unknown: Check,
    /// For what no column can express: the schema as a whole.
    whole: Option<Validator>,
    /// Which column comes first in a record; a guess, as [`Column::next`] is.
    first: usize,
    /// How many columns a record can't do without.
    demanded: usize,
    /// Counts records, so that [`Column::seen_in`] needs no clearing.
    round: u64,
}

/// What is known of one property.
#[derive(Debug)]
struct Column {
    name: String,
    check: Check,
    demand: Option<Demand>,
    /// The column that followed this one in an earlier record. Taps write the columns in the same order each time, so
    /// that comparing one name usually does, and nothing has to be looked up.
    next: usize,
    /// The last record that had this column.
    seen_in: u64,
}

/// Why a record can't do without a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Demand {
    KeyProperties,
    Required,
}

/// What is wrong with a schema.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// There are no properties to make columns of.
    #[error("its schema has no \"properties\" object")]
    NoProperties,
    /// The schema breaks the rules of JSON Schema.
    #[error("its schema is not a valid JSON Schema: at {place}: {reason}")]
    Invalid {
        /// Path to the broken part of the schema.
        place: String,
        /// What is wrong there.
        reason: String,
    },
}

/// Which field of a record breaks which rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("field {field:?} breaks the rule \"{rule}\": {reason}")]
pub struct Fault {
    /// Name of the field; `/` leads into nested ones.
    pub field: String,
    /// Keyword of the schema, or `key_properties`.
    pub rule: String,
    /// What the rule demands.
    pub reason: String,
}

/// Keywords at the top of a schema that the columns express, or that don't say which records are right.
const TOP_KEYWORDS: [&str; 13] = [
    "type",
    "properties",
    "required",
    "additionalProperties",
    "$schema",
    "definitions",
    "$defs",
    "description",
    "title",
    "$comment",
    "examples",
    "selected",
    "key_properties",
];

impl RecordCheck {
    /// Compiles a schema, given as JSON text. Where records are not to be validated, they are only asked for their key.
    pub fn compile(schema: &str, key_properties: &[String], validate: bool) -> Result<Self, SchemaError> {
        let schema: Value = serde_json::from_str(schema)
            .map_err(|error| SchemaError::Invalid { place: "/".to_owned(), reason: error.to_string() })?;
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
            return Err(SchemaError::NoProperties);
        };
        let mut check = RecordCheck {
            columns: Vec::new(),
            by_name: HashMap::new(),
            unknown: Check::Anything,
            whole: None,
            first: 0,
            demanded: 0,
            round: 0,
        };
        // Compiled even if it is not to be used: an invalid schema is the tap's mistake, whatever we do with records.
        let (dialect, whole) = Dialect::detect(&schema).map_err(|error| invalid(&error))?;
        if validate {
            if can_be_split(&schema) {
                check.add_columns(&schema, properties, dialect).map_err(|error| invalid(&error))?;
            } else {
                check.whole = Some(whole);
            }
        }
        for name in key_properties {
            check.demand(name, Demand::KeyProperties);
        }
        Ok(check)
    }

    /// Which rule the record breaks, if any.
    pub fn check(&mut self, record: &Row<'_>) -> Result<(), Fault> {
        let is_quickly_seen_to_be_right = self.columns.is_empty() && matches!(self.unknown, Check::Anything)
            || self.reads_well(record.fields());
        if !is_quickly_seen_to_be_right {
            self.find_fault(record.text)?;
        }
        match &self.whole {
            Some(validator) => breach_of_tree(validator, record.text).map_or(Ok(()), |breach| {
                let field = breach.path.trim_start_matches('/').to_owned();
                Err(Fault { field: or_record(field), rule: breach.rule, reason: breach.reason })
            }),
            None => Ok(()),
        }
    }

    fn add_columns(
        &mut self,
        schema: &Value,
        properties: &Map<String, Value>,
        dialect: Dialect,
    ) -> Result<(), jsonschema::ValidationError<'static>> {
        for (name, property) in properties {
            self.add_column(name, Check::compile(property, dialect)?);
        }
        self.unknown = match schema.get("additionalProperties") {
            None | Some(Value::Bool(true)) => Check::Anything,
            Some(Value::Bool(false)) => Check::Nothing,
            Some(other) => Check::compile(other, dialect)?,
        };
        for name in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
            self.demand(name.as_str().unwrap_or_default(), Demand::Required);
        }
        Ok(())
    }

    fn add_column(&mut self, name: &str, check: Check) -> usize {
        let at = self.columns.len();
        self.by_name.insert(name.to_owned(), at);
        self.columns.push(Column { name: name.to_owned(), check, demand: None, next: at + 1, seen_in: 0 });
        at
    }

    /// Notes that a record can't do without a column. The column may have no schema of its own.
    fn demand(&mut self, name: &str, demand: Demand) {
        let at = match self.by_name.get(name) {
            Some(at) => *at,
            None if matches!(self.unknown, Check::Nothing) => self.add_column(name, Check::Nothing),
            None => self.add_column(name, Check::Anything),
        };
        if self.columns[at].demand.replace(demand).is_none() {
            self.demanded += 1;
        }
    }

    /// Reads the record once and gives up at the first sign of trouble. What gets through is right; what does not, need
    /// not be wrong: of a property that stands there twice, only the last counts.
    fn reads_well(&mut self, fields: Members<'_, '_>) -> bool {
        self.round += 1;
        let mut previous = None;
        let mut demanded = 0;
        for field in fields.iter() {
            let name = &field.quoted_name[1..field.quoted_name.len() - 1];
            // Which name that is, and whether it is one, is found out at leisure.
            if name.contains('\\') {
                return false;
            }
            let Some(at) = self.column(previous, name) else {
                if self.unknown.passes(field.value) {
                    continue;
                }
                return false;
            };
            let column = &mut self.columns[at];
            if !column.check.passes(field.value) {
                return false;
            }
            if column.demand.is_some() && column.seen_in != self.round {
                column.seen_in = self.round;
                demanded += 1;
            }
            previous = Some(at);
        }
        demanded == self.demanded
    }

    /// The column of a name, looked for where it stood in earlier records first.
    fn column(&mut self, previous: Option<usize>, name: &str) -> Option<usize> {
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

    /// Finds out, at leisure, what is wrong with a record that did not get through.
    fn find_fault(&self, record: &str) -> Result<(), Fault> {
        let fields: HashMap<String, &RawValue> = serde_json::from_str(record).map_err(|error| Fault {
            field: or_record(String::new()),
            rule: "readable".to_owned(),
            reason: format!("it can't be checked ({error})"),
        })?;
        for column in &self.columns {
            let Some(demand) = column.demand else { continue };
            if !fields.contains_key(&column.name) {
                return Err(missing(&column.name, demand));
            }
        }
        // In the order of the schema and then of the alphabet, so that the same record gets the same message each time.
        let mut unknown: Vec<_> = fields.keys().filter(|name| !self.by_name.contains_key(*name)).collect();
        unknown.sort();
        let known = self.columns.iter().map(|column| (&column.name, &column.check));
        for (name, check) in known.chain(unknown.into_iter().map(|name| (name, &self.unknown))) {
            let Some(breach) = fields.get(name).and_then(|value| check.breach(value.get())) else { continue };
            let field = format!("{name}{}", breach.path);
            return Err(Fault { field, rule: breach.rule, reason: breach.reason });
        }
        Ok(())
    }
}

/// Whether the schema says nothing but what each column, taken alone, must be like.
fn can_be_split(schema: &Value) -> bool {
    let only_known_keywords = schema
        .as_object()
        .is_some_and(|keywords| keywords.keys().all(|keyword| TOP_KEYWORDS.contains(&keyword.as_str())));
    // A record is an object: the message would not have been read otherwise.
    let takes_objects = schema
        .get("type")
        .is_none_or(|names| Types::named(names).is_some_and(|types| types.contains(Types::OBJECT)));
    let stands_alone = |keyword| schema.get(keyword).is_none_or(|part| !has_references(part));
    only_known_keywords && takes_objects && stands_alone("properties") && stands_alone("additionalProperties")
}

fn invalid(error: &jsonschema::ValidationError<'_>) -> SchemaError {
    let place = error.instance_path().to_string();
    let place = if place.is_empty() { "/".to_owned() } else { place };
    SchemaError::Invalid { place, reason: shortened(error.to_string()) }
}

fn missing(name: &str, demand: Demand) -> Fault {
    let rule = match demand {
        Demand::KeyProperties => "key_properties",
        Demand::Required => "required",
    };
    Fault { field: name.to_owned(), rule: rule.to_owned(), reason: "it is missing".to_owned() }
}

/// A rule of the record as a whole has no field.
fn or_record(field: String) -> String {
    if field.is_empty() { "(record)".to_owned() } else { field }
}

#[cfg(test)]
mod tests;
