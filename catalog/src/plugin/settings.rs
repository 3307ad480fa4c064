//! Configuration: flat keys, merged from files and the environment, checked key by key.
//!
//! The keys, their types, defaults, ranges and descriptions are those of a documented struct; its derived JSON Schema
//! is what this module reads. Errors name the key, its value, where it stands and what would be right; the value of a
//! key that the schema marks as `secret` is never shown.

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::schema::properties_of;

/// One source of keys. Files come in the order in which they were named, and later ones win, key by key. Whatever the
/// order, the environment wins over the files.
#[derive(Debug)]
pub enum Layer {
    /// A configuration file.
    File {
        /// Its name, for error messages.
        name: String,
        /// Its content.
        text: String,
    },
    /// Environment variables named `<PREFIX><KEY>`, the key in upper case.
    Environment {
        /// What a variable's name starts with, such as `TAP_MAILJET_WEBHOOKS_`.
        prefix: &'static str,
        /// All variables; those without the prefix are passed over.
        variables: Vec<(String, String)>,
    },
}

impl Layer {
    /// The environment as it is, for keys whose variables start with `prefix`.
    #[must_use]
    pub fn environment(prefix: &'static str) -> Self {
        // A variable that is not Unicode is none of ours.
        let variables = std::env::vars_os()
            .filter_map(|(name, text)| Some((name.into_string().ok()?, text.into_string().ok()?)));
        Layer::Environment { prefix, variables: variables.collect() }
    }
}

/// Settings that were read, and what a person should be told about them.
#[derive(Debug)]
pub struct Loaded<T> {
    /// The settings.
    pub settings: T,
    /// Keys that are not known, one sentence each.
    pub warnings: Vec<String>,
}

/// Why the configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A configuration file is not one JSON object.
    #[error(
        "config file {name}: {reason}; a config file holds one JSON object, such as {{\"key\": \"value\"}}"
    )]
    NotAnObject {
        /// The file.
        name: String,
        /// What stands there instead.
        reason: String,
    },
    /// A key has a value that it can't have.
    #[error("config key \"{key}\" (from {origin}) is {value}: {reason}. It takes {right}")]
    BadValue {
        /// The key.
        key: String,
        /// The file, or the environment variable, that holds it.
        origin: String,
        /// The value as it stands there, or "a secret".
        value: String,
        /// What is wrong with it.
        reason: String,
        /// What would be right.
        right: String,
    },
}

/// Merges the layers and reads `T` from them. An unknown key is a warning, a bad value is an error.
pub fn load<T: DeserializeOwned + JsonSchema>(layers: Vec<Layer>) -> Result<Loaded<T>, SettingsError> {
    let properties = properties_of::<T>();
    let mut merged = Merged::default();
    let (files, environment): (Vec<_>, Vec<_>) =
        layers.into_iter().partition(|layer| matches!(layer, Layer::File { .. }));
    for layer in files.into_iter().chain(environment) {
        match layer {
            Layer::File { name, text } => merged.add_file(&properties, &name, &text)?,
            Layer::Environment { prefix, variables } => {
                merged.add_environment(&properties, prefix, variables);
            }
        }
    }
    merged.read(&properties)
}

/// What the layers so far say.
#[derive(Default)]
struct Merged {
    values: Map<String, Value>,
    /// Where each key was last set.
    origins: Map<String, Value>,
    warnings: Vec<String>,
}

impl Merged {
    fn add_file(
        &mut self,
        properties: &Map<String, Value>,
        name: &str,
        text: &str,
    ) -> Result<(), SettingsError> {
        let not_an_object = |reason: String| SettingsError::NotAnObject { name: name.to_owned(), reason };
        let object: Map<String, Value> = match serde_json::from_str(text) {
            Ok(Value::Object(object)) => object,
            Ok(other) => return Err(not_an_object(format!("it holds {}", kind_of(&other)))),
            Err(error) => return Err(not_an_object(format!("it is not JSON ({error})"))),
        };
        for (key, value) in object {
            self.set(properties, key, value, name);
        }
        Ok(())
    }

    fn add_environment(
        &mut self,
        properties: &Map<String, Value>,
        prefix: &str,
        variables: Vec<(String, String)>,
    ) {
        for (variable, text) in variables {
            let Some(key) = variable.strip_prefix(prefix) else { continue };
            // Meltano's own extras begin with a second underscore (…__SELECT): they are not for the plugin.
            if key.starts_with('_') || text.is_empty() {
                continue;
            }
            let key = key.to_lowercase();
            let value = properties.get(&key).map_or(Value::Null, |schema| value_of_variable(schema, &text));
            self.set(properties, key, value, &variable);
        }
    }

    fn set(&mut self, properties: &Map<String, Value>, key: String, value: Value, origin: &str) {
        if !properties.contains_key(&key) {
            self.warnings.push(format!("config key \"{key}\" (from {origin}) is not known and is ignored"));
            return;
        }
        self.origins.insert(key.clone(), Value::String(origin.to_owned()));
        self.values.insert(key, value);
    }

    fn read<T: DeserializeOwned>(self, properties: &Map<String, Value>) -> Result<Loaded<T>, SettingsError> {
        let bad_value = |key: &str, reason: String| {
            let schema = &properties[key];
            let is_secret = schema["secret"] == true;
            SettingsError::BadValue {
                key: key.to_owned(),
                origin: self.origins[key].as_str().unwrap_or_default().to_owned(),
                value: if is_secret { "a secret".to_owned() } else { self.values[key].to_string() },
                reason: if is_secret { "it is not of the right form".to_owned() } else { reason },
                right: what_is_right(schema),
            }
        };
        for (key, value) in &self.values {
            if let Some(reason) = unfit(&properties[key], value) {
                return Err(bad_value(key, reason));
            }
        }
        // Null means "not set": the default holds.
        let given: Map<String, Value> = self
            .values
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        let settings = serde_path_to_error::deserialize(Value::Object(given)).map_err(|error| {
            let path = error.path().to_string();
            let key = path.split(['.', '[']).next().unwrap_or_default().to_owned();
            bad_value(&key, error.into_inner().to_string())
        })?;
        Ok(Loaded { settings, warnings: self.warnings })
    }
}

/// An environment variable is text; where the key is of another type, the text spells the value.
fn value_of_variable(schema: &Value, text: &str) -> Value {
    match type_of(schema) {
        "array" => match serde_json::from_str(text) {
            Ok(list @ Value::Array(_)) => list,
            _ => text.split(',').map(|item| Value::String(item.trim().to_owned())).collect(),
        },
        "integer" | "number" | "boolean" => {
            serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
        }
        _ => Value::String(text.to_owned()),
    }
}

/// Why a value is not one that the schema allows, as far as its type and range tell.
fn unfit(schema: &Value, value: &Value) -> Option<String> {
    let is_fit = match type_of(schema) {
        _ if value.is_null() => return None,
        "integer" if value.is_f64() => return Some("it is not a whole number".to_owned()),
        "integer" | "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        _ => value.is_string(),
    };
    if !is_fit {
        return Some(format!("it is {}", kind_of(value)));
    }
    let number = value.as_f64()?;
    if schema["minimum"].as_f64().is_some_and(|minimum| number < minimum) {
        return Some("it is too small".to_owned());
    }
    schema["maximum"].as_f64().is_some_and(|maximum| number > maximum).then(|| "it is too large".to_owned())
}

/// The schema's type, "null" aside.
fn type_of(schema: &Value) -> &str {
    match &schema["type"] {
        Value::String(name) => name,
        Value::Array(names) => {
            names.iter().filter_map(Value::as_str).find(|name| *name != "null").unwrap_or("string")
        }
        _ => "string",
    }
}

fn what_is_right(schema: &Value) -> String {
    let mut right = match type_of(schema) {
        "integer" => "an integer".to_owned(),
        "number" => "a number".to_owned(),
        "boolean" => "true or false".to_owned(),
        "array" => "a list of text".to_owned(),
        _ => "text".to_owned(),
    };
    if let Some(minimum) = schema["minimum"].as_f64() {
        let _ = write!(right, " of at least {minimum}");
    }
    if let Some(maximum) = schema["maximum"].as_f64() {
        let _ = write!(right, " and at most {maximum}");
    }
    if let Some(form) = schema["x-form"].as_str() {
        let _ = write!(right, ": {form}");
    }
    if let Some(default) = schema.get("default").filter(|default| !default.is_null()) {
        let _ = write!(right, " (default: {default})");
    }
    right
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, serde::Deserialize, JsonSchema, PartialEq)]
    #[serde(default)]
    struct Sample {
        /// A size.
        #[schemars(range(min = 1))]
        max_body_bytes: u64,
        name: Option<String>,
        flag: bool,
        #[schemars(extend("secret" = true, "x-form" = "64 hexadecimal digits each"))]
        tokens: Vec<String>,
    }

    fn file(name: &str, text: &str) -> Layer {
        Layer::File { name: name.to_owned(), text: text.to_owned() }
    }

    fn environment(variables: &[(&str, &str)]) -> Layer {
        let variables =
            variables.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        Layer::Environment { prefix: "APP_", variables }
    }

    #[test]
    fn later_files_win_key_by_key_and_the_environment_wins_over_all() {
        let loaded: Loaded<Sample> = load(vec![
            environment(&[
                ("APP_FLAG", "true"),
                ("APP_TOKENS", "a, b"),
                ("APP__SELECT", "x"),
                ("OTHER", "y"),
            ]),
            file("a.json", r#"{"max_body_bytes": 1, "name": "a", "flag": false}"#),
            file("b.json", r#"{"max_body_bytes": 2, "nmae": "typo"}"#),
        ])
        .expect("valid settings");
        let expected = Sample {
            max_body_bytes: 2,
            name: Some("a".to_owned()),
            flag: true,
            tokens: vec!["a".to_owned(), "b".to_owned()],
        };
        assert_eq!(loaded.settings, expected);
        assert_eq!(loaded.warnings, [r#"config key "nmae" (from b.json) is not known and is ignored"#]);
    }

    #[test]
    fn an_error_names_the_key_the_value_its_origin_and_what_is_right() {
        let cases = [
            (
                file("a.json", r#"{"max_body_bytes": "abc"}"#),
                r#"config key "max_body_bytes" (from a.json) is "abc": it is text. It takes an integer"#,
            ),
            (file("a.json", r#"{"max_body_bytes": 1.5}"#), "is 1.5: it is not a whole number. It takes"),
            (file("a.json", r#"{"name": 5}"#), "is 5: it is a number. It takes text"),
            (file("a.json", r#"{"max_body_bytes": 0}"#), "too small. It takes an integer of at least 1"),
            (environment(&[("APP_FLAG", "yes")]), r#"config key "flag" (from APP_FLAG) is "yes": "#),
            (
                file("a.json", "[1]"),
                "config file a.json: it holds a list; a config file holds one JSON object",
            ),
            (file("a.json", "{"), "config file a.json: it is not JSON (EOF"),
            (
                file("a.json", r#"{"tokens": ["hunter2", 5]}"#),
                "is a secret: it is not of the right form. It takes a list",
            ),
        ];
        for (layer, expected) in cases {
            let error = load::<Sample>(vec![layer]).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}\nlacks: {expected}");
            assert!(!error.contains("hunter2"), "a secret is shown: {error}");
        }
    }
}
