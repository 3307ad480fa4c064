//! `--test`: the SCHEMA and a sample RECORD of each selected stream.

use std::path::Path;

use clap::ValueEnum;

use super::catalog_file::{CatalogFileError, read_selection};
use super::output::{OutputError, print};
use crate::config::Config;
use crate::emitter::{DryRun, OutputSpecError, write_samples};
use crate::os::clock::UnixMillis;

/// What `--test` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Samples {
    /// SCHEMA, and a sample RECORD
    All,
    /// SCHEMA only
    Schema,
}

/// The samples cannot be printed.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    /// The catalog cannot be used.
    #[error(transparent)]
    Catalog(#[from] CatalogFileError),
    /// The catalog asks for something that does not exist.
    #[error(transparent)]
    OutputSpec(#[from] OutputSpecError),
    /// Stdout cannot be written to.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// Prints the samples. The spool is not used.
pub fn execute(config: &Config, catalog: Option<&Path>, samples: Samples) -> Result<(), SampleError> {
    let output = config.output(read_selection(catalog)?);
    let mut lines = Vec::new();
    match samples {
        Samples::All => write_samples(&output, UnixMillis::now(), &mut lines)?,
        Samples::Schema => DryRun::new(&output)?.write_schemas(&mut lines),
    }
    Ok(print(lines)?)
}
