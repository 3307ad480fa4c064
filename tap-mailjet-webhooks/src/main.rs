//! The program: parses, calls the library, and turns an error into one line and an exit code.

use std::process::ExitCode;

use clap::Parser;
use tap_mailjet_webhooks::cli::Cli;
use tap_mailjet_webhooks::command;

fn main() -> ExitCode {
    match command::execute(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tap-mailjet-webhooks: {error}");
            error.exit_code()
        }
    }
}
