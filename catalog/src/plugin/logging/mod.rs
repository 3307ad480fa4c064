//! The log on stderr: plain lines for people, or the Meltano SDK's structured lines for Meltano.
//!
//! A log never ends, stalls or fails the program. Whatever becomes of stderr (closed, on a full disk, never
//! read), what cannot be written is counted and later mentioned.

mod environment;
mod escape;
mod line;
mod writer;

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing::level_filters::LevelFilter;
use tracing::{Level, error, warn};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use self::escape::{push_escaped, shorten};
use self::line::{LineFormat, MAX_TEXT_BYTES};
use self::writer::LogWriter;

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
    /// Starts the log of the program `app_name`, which a thread of its own writes to `output`: stderr. If the
    /// environment says how to log, that is used, or a warning says why it cannot be. A second call changes
    /// nothing.
    pub fn start(mut self, app_name: &'static str, output: impl Write + Send + 'static) -> io::Result<()> {
        let followed = environment::follow_meltano(&mut self);
        let filter = environment::filter();
        let line = LineFormat { app_name, format: self.format, is_coloured: io::stderr().is_terminal() };
        let writer = LogWriter::start(output, Box::new(move |lines, cause| lost(line, lines, cause)))?;
        let layer = tracing_subscriber::fmt::layer().event_format(line).with_writer(writer.clone());
        let level = Targets::new().with_default(LevelFilter::from(self.level));
        let filter_used = filter.as_ref().ok().cloned().flatten().unwrap_or(level);
        let _ = tracing_subscriber::registry().with(filter_used).with(layer).try_init();
        let _ = STARTED.set(Started { writer, line, level: self.level });
        // A bug must not be the one line that is written past the log.
        std::panic::set_hook(Box::new(|panic| {
            error!("this is a bug, please report it: {panic}");
            flush();
        }));
        if let Err(error) = followed {
            warn!("{error}; logging as configured");
        }
        if let Err(error) = filter {
            warn!("{error}; logging as configured");
        }
        Ok(())
    }
}

/// Formats the line that mentions lost lines.
fn lost(line: LineFormat, lost_lines: u64, cause: &str) -> String {
    line.line(Level::WARN, &format!("{lost_lines} log lines could not be written to stderr: {cause}"))
}

/// How this process logs.
#[derive(Debug)]
struct Started {
    writer: LogWriter,
    line: LineFormat,
    level: LogLevel,
}

/// How this process logs, once the log has been started.
static STARTED: OnceLock<Started> = OnceLock::new();

/// Prints what ended the program `app_name`, as one line on stderr, and waits for the log like [`flush`].
pub fn print_failure(app_name: &str, failure: &dyn fmt::Display) {
    let failure = failure.to_string();
    match STARTED.get() {
        Some(Started { writer, line, level }) => {
            let is_plain = line.format == LogFormat::Text || *level == LogLevel::Off;
            let line = if is_plain { plain(app_name, &failure) } else { line.line(Level::ERROR, &failure) };
            let _ = writer.clone().write_all(line.as_bytes());
            flush();
        }
        // The program ends here, and nothing depends on it. If stderr cannot be written, there is nowhere to
        // report that.
        None => drop(io::stderr().write_all(plain(app_name, &failure).as_bytes())),
    }
}

fn plain(app_name: &str, failure: &str) -> String {
    let mut failure = failure.to_owned();
    shorten(&mut failure, MAX_TEXT_BYTES);
    let mut line = format!("{app_name}: ");
    push_escaped(&mut line, &failure);
    line.push('\n');
    line
}

/// Waits until the log is written, but not much longer than a second. To be called at the end of the program.
pub fn flush() {
    if let Some(started) = STARTED.get() {
        started.writer.flush();
    }
}
