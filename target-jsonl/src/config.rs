//! The configuration: every key, with its meaning and its default.

use std::path::PathBuf;

use catalog::plugin::logging::{LogFormat, LogLevel};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::file_name::FileName;

/// What the names of environment variables start with.
pub const ENVIRONMENT_PREFIX: &str = "TARGET_JSONL_";

/// The configuration keys. Each has a default, so the target runs without any configuration.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// Directory of the files, created if it is missing. A leading `~/` is the home directory.
    pub destination_path: String,
    /// Name of the file, used instead of the stream's name. All streams then go into this one file.
    #[schemars(
        with = "Option<String>",
        extend("x-form" = "a file name without its ending; directories belong in destination_path")
    )]
    pub custom_name: Option<FileName>,
    /// Add the start time to each file's name, as in `data-20171222T213621.jsonl`, so that each run writes
    /// its own files.
    pub do_timestamp_file: bool,
    /// Stop at the first record that does not match its stream's schema. If false, only the JSON syntax and
    /// the key properties are checked.
    pub validate_records: bool,
    /// Longest time that a STATE waits for the fsync that must precede it, so that several STATEs share one
    /// fsync. 0: an fsync for each STATE, at once.
    #[schemars(range(min = 0, max = 86_400))]
    pub state_interval_seconds: f64,
    /// How much is logged to stderr: off, error, warning, info, debug or trace.
    pub log_level: LogLevel,
    /// Form of the log lines: text (plain lines) or json (the Meltano SDK's structured form).
    #[schemars(with = "String", extend("x-form" = "text or json"))]
    pub log_format: LogFormat,
}

impl Default for Config {
    fn default() -> Self {
        Config {
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

impl Config {
    /// Returns the directory of the files.
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
}

#[cfg(test)]
mod tests {
    use catalog::plugin::settings;

    use super::*;

    fn load(text: &str) -> Result<Config, String> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(&file, text).expect("a file");
        let loaded = settings::load(&[file.path().display().to_string()], ENVIRONMENT_PREFIX);
        loaded.map(|loaded| loaded.config).map_err(|error| error.to_string())
    }

    #[test]
    fn every_key_has_a_default() {
        assert_eq!(load("{}"), Ok(Config::default()));
    }

    #[test]
    fn a_bad_value_is_refused_with_what_the_key_takes() {
        let cases = r#"
            {"state_interval_seconds": -1} -> too small. It takes a number of at least 0 and at most 86400
            {"state_interval_seconds": 1e9} -> too large. It takes a number of at least 0 and at most 86400
            {"log_level": "loud"} -> text: off, error, warning, info, debug or trace (default: "info")
            {"validate_records": "yes"} -> It takes true or false (default: true)
            {"custom_name": "../data"} -> is "../data": a file name cannot contain '/'. It takes text: a
            {"custom_name": ""} -> is "": a file name cannot be empty. It takes text: a file name without
        "#;
        for case in cases.trim().lines() {
            let (text, expected) = case.trim().split_once(" -> ").expect("a case");
            let error = load(text).expect_err(text);
            assert!(error.contains(expected), "{error}\nlacks: {expected}");
        }
    }

    #[test]
    fn a_leading_tilde_is_the_home_directory() {
        let destination =
            |path: &str| Config { destination_path: path.to_owned(), ..Config::default() }.destination();
        let home = std::env::home_dir().expect("a home directory");
        assert_eq!(destination("~/out"), home.join("out"));
        assert_eq!(destination("~"), home.join(""));
        assert_eq!(destination("~out"), PathBuf::from("~out"));
        assert_eq!(destination("out"), PathBuf::from("out"));
        assert_eq!(destination(""), PathBuf::from("."));
    }
}
