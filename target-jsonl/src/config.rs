//! The settings, each with its meaning and its default.

use std::path::PathBuf;
use std::time::Duration;

use catalog::plugin::logging::{LogFormat, LogLevel};
use catalog::plugin::settings::{Layer, Loaded, load as load_layers};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::error::TargetError;
use crate::sink::file_name;

/// What the names of environment variables start with.
pub const ENVIRONMENT_PREFIX: &str = "TARGET_JSONL_";

/// How this target is set up. All keys have a default, so that it runs without any configuration.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Settings {
    /// Directory of the files, created if it is missing. `~/` at its start is the home directory.
    pub destination_path: String,
    /// Name of the file, instead of the stream's name. All streams then go into the one file.
    pub custom_name: Option<String>,
    /// Add the time of the start to each file's name, as in `data-20171222T213621.jsonl`: each run then has files of
    /// its own.
    pub do_timestamp_file: bool,
    /// Stop at a record that breaks the schema of its stream. Off, only JSON and key properties are checked.
    pub validate_records: bool,
    /// Longest time that a STATE waits for the fsync that lets it out, so that several share one. 0: each STATE is let
    /// out by an fsync of its own, at once.
    #[schemars(range(min = 0, max = 86_400))]
    pub state_interval_seconds: f64,
    /// How much is logged to stderr: off, error, warning, info, debug or trace.
    pub log_level: LogLevel,
    /// How it is logged: text (plain lines) or json (the structured form of the Meltano SDK).
    #[schemars(with = "String", extend("x-form" = "text or json"))]
    pub log_format: LogFormat,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            destination_path: ".".to_owned(),
            custom_name: None,
            do_timestamp_file: false,
            validate_records: true,
            state_interval_seconds: 1.0,
            log_level: LogLevel::Info,
            log_format: LogFormat::Text,
        }
    }
}

impl Settings {
    /// Reads the settings, and checks what their types leave open.
    pub fn load(layers: Vec<Layer>) -> Result<Loaded<Settings>, TargetError> {
        let loaded: Loaded<Settings> = load_layers(layers)?;
        if let Some(name) = &loaded.settings.custom_name {
            file_name::check(name)
                .map_err(|reason| TargetError::CustomName { name: name.clone(), reason })?;
        }
        Ok(loaded)
    }

    /// The directory of the files.
    #[must_use]
    pub fn destination(&self) -> PathBuf {
        let home = std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
        match (self.destination_path.strip_prefix('~'), home) {
            (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => {
                home.join(rest.trim_start_matches('/'))
            }
            _ if self.destination_path.is_empty() => PathBuf::from("."),
            _ => PathBuf::from(&self.destination_path),
        }
    }

    /// How long a STATE may wait.
    #[must_use]
    pub fn state_interval(&self) -> Duration {
        Duration::from_secs_f64(self.state_interval_seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Settings, String> {
        Settings::load(vec![Layer::File { name: "config.json".to_owned(), text: text.to_owned() }])
            .map(|loaded| loaded.settings)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_needs_to_be_set() {
        assert_eq!(load("{}"), Ok(Settings::default()));
    }

    #[test]
    fn a_bad_value_is_refused_with_what_would_be_right() {
        let cases = [
            (
                r#"{"state_interval_seconds": -1}"#,
                "too small. It takes a number of at least 0 and at most 86400",
            ),
            (
                r#"{"state_interval_seconds": 1e9}"#,
                "too large. It takes a number of at least 0 and at most 86400",
            ),
            (
                r#"{"log_level": "loud"}"#,
                "It takes text: off, error, warning, info, debug or trace (default: \"info\")",
            ),
            (r#"{"validate_records": "yes"}"#, "It takes true or false (default: true)"),
            (r#"{"custom_name": "../data"}"#, "config key \"custom_name\" is \"../data\": a file name can't"),
            (r#"{"custom_name": ""}"#, "config key \"custom_name\" is \"\": a file name can't be empty"),
        ];
        for (text, expected) in cases {
            let error = load(text).expect_err(text);
            assert!(error.contains(expected), "{error}\nlacks: {expected}");
        }
    }

    #[test]
    fn a_tilde_is_the_home_directory() {
        let destination =
            |path: &str| Settings { destination_path: path.to_owned(), ..Settings::default() }.destination();
        let home = std::env::home_dir().expect("a home directory");
        assert_eq!(destination("~/out"), home.join("out"));
        assert_eq!(destination("~"), home.join(""));
        assert_eq!(destination("~out"), PathBuf::from("~out"));
        assert_eq!(destination("out"), PathBuf::from("out"));
        assert_eq!(destination(""), PathBuf::from("."));
    }
}
