//! The command line, as types.

use std::path::PathBuf;

use catalog::plugin::about::AboutFormat;
use clap::Parser;

/// Reads Singer messages, appends each stream's records to a JSON Lines file, and prints a STATE only once
/// everything before it is on disk.
#[derive(Debug, Parser)]
#[command(name = "target-jsonl", version)]
pub struct Cli {
    /// Configuration: a JSON file, or the word ENV for variables named `TARGET_JSONL_<KEY>`. May be repeated:
    /// later files override earlier ones key by key, and the environment overrides all files.
    #[arg(long, value_name = "FILE|ENV")]
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
