//! The log: plain lines on stderr.

use std::io::IsTerminal;

use catalog::settings::LogLevel;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::time::ChronoUtc;

use crate::progress::LiveLine;

/// Starts the log. A second call changes nothing.
pub fn init(level: LogLevel, line: &LiveLine) {
    let line = line.clone();
    let _ = tracing_subscriber::fmt()
        .with_max_level(level.name().parse::<LevelFilter>().expect("the name of a level"))
        .with_timer(ChronoUtc::new("%Y-%m-%dT%H:%M:%S%.3fZ".to_owned()))
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(move || line.writer())
        .try_init();
}
