//! The program: parses, calls the library, and turns an error into one line and an exit code.

use std::process::ExitCode;

use catalog::plugin::logging;
use clap::Parser;
use target_jsonl::cli::Cli;

fn main() -> ExitCode {
    // Wrong usage ends the process here, with exit code 2.
    match Cli::parse().execute() {
        Ok(()) => {
            logging::flush();
            ExitCode::SUCCESS
        }
        Err(error) => {
            logging::print_failure(env!("CARGO_PKG_NAME"), &error);
            ExitCode::FAILURE
        }
    }
}
