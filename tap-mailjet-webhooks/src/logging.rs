//! The log: plain lines on stderr.

use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::time::FormatTime;

use crate::clock;
use crate::config::LogLevel;
use crate::progress::LiveLine;

/// Starts the log. A second call changes nothing.
pub fn init(level: LogLevel, line: &LiveLine) {
    let line = line.clone();
    let _ = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::from(level))
        .with_timer(Utc)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(move || line.writer())
        .try_init();
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => LevelFilter::ERROR,
            LogLevel::Warning => LevelFilter::WARN,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Debug => LevelFilter::DEBUG,
            LogLevel::Trace => LevelFilter::TRACE,
        }
    }
}

struct Utc;

impl FormatTime for Utc {
    fn format_time(&self, w: &mut tracing_subscriber::fmt::format::Writer<'_>) -> std::fmt::Result {
        w.write_str(&clock::rfc3339(clock::unix_millis()))
    }
}
