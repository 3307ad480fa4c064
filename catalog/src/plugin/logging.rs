//! The log on stderr: plain lines for people, or the Meltano SDK's structured lines for Meltano.

use std::fmt;
use std::io::{self, IsTerminal, Write as _};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber, warn};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::ChronoUtc;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

use super::paths::{self, FileError};

/// The environment variable with which Meltano names a logging configuration.
const CONFIG_VARIABLE: &str = "SINGER_SDK_LOG_CONFIG";
/// The formatter in that configuration, for a plugin that declares the capability `structured-logging`.
const STRUCTURED_FORMATTER: &str = "StructuredFormatter";
/// Prefix of a message that is a measurement, as Singer defines it.
const METRIC: &str = "METRIC: ";

/// How much is logged: the value of the key `log_level`. Each level includes the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(try_from = "String", rename_all = "lowercase")]
#[schemars(extend("x-form" = "off, error, warning, info, debug or trace"))]
pub enum LogLevel {
    /// Nothing. What ends the run is still printed, but not as a log line.
    Off,
    /// What ends the run.
    Error,
    /// What may surprise the user.
    Warning,
    /// What happens.
    #[default]
    Info,
    /// What happens to single requests and batches.
    Debug,
    /// Everything.
    Trace,
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Off => LevelFilter::OFF,
            LogLevel::Error => LevelFilter::ERROR,
            LogLevel::Warning => LevelFilter::WARN,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Debug => LevelFilter::DEBUG,
            LogLevel::Trace => LevelFilter::TRACE,
        }
    }
}

impl TryFrom<String> for LogLevel {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, &'static str> {
        Ok(match name.to_ascii_lowercase().as_str() {
            "off" => LogLevel::Off,
            "error" => LogLevel::Error,
            "warning" | "warn" => LogLevel::Warning,
            "info" => LogLevel::Info,
            "debug" => LogLevel::Debug,
            "trace" => LogLevel::Trace,
            _ => return Err("there is no such log level"),
        })
    }
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Plain lines, for people.
    #[default]
    Text,
    /// One JSON object a line, with the keys of the Meltano SDK.
    Json,
}

/// What is logged, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogConfig {
    /// The least severe level that is logged.
    pub level: LogLevel,
    /// How a line looks.
    pub format: LogFormat,
}

impl LogConfig {
    /// Starts the log of the program `app_name` on stderr, which is written through `stderr`. If the
    /// environment names a logging configuration, that one is used, or a warning says why it cannot be. A
    /// second call changes nothing.
    pub fn start<W>(mut self, app_name: &'static str, stderr: W)
    where
        W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
    {
        let followed = self.follow_environment();
        let builder = tracing_subscriber::fmt().with_max_level(self.level).with_writer(stderr);
        let _ = match self.format {
            LogFormat::Text => builder
                .with_timer(ChronoUtc::new("%Y-%m-%dT%H:%M:%S%.3fZ".to_owned()))
                .with_target(false)
                .with_ansi(io::stderr().is_terminal())
                .try_init(),
            LogFormat::Json => builder.event_format(Structured { app_name }).try_init(),
        };
        let _ = STARTED.set(self);
        if let Err(error) = followed {
            warn!("{error}; logging as configured");
        }
    }

    /// Adopts the logging configuration that the environment names, if it names one.
    fn follow_environment(&mut self) -> Result<(), LogConfigError> {
        let path = std::env::var_os(CONFIG_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        let Some(path) = path else { return Ok(()) };
        let text = paths::read_regular(&path)?;
        self.follow(&text).map_err(|source| LogConfigError::NotJson { path, source })
    }

    /// Adopts a logging configuration as Meltano writes it: a JSON object in the form of Python's
    /// `logging.config`. Only the root logger's level and the structured formatter are used.
    fn follow(&mut self, config: &[u8]) -> Result<(), serde_json::Error> {
        let config: Map<String, Value> = serde_json::from_slice(config)?;
        if let Some(level) = config.get("root").and_then(|root| parse_python_level(&root["level"])) {
            self.level = level;
        }
        let formatters = config.get("formatters").and_then(Value::as_object).into_iter().flatten();
        let mut factories = formatters.filter_map(|(_, formatter)| formatter["()"].as_str());
        if factories.any(|factory| factory.ends_with(STRUCTURED_FORMATTER)) {
            self.format = LogFormat::Json;
        }
        Ok(())
    }
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

/// How this process logs, once the log has been started.
static STARTED: OnceLock<LogConfig> = OnceLock::new();

/// Prints what ended the program `app_name`, as one line on stderr.
pub fn print_failure(app_name: &str, failure: &dyn fmt::Display) {
    // An error may quote text with line endings.
    let failure = failure.to_string().replace(['\n', '\r'], " ");
    match STARTED.get() {
        Some(LogConfig { format: LogFormat::Json, level }) if *level != LogLevel::Off => {
            tracing::error!("{failure}");
        }
        // If stderr is closed, there is nowhere to report it.
        _ => drop(writeln!(io::stderr(), "{app_name}: {failure}")),
    }
}

/// Why a logging configuration cannot be used.
#[derive(Debug, thiserror::Error)]
enum LogConfigError {
    #[error("{CONFIG_VARIABLE} names a file that cannot be used: {0}")]
    File(#[from] FileError),
    #[error("{CONFIG_VARIABLE} names {path}, which is not a JSON object ({source})")]
    NotJson { path: PathBuf, source: serde_json::Error },
}

/// Formats a line as the SDK's structured formatter does.
struct Structured {
    app_name: &'static str,
}

/// One structured line. The order of the keys is the SDK's.
#[derive(Serialize)]
struct Line<'a> {
    level: &'static str,
    pid: u32,
    logger_name: &'a str,
    ts: f64,
    thread_name: &'a str,
    app_name: &'a str,
    stream_name: Option<Value>,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    metric_info: Option<&'a RawValue>,
    extra: Map<String, Value>,
}

impl<S, N> FormatEvent<S, N> for Structured
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let thread = std::thread::current();
        // Python's `logging` has no level below debug.
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warning",
            Level::INFO => "info",
            Level::DEBUG | Level::TRACE => "debug",
        };
        let metric_info =
            fields.message.strip_prefix(METRIC).and_then(|point| serde_json::from_str(point).ok());
        let line = Line {
            level,
            pid: std::process::id(),
            logger_name: event.metadata().target(),
            ts: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64(),
            thread_name: thread.name().unwrap_or_default(),
            app_name: self.app_name,
            stream_name: fields.extra.remove("stream"),
            message: if metric_info.is_some() { "METRIC" } else { &fields.message },
            metric_info,
            extra: fields.extra,
        };
        writeln!(writer, "{}", serde_json::to_string(&line).map_err(|_| fmt::Error)?)
    }
}

/// The fields of a log event.
#[derive(Default)]
struct Fields {
    message: String,
    extra: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        self.extra.insert(field.name().to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" { self.message = text } else { self.put(field, text.into()) }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use tracing::info;

    use super::*;

    #[test]
    fn meltanos_logging_configuration_is_used() {
        let followed = |text: &str| {
            let mut config = LogConfig { level: LogLevel::Info, format: LogFormat::Text };
            let followed = config.follow(text.as_bytes()).map_err(|error| error.to_string());
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
    fn a_structured_line_has_the_keys_of_the_sdk() {
        let (reader, writer) = io::pipe().expect("a pipe");
        let subscriber = tracing_subscriber::fmt()
            .with_writer(Arc::new(writer))
            .event_format(Structured { app_name: "tap-x" })
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            warn!(status = 503_u64, stream = "data", tag = "spool_full", "refused: \"full\"");
            info!("METRIC: {{\"type\":\"counter\",\"value\":1.50}}");
        });
        let text = io::read_to_string(reader).expect("UTF-8");
        let lines: Vec<Map<String, Value>> =
            text.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
        let keys: Vec<_> = lines[0].keys().map(String::as_str).collect();
        assert_eq!(keys.join(" "), "level pid logger_name ts thread_name app_name stream_name message extra");
        assert_eq!(
            ["level", "app_name", "stream_name", "message", "extra"].map(|key| &lines[0][key]),
            [
                &json!("warning"),
                &json!("tap-x"),
                &json!("data"),
                &json!("refused: \"full\""),
                &json!({"status": 503, "tag": "spool_full"})
            ]
        );
        assert!(lines[0]["ts"].as_f64().is_some_and(|ts| ts > 1.7e9));
        assert_eq!(lines[1]["message"], "METRIC");
        assert!(text.contains(r#""metric_info":{"type":"counter","value":1.50}"#), "{text}");
    }
}
