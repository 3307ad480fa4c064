//! The program: parses, runs the target, and turns an error into one line and an exit code.

use std::fs::File;
use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use catalog::plugin::about::Program;
use catalog::plugin::logging;
use catalog::plugin::settings::{self, LoadedConfig};
use clap::Parser;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use target_jsonl::cli::Cli;
use target_jsonl::config::ENVIRONMENT_PREFIX;
use target_jsonl::{Config, End, TargetError};
use tracing::{info, warn};

const PROGRAM: Program = Program {
    name: env!("CARGO_PKG_NAME"),
    description: env!("CARGO_PKG_DESCRIPTION"),
    version: env!("CARGO_PKG_VERSION"),
    capabilities: &["about", "structured-logging", "validate-records"],
};

fn main() -> ExitCode {
    // Wrong usage ends the process here, with exit code 2.
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            logging::print_failure(PROGRAM.name, &error);
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<(), TargetError> {
    if cli.about {
        let about = PROGRAM.about::<Config>(cli.format);
        return io::stdout().write_all(about.as_bytes()).map_err(TargetError::About);
    }
    // From here on, a signal ends the run only after everything that was read is stored.
    let shutdown = shutdown_signal().map_err(TargetError::Signals)?;
    let LoadedConfig { config, warnings } = settings::load::<Config>(&cli.config, ENVIRONMENT_PREFIX)?;
    config.log().start(PROGRAM.name, io::stderr);
    for warning in warnings {
        warn!("{warning}");
    }

    let input: Box<dyn Read + Send> = match &cli.input {
        Some(path) => {
            let open_input = |source| TargetError::OpenInput { path: path.clone(), source };
            Box::new(File::open(path).map_err(open_input)?)
        }
        None => Box::new(io::stdin()),
    };
    let summary = target_jsonl::run(&config, input, io::stdout(), shutdown)?;
    for (stream, records) in &summary.records {
        info!("{records} records of stream {stream:?} stored");
    }
    info!(
        "{}",
        match summary.end {
            End::EndOfInput => "the input is at its end",
            End::Stopped => "stopped by a signal",
        }
    );
    Ok(())
}

/// Returns a channel that gets a message with each SIGTERM or SIGINT.
fn shutdown_signal() -> io::Result<Receiver<()>> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for _ in signals.forever() {
            // A second signal changes nothing: the run is already ending.
            let _ = sender.send(());
        }
    });
    Ok(receiver)
}
