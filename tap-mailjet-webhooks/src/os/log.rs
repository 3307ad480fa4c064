//! The log, on stderr.

use std::io::IsTerminal;

use catalog::plugin::logging::Logging;
use tracing::warn;

use crate::status::progress::LiveLine;

/// Starts the log, as configured or as Meltano wants it. A second call changes nothing.
pub fn init(mut logging: Logging, line: &LiveLine) {
    let line = line.clone();
    let followed = logging.follow_environment();
    logging.start(env!("CARGO_PKG_NAME"), move || line.writer(), std::io::stderr().is_terminal());
    if let Err(error) = followed {
        warn!("{error}");
    }
}
