//! `listen`: receives webhooks into the spool and emits nothing.

use catalog::selection::Selection;

use super::{CommandError, run};
use crate::config::Config;
use crate::status::Components;
use crate::status::live_line::LiveLine;

/// Receives webhooks until it is stopped.
pub fn execute(config: Config, line: &LiveLine) -> Result<(), CommandError> {
    let output = config.output(Selection::default());
    run::start(config, Components::Listener, output, None, line)
}
