//! The program: parses, calls the library, and turns an error into one line and an exit code.

use std::process::ExitCode;

use catalog::plugin::logging;
use clap::Parser;
use tap_mailjet_webhooks::cli::Cli;

fn main() -> ExitCode {
    match Cli::parse().execute() {
        Ok(()) => {
            logging::flush();
            ExitCode::SUCCESS
        }
        Err(error) => {
            logging::print_failure(env!("CARGO_PKG_NAME"), &error);
            error.exit_code()
        }
    }
}
