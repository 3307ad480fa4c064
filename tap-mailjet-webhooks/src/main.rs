//! The program: parses, calls the library, and turns an error into one line and an exit code.

use std::process::ExitCode;

use catalog::plugin::logging;
use clap::Parser;
use tap_mailjet_webhooks::cli::Cli;
use tap_mailjet_webhooks::commands;

fn main() -> ExitCode {
    match commands::execute(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            logging::print_failure(env!("CARGO_PKG_NAME"), &error);
            error.exit_code()
        }
    }
}
