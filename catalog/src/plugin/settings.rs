//! Configuration: flat keys, merged from files and the environment, and checked one by one.
//!
//! A documented struct names the keys. Its derived JSON Schema has their types, defaults, ranges and
//! descriptions, and this module reads them from there. An error names the key, its value, where the value
//! was set and what the key takes. The value of a key that the schema marks as `secret` is never shown.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::paths::{self, FileError};
use crate::schema::{properties_of, type_of};

/// A set of keys that others may override.
#[derive(Debug)]
pub enum Layer {
    /// A configuration file.
    File {
        /// The file's name, for error messages.
        name: String,
        /// Its content.
        text: Vec<u8>,
    },
    /// Environment variables named `<PREFIX><KEY>`, the key in upper case.
    Environment {
        /// What the variables' names start with, such as `TAP_MAILJET_WEBHOOKS_`.
        prefix: &'static str,
        /// Names and values. Variables without the prefix are ignored.
        variables: Vec<(String, String)>,
    },
}

impl Layer {
    /// Reads one argument of `--config`: a file, which may be a pipe, or the word ENV for the environment
    /// variables that start with `prefix`.
    fn read(argument: &str, prefix: &'static str) -> Result<Self, FileError> {
        if argument == "ENV" {
            // A variable that is not Unicode cannot be one of ours.
            let variables = std::env::vars_os()
                .filter_map(|(name, text)| Some((name.into_string().ok()?, text.into_string().ok()?)));
            return Ok(Layer::Environment { prefix, variables: variables.collect() });
        }
        Ok(Layer::File { name: argument.to_owned(), text: paths::read(Path::new(argument))? })
    }
}

/// A configuration that is valid, and what is odd about it.
#[derive(Debug)]
pub struct LoadedConfig<T> {
    /// The configuration.
    pub config: T,
    /// One sentence for each unknown key.
    pub warnings: Vec<String>,
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The message of each variant says what it is.
pub enum SettingsError {
    #[error("config file {0}; check what --config names")]
    File(#[from] FileError),
    #[error(
        "config file {name}: {reason}; a config file holds one JSON object, such as {{\"key\": \"value\"}}"
    )]
    NotAnObject { name: String, reason: String },
    #[error("config key \"{key}\" (from {origin}) is {value}: {reason}. It takes {expected}")]
    BadValue { key: String, origin: String, value: String, reason: String, expected: String },
}

/// Loads the configuration from the arguments of `--config`: files, and the word ENV for the environment
/// variables that start with `environment_prefix`.
pub fn load<T>(
    arguments: &[String],
    environment_prefix: &'static str,
) -> Result<LoadedConfig<T>, SettingsError>
where
    T: DeserializeOwned + JsonSchema,
{
    let layers = arguments.iter().map(|argument| Layer::read(argument, environment_prefix));
    merge(layers.collect::<Result<_, _>>()?)
}

/// Merges the layers, key by key: a later file overrides an earlier one, and the environment overrides all
/// files, wherever it stands among them. An unknown key is a warning, a bad value is an error.
pub fn merge<T: DeserializeOwned + JsonSchema>(layers: Vec<Layer>) -> Result<LoadedConfig<T>, SettingsError> {
    let mut merged = Merged { schemas: properties_of::<T>(), ..Merged::default() };
    let (files, environment): (Vec<_>, Vec<_>) =
        layers.into_iter().partition(|layer| matches!(layer, Layer::File { .. }));
    for layer in files.into_iter().chain(environment) {
        match layer {
            Layer::File { name, text } => merged.add_file(&name, &text)?,
            Layer::Environment { prefix, variables } => merged.add_environment(prefix, variables),
        }
    }
    merged.read()
}

/// The layers merged so far.
#[derive(Default)]
struct Merged {
    /// The known keys, each with its JSON Schema.
    schemas: Map<String, Value>,
    values: Map<String, Value>,
    /// The file or environment variable that set each key.
    origins: HashMap<String, String>,
    warnings: Vec<String>,
}

impl Merged {
    fn add_file(&mut self, name: &str, text: &[u8]) -> Result<(), SettingsError> {
        let not_an_object = |reason: String| SettingsError::NotAnObject { name: name.to_owned(), reason };
        let object: Map<String, Value> = match serde_json::from_slice(text) {
            Ok(Value::Object(object)) => object,
            Ok(other) => return Err(not_an_object(format!("it holds {}", kind_of(&other)))),
            Err(error) => return Err(not_an_object(format!("it is not JSON ({error})"))),
        };
        for (key, value) in object {
            self.set(key, value, name);
        }
        Ok(())
    }

    fn add_environment(&mut self, prefix: &str, variables: Vec<(String, String)>) {
        for (variable, text) in variables {
            let Some(key) = variable.strip_prefix(prefix) else { continue };
            // Meltano's own extras begin with a second underscore (…__SELECT); they are not for the plugin.
            if key.starts_with('_') || text.is_empty() {
                continue;
            }
            let key = key.to_lowercase();
            let value = self.schemas.get(&key).map_or(Value::Null, |schema| parse_variable(schema, &text));
            self.set(key, value, &variable);
        }
    }

    fn set(&mut self, key: String, value: Value, origin: &str) {
        if !self.schemas.contains_key(&key) {
            self.warnings.push(format!("config key \"{key}\" (from {origin}) is unknown and is ignored"));
            return;
        }
        self.origins.insert(key.clone(), origin.to_owned());
        self.values.insert(key, value);
    }

    fn read<T: DeserializeOwned>(self) -> Result<LoadedConfig<T>, SettingsError> {
        for (key, value) in &self.values {
            if let Some(reason) = misfit(&self.schemas[key], value) {
                return Err(self.bad_value(key, reason));
            }
        }
        // Null means "not set": the default applies.
        let set: Map<String, Value> =
            self.values.clone().into_iter().filter(|(_, value)| !value.is_null()).collect();
        let config = serde_path_to_error::deserialize(Value::Object(set)).map_err(|error| {
            let path = error.path().to_string();
            let key = path.split(['.', '[']).next().unwrap_or_default();
            self.bad_value(key, error.into_inner().to_string())
        })?;
        Ok(LoadedConfig { config, warnings: self.warnings })
    }

    fn bad_value(&self, key: &str, reason: String) -> SettingsError {
        let schema = &self.schemas[key];
        let is_secret = schema["secret"] == true;
        SettingsError::BadValue {
            key: key.to_owned(),
            origin: self.origins[key].clone(),
            value: if is_secret { "a secret".to_owned() } else { self.values[key].to_string() },
            // The reason may quote the value.
            reason: if is_secret { "it does not have the right form".to_owned() } else { reason },
            expected: expected(schema),
        }
    }
}

/// Parses an environment variable, whose text spells a value of the key's type.
fn parse_variable(schema: &Value, text: &str) -> Value {
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

/// Returns what is wrong with the type or range of a value, if anything.
fn misfit(schema: &Value, value: &Value) -> Option<String> {
    let is_of_type = match type_of(schema) {
        _ if value.is_null() => return None,
        "integer" if value.is_f64() => return Some("it is not a whole number".to_owned()),
        "integer" | "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        _ => value.is_string(),
    };
    if !is_of_type {
        return Some(format!("it is {}", kind_of(value)));
    }
    let number = value.as_f64()?;
    if schema["minimum"].as_f64().is_some_and(|minimum| number < minimum) {
        return Some("it is too small".to_owned());
    }
    schema["maximum"].as_f64().is_some_and(|maximum| number > maximum).then(|| "it is too large".to_owned())
}

/// Describes the values that a key takes.
fn expected(schema: &Value) -> String {
    let mut expected = match type_of(schema) {
        "integer" => "an integer".to_owned(),
        "number" => "a number".to_owned(),
        "boolean" => "true or false".to_owned(),
        "array" => "a list of text".to_owned(),
        _ => "text".to_owned(),
    };
    if let Some(minimum) = schema["minimum"].as_f64() {
        let _ = write!(expected, " of at least {minimum}");
    }
    if let Some(maximum) = schema["maximum"].as_f64() {
        let _ = write!(expected, " and at most {maximum}");
    }
    if let Some(form) = schema["x-form"].as_str() {
        let _ = write!(expected, ": {form}");
    }
    if let Some(default) = schema.get("default").filter(|default| !default.is_null()) {
        let _ = write!(expected, " (default: {default})");
    }
    expected
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
        Layer::File { name: name.to_owned(), text: text.as_bytes().to_owned() }
    }

    fn environment(variables: &[(&str, &str)]) -> Layer {
        let variables =
            variables.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        Layer::Environment { prefix: "APP_", variables }
    }

    #[test]
    fn a_later_file_overrides_an_earlier_one_and_the_environment_overrides_all() {
        let loaded: LoadedConfig<Sample> = merge(vec![
            environment(&[
                ("APP_FLAG", "true"),
                ("APP_TOKENS", "a, b"),
                ("APP__SELECT", "x"),
                ("OTHER", "y"),
            ]),
            file("a.json", r#"{"max_body_bytes": 1, "name": "a", "flag": false}"#),
            file("b.json", r#"{"max_body_bytes": 2, "nmae": "typo"}"#),
        ])
        .expect("a valid configuration");
        let expected = Sample {
            max_body_bytes: 2,
            name: Some("a".to_owned()),
            flag: true,
            tokens: vec!["a".to_owned(), "b".to_owned()],
        };
        assert_eq!(loaded.config, expected);
        assert_eq!(loaded.warnings, [r#"config key "nmae" (from b.json) is unknown and is ignored"#]);
    }

    #[test]
    fn an_error_names_the_key_the_value_its_origin_and_what_the_key_takes() {
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
                "is a secret: it does not have the right form. It takes a list",
            ),
        ];
        for (layer, expected) in cases {
            let error = merge::<Sample>(vec![layer]).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}\nlacks: {expected}");
            assert!(!error.contains("hunter2"), "a secret is shown: {error}");
        }
    }
}
