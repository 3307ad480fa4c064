//! Checks that the tap's output is valid by its own SCHEMA messages.

use std::collections::{BTreeMap, BTreeSet};

use jsonschema::Validator;

use crate::message::{Message, Schema, value};

/// Asserts that each record is valid by the last SCHEMA of its stream and has exactly its columns. Returns
/// the number of records.
pub fn assert_valid(messages: &[Message]) -> usize {
    let mut current: BTreeMap<&str, (Validator, BTreeSet<&str>)> = BTreeMap::new();
    let mut checked = 0;
    for message in messages {
        match message {
            Message::Schema(Schema { stream, schema, .. }) => {
                let validator = jsonschema::options().should_validate_formats(true).build(schema);
                let names = schema["properties"].as_object().expect("properties").keys().map(String::as_str);
                current.insert(stream, (validator.expect("a valid schema"), names.collect()));
            }
            Message::Record(record) => {
                let (validator, names) = current.get(record.stream.as_str()).expect("a SCHEMA comes first");
                let errors: Vec<_> =
                    validator.iter_errors(&value(&record.text)).map(|error| error.to_string()).collect();
                assert!(errors.is_empty(), "{errors:?} in {}", record.text);
                assert_eq!(record.column_names().collect::<BTreeSet<_>>(), *names);
                checked += 1;
            }
            Message::State(_) => {}
        }
    }
    checked
}

/// The columns of each SCHEMA of a stream, in the order of the messages.
#[must_use]
pub fn columns_of(messages: &[Message], stream: &str) -> Vec<Vec<String>> {
    let schemas = messages.iter().filter_map(|message| match message {
        Message::Schema(schema) if schema.stream == stream => Some(&schema.schema),
        _ => None,
    });
    schemas
        .map(|schema| schema["properties"].as_object().expect("properties").keys().cloned().collect())
        .collect()
}
