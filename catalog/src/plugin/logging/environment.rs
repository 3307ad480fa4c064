//! What the environment says about the log: Meltano's logging configuration, and `RUST_LOG`.

use std::path::PathBuf;

use serde_json::{Map, Value};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{ParseError, Targets};

use super::{LogConfig, LogFormat, LogLevel};
use crate::plugin::paths::{self, FileError};

/// The environment variable with which Meltano names a logging configuration.
const CONFIG_VARIABLE: &str = "SINGER_SDK_LOG_CONFIG";
/// The formatter in that configuration, for a plugin that declares the capability `structured-logging`.
const STRUCTURED_FORMATTER: &str = "StructuredFormatter";
/// The environment variable with which users of Rust programs choose what is logged.
const FILTER_VARIABLE: &str = "RUST_LOG";

/// Why something that the environment says cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum EnvironmentError {
    #[error("{CONFIG_VARIABLE} names a file that cannot be used: {0}")]
    File(#[from] FileError),
    #[error("{CONFIG_VARIABLE} names {path}, which is not a JSON object ({source})")]
    NotJson { path: PathBuf, source: serde_json::Error },
    #[error(
        "{FILTER_VARIABLE} is {value:?}, which is not a filter ({reason}); it takes a level (error, warn, \
         info, debug, trace, off), or levels by module, such as info,hyper=debug"
    )]
    Filter { value: String, reason: String },
}

/// Adopts the logging configuration that the environment names, if it names one.
pub(super) fn follow_meltano(config: &mut LogConfig) -> Result<(), EnvironmentError> {
    let path = std::env::var_os(CONFIG_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
    let Some(path) = path else { return Ok(()) };
    let text = paths::read_regular(&path)?;
    follow(config, &text).map_err(|source| EnvironmentError::NotJson { path, source })
}

/// Returns the filter that `RUST_LOG` names, if it is set. It takes the place of the configured level.
pub(super) fn filter() -> Result<Option<Targets>, EnvironmentError> {
    let value = std::env::var_os(FILTER_VARIABLE).unwrap_or_default().to_string_lossy().into_owned();
    parse_filter(&value).map_err(|reason| EnvironmentError::Filter { value, reason })
}

fn parse_filter(value: &str) -> Result<Option<Targets>, String> {
    let value = value.trim();
    if value.is_empty() {
        return Ok(None);
    }
    // `Targets` reads a word that is not a level as the name of a module, and logs all its lines.
    let mut levels = value.split(',').filter(|word| !word.contains('='));
    if let Some(word) = levels.find(|word| word.trim().parse::<LevelFilter>().is_err()) {
        return Err(format!("there is no level {word:?}"));
    }
    value.parse().map(Some).map_err(|error: ParseError| error.to_string())
}

/// Adopts a logging configuration as Meltano writes it: a JSON object in the form of Python's
/// `logging.config`. Only the root logger's level and the structured formatter are used.
fn follow(config: &mut LogConfig, text: &[u8]) -> Result<(), serde_json::Error> {
    let written: Map<String, Value> = serde_json::from_slice(text)?;
    if let Some(level) = written.get("root").and_then(|root| parse_python_level(&root["level"])) {
        config.level = level;
    }
    let formatters = written.get("formatters").and_then(Value::as_object).into_iter().flatten();
    let mut factories = formatters.filter_map(|(_, formatter)| formatter["()"].as_str());
    if factories.any(|factory| factory.ends_with(STRUCTURED_FORMATTER)) {
        config.format = LogFormat::Json;
    }
    Ok(())
}

/// Reads a level of Python's `logging`: its name or number.
fn parse_python_level(level: &Value) -> Option<LogLevel> {
    let number = level.as_u64().or_else(|| match level.as_str()? {
        "CRITICAL" | "FATAL" => Some(50),
        "NOTSET" => Some(0),
        _ => None,
    });
    match number {
        Some(0..=9) => Some(LogLevel::Trace),
        Some(10..=19) => Some(LogLevel::Debug),
        Some(20..=29) => Some(LogLevel::Info),
        Some(30..=39) => Some(LogLevel::Warning),
        // Our highest level is error.
        Some(40..) => Some(LogLevel::Error),
        None => LogLevel::try_from(level.as_str()?.to_owned()).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meltanos_logging_configuration_is_used() {
        let followed = |text: &str| {
            let mut config = LogConfig { level: LogLevel::Info, format: LogFormat::Text };
            let followed = follow(&mut config, text.as_bytes()).map_err(|error| error.to_string());
            followed.map(|()| (config.level, config.format))
        };
        let written_by_meltano = r#"{"version": 1, "disable_existing_loggers": false,
            "formatters": {"default": {"()": "singer_sdk.logging.StructuredFormatter"}},
            "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "default",
                "stream": "ext://sys.stderr"}},
            "root": {"level": "WARNING", "handlers": ["console"]}}"#;
        assert_eq!(followed(written_by_meltano), Ok((LogLevel::Warning, LogFormat::Json)));
        let plain = r#"{"formatters": {"default": {"format": "%(message)s"}}, "root": {"level": "DEBUG"}}"#;
        assert_eq!(followed(plain), Ok((LogLevel::Debug, LogFormat::Text)));
        let levels = [
            ("10", LogLevel::Debug),
            (r#""CRITICAL""#, LogLevel::Error),
            (r#""NOTSET""#, LogLevel::Trace),
            ("[]", LogLevel::Info),
        ];
        for (level, expected) in levels {
            let config = format!(r#"{{"root": {{"level": {level}}}}}"#);
            assert_eq!(followed(&config), Ok((expected, LogFormat::Text)), "{level}");
        }
        followed("version: 1").expect_err("not JSON");
    }

    #[test]
    fn a_filter_is_a_level_or_levels_by_module() {
        for none in ["", "  "] {
            assert_eq!(parse_filter(none).expect("no filter"), None);
        }
        for filter in ["debug", "OFF", "info,hyper=debug", "tap_mailjet_webhooks::spool=trace"] {
            assert_eq!(parse_filter(filter).expect(filter), Some(filter.parse().expect(filter)));
        }
        for wrong in ["verbose", "info,spool", "spool=loud", "a=b=c"] {
            parse_filter(wrong).expect_err(wrong);
        }
    }
}
