//! What each command does: one file per command, with its arguments and the errors that only it can have.

pub mod about;
mod catalog_file;
pub mod discover;
pub mod listen;
mod output;
pub mod run;
pub mod sample;
pub mod send_test;
pub mod snapshot_sql;
pub mod spool_export;
mod spool_items;
pub mod spool_status;
pub mod spool_verify;
pub mod url;

use std::process::ExitCode;

pub use catalog_file::CatalogFileError;
pub use output::OutputError;

use crate::config::ConfigError;
use crate::run::RunError;
use crate::spool::SpoolErrorKind;

/// The exit code for "temporary failure, try again later" in `sysexits.h`.
const EX_TEMPFAIL: u8 = 75;

/// A command failed. The message is one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The command does nothing but print, and cannot.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// `--discover` failed.
    #[error(transparent)]
    Discover(#[from] discover::DiscoverError),
    /// The run failed.
    #[error(transparent)]
    Run(#[from] run::RunCommandError),
    /// `--test` failed.
    #[error(transparent)]
    Sample(#[from] sample::SampleError),
    /// `send-test` failed.
    #[error(transparent)]
    SendTest(#[from] send_test::SendTestError),
    /// `spool export` failed.
    #[error(transparent)]
    SpoolExport(#[from] spool_export::SpoolExportError),
    /// `spool status` failed.
    #[error(transparent)]
    SpoolStatus(#[from] spool_status::SpoolStatusError),
    /// `spool verify` failed, or found something wrong.
    #[error(transparent)]
    SpoolVerify(#[from] spool_verify::SpoolVerifyError),
    /// `url` failed.
    #[error(transparent)]
    Url(#[from] url::UrlCommandError),
}

impl CommandError {
    /// Returns the exit code for the error.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            CommandError::Run(run::RunCommandError::Run(RunError::Spool(error)))
                if matches!(error.kind(), SpoolErrorKind::RoleTaken | SpoolErrorKind::RoleLost) =>
            {
                ExitCode::from(EX_TEMPFAIL)
            }
            _ => ExitCode::FAILURE,
        }
    }
}
