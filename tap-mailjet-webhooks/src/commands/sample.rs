//! `--test`: the SCHEMA and a sample RECORD of each selected stream.

use std::path::Path;

use clap::ValueEnum;

use super::catalog_file::read_selection;
use super::{CommandError, print};
use crate::config::Config;
use crate::emitter::{DryRun, write_samples};
use crate::os::clock::UnixMillis;

/// What `--test` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Samples {
    /// SCHEMA, and a sample RECORD
    All,
    /// SCHEMA only
    Schema,
}

/// Prints the samples. The spool is not used.
pub fn execute(config: &Config, catalog: Option<&Path>, samples: Samples) -> Result<(), CommandError> {
    let output = config.output(read_selection(catalog, config)?);
    let mut lines = Vec::new();
    match samples {
        Samples::All => write_samples(&output, UnixMillis::now(), &mut lines)?,
        Samples::Schema => DryRun::new(&output)?.write_schemas(&mut lines),
    }
    print(lines)
}
