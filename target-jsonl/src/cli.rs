//! The command line: its parser, and what the program does.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use catalog::plugin::about::{AboutFormat, Program};
use catalog::plugin::logging::LogConfig;
use catalog::plugin::settings::{self, LoadedConfig};
use catalog::plugin::signals;
use catalog::plugin::standard_stream::StandardStream;
use clap::Parser;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;
use signal_hook::iterator::Signals;
use tracing::warn;

use crate::config::{Config, ENVIRONMENT_PREFIX};
use crate::error::TargetError;
use crate::input::{self, Source};
use crate::run::{follow_signals, run};

const PROGRAM: Program = Program {
    name: env!("CARGO_PKG_NAME"),
    description: env!("CARGO_PKG_DESCRIPTION"),
    version: env!("CARGO_PKG_VERSION"),
    capabilities: &["about", "structured-logging", "validate-records"],
};

/// Reads Singer messages, appends each stream's records to a JSON Lines file, and prints a STATE only once
/// everything before it is on disk.
#[derive(Debug, Parser)]
#[command(name = "target-jsonl", version)]
pub struct Cli {
    /// Configuration: a JSON file, or the word ENV for variables named `TARGET_JSONL_<KEY>`. May be repeated:
    /// later files override earlier ones key by key, and the environment overrides all files.
    #[arg(short = 'c', long, value_name = "FILE|ENV")]
    pub config: Vec<String>,

    /// Read the messages from a file instead of stdin.
    #[arg(long, value_name = "FILE")]
    pub input: Option<PathBuf>,

    /// Print what this target is, what it can do and which settings it takes, and exit.
    #[arg(long)]
    pub about: bool,

    /// How `--about` prints.
    #[arg(long, value_enum, default_value = "text", requires = "about")]
    pub format: AboutFormat,
}

impl Cli {
    /// Runs the target, or answers `--about`.
    pub fn execute(self) -> Result<(), TargetError> {
        if self.about {
            let about = PROGRAM.about::<Config>(self.format);
            let mut output = StandardStream::stdout().map_err(TargetError::StandardStream)?;
            return output.write_all(about.as_bytes()).map_err(TargetError::About);
        }
        // From here on, a signal ends the run only after everything that was read is stored.
        let mut ends = vec![SIGTERM, SIGINT];
        ends.extend((!signals::is_ignored(SIGHUP)).then_some(SIGHUP));
        let signals = Signals::new(ends).map_err(TargetError::Signals)?;
        let (input, feeder, stop) = input::channel();
        follow_signals(signals, stop.clone());
        // A write beyond the limit on file sizes (ulimit -f) then fails with an error, instead of ending
        // the process.
        flag::register(SIGXFSZ, Arc::default()).map_err(TargetError::Signals)?;
        let LoadedConfig { config, warnings } = settings::load::<Config>(&self.config, ENVIRONMENT_PREFIX)?;
        let log = LogConfig { level: config.log_level, format: config.log_format };
        StandardStream::stderr()
            .and_then(|stderr| log.start(PROGRAM.name, stderr))
            .map_err(TargetError::Log)?;
        for warning in warnings {
            warn!("{warning}");
        }
        feeder.start(match self.input {
            Some(path) => Source::File(path),
            None => Source::Stdin(StandardStream::stdin().map_err(TargetError::StandardStream)?),
        });
        let output = StandardStream::stdout().map_err(TargetError::StandardStream)?;
        run(&config, &input, stop, output)
    }
}
