//! `target-jsonl`: parses, runs, prints an error once, and turns it into an exit code.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use catalog::plugin::about::Program;
use catalog::plugin::logging::{self, Logging};
use clap::Parser;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use target_jsonl::cli::Arguments;
use target_jsonl::{Settings, TargetError};
use tracing::{info, warn};

const PROGRAM: Program = Program {
    name: env!("CARGO_PKG_NAME"),
    description: env!("CARGO_PKG_DESCRIPTION"),
    version: env!("CARGO_PKG_VERSION"),
    capabilities: &["about", "structured-logging", "validate-records"],
};

fn main() -> ExitCode {
    // Wrong usage ends here, with exit code 2.
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            logging::print_failure(PROGRAM.name, &error);
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), TargetError> {
    if arguments.about {
        return io::stdout()
            .write_all(PROGRAM.about::<Settings>(arguments.format).as_bytes())
            .map_err(TargetError::Stdout);
    }
    // From here on, a signal is a request to come to a good end.
    let shutdown = shutdown_signal().map_err(TargetError::Signals)?;
    let loaded = Settings::load(arguments.config_layers()?)?;
    let settings = loaded.settings;
    let mut logging = Logging { level: settings.log_level, format: settings.log_format };
    let followed = logging.follow_environment();
    logging.start(PROGRAM.name, io::stderr, io::stderr().is_terminal());
    if let Err(error) = followed {
        warn!("{error}");
    }
    for warning in loaded.warnings {
        warn!("{warning}");
    }

    let input: Box<dyn Read + Send> = match &arguments.input {
        Some(path) => {
            Box::new(File::open(path).map_err(|cause| TargetError::OpenInput { path: path.clone(), cause })?)
        }
        None => Box::new(io::stdin()),
    };
    let summary = target_jsonl::run(&settings, input, io::stdout(), shutdown)?;
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
