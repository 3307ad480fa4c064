//! `--about`: what this tap is, what it can do and which settings it has.

use catalog::plugin::about::{AboutFormat, Program};

use super::{CommandError, print};
use crate::config::Config;

const PROGRAM: Program = Program {
    name: env!("CARGO_PKG_NAME"),
    description: env!("CARGO_PKG_DESCRIPTION"),
    version: env!("CARGO_PKG_VERSION"),
    capabilities: &["about", "catalog", "discover", "properties", "state", "structured-logging", "test"],
};

/// Prints the description of this tap.
pub fn execute(format: AboutFormat) -> Result<(), CommandError> {
    print(PROGRAM.about::<Config>(format))
}
