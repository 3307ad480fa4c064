//! The command line, and the options that follow from it.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use clap::builder::PossibleValuesParser;

use crate::parts;

/// Measures the promised speed and memory, each against something in the same run.
#[derive(Debug, Parser)]
#[command(bin_name = "scripts/bench")]
pub(crate) struct Cli {
    /// Use small sizes, to see that everything works; the figures mean nothing
    #[arg(long)]
    quick: bool,

    /// Leave the spools in the folder
    #[arg(long)]
    keep: bool,

    /// Run only some of the parts, separated by commas
    #[arg(long, value_name = "PART", value_delimiter = ',', value_parser = part_names())]
    only: Vec<String>,

    /// Where spools and results go
    #[arg(long, default_value = "target/bench")]
    folder: PathBuf,

    /// How often each side of a comparison is measured; the median counts [default: 3, with --quick 1]
    rounds: Option<NonZeroUsize>,

    /// How long each load lasts [default: 5, with --quick 1]
    seconds: Option<NonZeroU64>,
}

/// What a run of the benchmark does.
#[derive(Debug)]
pub(crate) struct Options {
    /// How often each side of a comparison is measured; the median counts.
    pub rounds: usize,
    /// The duration of a load that is limited by time.
    pub load_time: Duration,
    /// Whether to use small sizes, to see that everything works.
    pub quick: bool,
    /// Whether to leave the spools in the folder.
    pub keep: bool,
    /// The parts to run; empty for all of them.
    only: Vec<String>,
    /// Where spools and results go.
    pub folder: PathBuf,
}

impl From<Cli> for Options {
    fn from(cli: Cli) -> Self {
        let seconds = cli.seconds.map_or(if cli.quick { 1 } else { 5 }, NonZeroU64::get);
        Options {
            rounds: cli.rounds.map_or(if cli.quick { 1 } else { 3 }, NonZeroUsize::get),
            load_time: Duration::from_secs(seconds),
            quick: cli.quick,
            keep: cli.keep,
            only: cli.only,
            folder: cli.folder,
        }
    }
}

impl Options {
    /// Whether to run a part.
    pub(crate) fn wants(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == part)
    }

    /// Returns a size: the one of a full run or that of a quick run.
    pub(crate) fn size(&self, full: u64, quick: u64) -> u64 {
        if self.quick { quick } else { full }
    }
}

fn part_names() -> PossibleValuesParser {
    parts::ALL.iter().map(|part| part.name).into()
}
