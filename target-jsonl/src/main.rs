//! `target-jsonl`: parses, runs, prints an error once, and turns it into an exit code.

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
use target_jsonl::{Config, TargetError};
use tracing::{info, warn};

const PROGRAM: Program = Program {
    name: env!("CARGO_PKG_NAME"),
    description: env!("CARGO_PKG_DESCRIPTION"),
    version: env!("CARGO_PKG_VERSION"),
    capabilities: &["about", "structured-logging", "validate-records"],
};

fn main() -> ExitCode {
    // Wrong usage ends here, with exit code 2.
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
        return io::stdout()
            .write_all(PROGRAM.about::<Config>(cli.format).as_bytes())
            .map_err(TargetError::Stdout);
    }
    // From here on, a signal is a request to come to a good end.
    let shutdown = shutdown_signal().map_err(TargetError::Signals)?;
    let LoadedConfig { config, warnings } = settings::load::<Config>(&cli.config, ENVIRONMENT_PREFIX)?;
    config.log().start(PROGRAM.name, io::stderr);
    for warning in warnings {
        warn!("{warning}");
    }

    let input: Box<dyn Read + Send> = match &cli.input {
        Some(path) => {
            Box::new(File::open(path).map_err(|cause| TargetError::OpenInput { path: path.clone(), cause })?)
        }
        None => Box::new(io::stdin()),
    };
    let summary = target_jsonl::run(&config, input, io::stdout(), shutdown)?;
    for (stream, records) in &summary.records {
        info!("{records} records of stream {stream:?} stored");
    }
    info!("{}", if summary.stopped { "stopped by a signal" } else { "the input is at its end" });
    Ok(())
}

/// A channel that gets a message with the first SIGTERM or SIGINT.
fn shutdown_signal() -> io::Result<Receiver<()>> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for _ in signals.forever() {
            // A second signal changes nothing: the first one is being heeded.
            let _ = sender.send(());
        }
    });
    Ok(receiver)
}
