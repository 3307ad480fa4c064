//! JSON Schemas derived from documented structs.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value};

/// Returns the JSON Schema of `T`, without references.
pub fn schema_of<T: JsonSchema>() -> Schema {
    let settings = SchemaSettings::default().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<T>()
}

/// Returns the fields of the struct `T`: name to JSON Schema.
pub fn properties_of<T: JsonSchema>() -> Map<String, Value> {
    match schema_of::<T>().to_value().get_mut("properties").map(Value::take) {
        Some(Value::Object(properties)) => properties,
        _ => Map::new(),
    }
}

/// Returns the names of the types that a schema allows, without "null".
pub fn types_of(schema: &Value) -> Vec<&str> {
    let names = match &schema["type"] {
        Value::Array(names) => names.as_slice(),
        name => std::slice::from_ref(name),
    };
    names.iter().filter_map(Value::as_str).filter(|name| *name != "null").collect()
}

/// Returns the first type that a schema allows, apart from "null". Without one, that is "string".
pub fn type_of(schema: &Value) -> &str {
    types_of(schema).first().copied().unwrap_or("string")
}
