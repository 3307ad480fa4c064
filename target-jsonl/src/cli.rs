//! The command line.

use std::fs;
use std::path::PathBuf;

use catalog::plugin::about::Format;
use catalog::plugin::settings::Layer;
use clap::Parser;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::config::ENVIRONMENT_PREFIX;
use crate::error::TargetError;

/// Reads Singer messages, appends each stream's records to a JSON Lines file, and prints a STATE only once everything
/// that came before it is on disk.
#[derive(Debug, Parser)]
#[command(name = "target-jsonl", version)]
pub struct Arguments {
    /// Configuration: a JSON file, or the word ENV for variables named `TARGET_JSONL_<KEY>`. May be repeated; later
    /// files win, key by key, and the environment wins over all files.
    #[arg(long, value_name = "FILE|ENV")]
    pub config: Vec<String>,

    /// Read the messages from a file instead of stdin.
    #[arg(long, value_name = "FILE")]
    pub input: Option<PathBuf>,

    /// Print what this target is and which settings it takes, and exit.
    #[arg(long)]
    pub about: bool,

    /// How `--about` prints.
    #[arg(long, default_value = "text", requires = "about", value_parser = format())]
    pub format: Format,
}

/// How `--about` prints.
fn format() -> impl TypedValueParser<Value = Format> {
    PossibleValuesParser::new(Format::NAMES).map(|name| Format::named(&name).unwrap_or_default())
}

impl Arguments {
    /// Reads what `--config` names, in its order.
    pub fn config_layers(&self) -> Result<Vec<Layer>, TargetError> {
        self.config.iter().map(|source| config_layer(source)).collect()
    }
}

fn config_layer(source: &str) -> Result<Layer, TargetError> {
    if source == "ENV" {
        return Ok(Layer::environment(ENVIRONMENT_PREFIX));
    }
    let text = fs::read_to_string(source)
        .map_err(|cause| TargetError::ReadConfig { path: PathBuf::from(source), cause })?;
    Ok(Layer::File { name: source.to_owned(), text })
}
