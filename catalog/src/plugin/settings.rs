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
use crate::byte_order_mark::without_byte_order_mark;
use crate::schema::{properties_of, type_of};

/// A valid configuration, and warnings about it.
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

/// Loads the configuration from the arguments of `--config`: files, which may be pipes, and the word ENV for
/// the environment variables that start with `environment_prefix`.
///
/// A later file overrides an earlier one, key by key. The environment overrides all files, wherever ENV
/// stands among them. An unknown key is a warning, a bad value is an error.
pub fn load<T>(arguments: &[String], environment_prefix: &str) -> Result<LoadedConfig<T>, SettingsError>
where
    T: DeserializeOwned + JsonSchema,
{
    let mut merged = Merged::new::<T>();
    for name in arguments.iter().filter(|argument| *argument != "ENV") {
        merged.add_file(name, &paths::read(Path::new(name))?)?;
    }
    if arguments.iter().any(|argument| argument == "ENV") {
        // A variable that is not Unicode cannot be one of ours.
        let variables = std::env::vars_os()
            .filter_map(|(name, text)| Some((name.into_string().ok()?, text.into_string().ok()?)));
        merged.add_environment(environment_prefix, variables);
    }
    merged.read()
}

/// The keys that have been set so far. What is added later overrides what was added before.
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
    fn new<T: JsonSchema>() -> Self {
        Merged { schemas: properties_of::<T>(), ..Merged::default() }
    }

    fn add_file(&mut self, name: &str, text: &[u8]) -> Result<(), SettingsError> {
        let not_an_object = |reason: String| SettingsError::NotAnObject { name: name.to_owned(), reason };
        let object: Map<String, Value> = match serde_json::from_slice(without_byte_order_mark(text)) {
            Ok(Value::Object(object)) => object,
            Ok(other) => return Err(not_an_object(format!("it holds {}", kind_of(&other)))),
            Err(error) => return Err(not_an_object(format!("it is not JSON ({error})"))),
        };
        for (key, value) in object {
            let value = self.resolve_path(&key, value, Path::new(name));
            self.set(key, value, name);
        }
        Ok(())
    }

    /// Makes a relative path relative to the folder of the file that it is in: a command that is started from
    /// another folder must mean the same file. A file that is a pipe has no folder of its own.
    fn resolve_path(&self, key: &str, value: Value, file: &Path) -> Value {
        // Some keys take a word in place of a path.
        let is_path = self
            .schemas
            .get(key)
            .is_some_and(|schema| schema["x-path"] == true && schema["x-not-a-path"] != value);
        match (&value, file.parent()) {
            (Value::String(path), Some(folder))
                if is_path && !path.is_empty() && !path.starts_with(['/', '~']) && file.is_file() =>
            {
                let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
                folder.join(path).to_str().map_or(value.clone(), Value::from)
            }
            _ => value,
        }
    }

    fn add_environment(&mut self, prefix: &str, variables: impl Iterator<Item = (String, String)>) {
        for (variable, text) in variables {
            let Some(key) = variable.strip_prefix(prefix) else { continue };
            // Meltano's own extras begin with a second underscore (…__SELECT); they are not for the plugin.
            if key.starts_with('_') || text.is_empty() {
                continue;
            }
            let key = key.to_lowercase();
            self.set(key, Value::String(text), &variable);
        }
    }

    fn set(&mut self, key: String, value: Value, origin: &str) {
        if !self.schemas.contains_key(&key) {
            self.warnings.push(format!("config key \"{key}\" (from {origin}) is unknown and is ignored"));
            return;
        }
        let value = match value {
            Value::String(text) => parse_text(&self.schemas[&key], &text),
            other => other,
        };
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

/// Reads a value that is given as text, as in an environment variable, or by Meltano for any setting. Empty
/// text for a number, a switch or a list means that the key is not set. For a text, it is a value like any
/// other: an empty path or password must not turn something off without a word.
fn parse_text(schema: &Value, text: &str) -> Value {
    if text.trim().is_empty() && type_of(schema) != "string" {
        return Value::Null;
    }
    match type_of(schema) {
        "array" => match serde_json::from_str(text) {
            Ok(list @ Value::Array(_)) => list,
            _ => text.split(',').map(|item| Value::String(item.trim().to_owned())).collect(),
        },
        "integer" | "number" | "boolean" => serde_json::from_str(&text.trim().to_ascii_lowercase())
            .ok()
            .filter(|value: &Value| value.is_number() || value.is_boolean())
            .unwrap_or_else(|| Value::String(text.to_owned())),
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

    /// Merges files, given by name and text, and environment variables.
    fn merge(files: &[[&str; 2]], variables: &[[&str; 2]]) -> Result<LoadedConfig<Sample>, SettingsError> {
        let mut merged = Merged::new::<Sample>();
        for [name, text] in files {
            merged.add_file(name, text.as_bytes())?;
        }
        merged.add_environment("APP_", variables.iter().map(|variable| variable.map(str::to_owned).into()));
        merged.read()
    }

    #[test]
    fn a_later_file_overrides_an_earlier_one_and_the_environment_overrides_all() {
        let files = [
            ["a.json", r#"{"max_body_bytes": 1, "name": "a", "flag": false}"#],
            ["b.json", r#"{"max_body_bytes": 2, "nmae": "typo"}"#],
        ];
        let variables = [["APP_FLAG", "true"], ["APP_TOKENS", "a, b"], ["APP__SELECT", "x"], ["OTHER", "y"]];
        let loaded = merge(&files, &variables).expect("a valid configuration");
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
    fn a_value_may_be_given_as_text_and_empty_text_means_not_set() {
        let file = r#"{"max_body_bytes": " 8 ", "name": "", "flag": "True", "tokens": "a, b"}"#;
        let config = merge(&[["a.json", file]], &[]).expect("a valid configuration").config;
        let tokens = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(config, Sample { max_body_bytes: 8, name: Some(String::new()), flag: true, tokens });
        let empty = r#"{"max_body_bytes": "", "flag": "", "tokens": ""}"#;
        assert_eq!(merge(&[["a.json", empty]], &[]).expect("defaults").config, Sample::default());
    }

    #[test]
    fn an_error_names_the_key_the_value_its_origin_and_what_the_key_takes() {
        let cases = r#"
            {"max_body_bytes": "abc"} -> config key "max_body_bytes" (from a.json) is "abc": it is text.
            {"max_body_bytes": 1.5} -> is 1.5: it is not a whole number. It takes
            {"name": 5} -> is 5: it is a number. It takes text
            {"max_body_bytes": 0} -> too small. It takes an integer of at least 1
            [1] -> config file a.json: it holds a list; a config file holds one JSON object
            { -> config file a.json: it is not JSON (EOF
            {"tokens": ["hunter2", 5]} -> is a secret: it does not have the right form. It takes a list
        "#;
        for case in cases.trim().lines() {
            let (text, expected) = case.trim().split_once(" -> ").expect("a case");
            let error = merge(&[["a.json", text]], &[]).expect_err(text).to_string();
            assert!(error.contains(expected), "{error}\nlacks: {expected}");
            assert!(!error.contains("hunter2"), "a secret is shown: {error}");
        }
        let error = merge(&[], &[["APP_FLAG", "yes"]]).expect_err("not a boolean").to_string();
        assert!(error.starts_with(r#"config key "flag" (from APP_FLAG) is "yes": "#), "{error}");
    }
}
