//! `columns`: lists the columns that appeared in events, and takes them back.

use clap::Subcommand;
use tracing::info;

use super::text_table::table;
use super::{CommandError, print};
use crate::config::Config;
use crate::spool::{self, Registry, SpoolView};

/// List the columns that appeared in events, or take some back.
#[derive(Debug, Subcommand)]
pub enum ColumnsCommand {
    /// List the undocumented columns that have appeared, each with its stream and its type in JSON Schema
    List,
    /// Forget columns: they disappear from the SCHEMA, also in a running tap. A column appears again if an
    /// event has its field again
    Forget {
        /// The stream that the columns are in
        stream: String,
        /// The names that `columns list` shows
        #[arg(required = true)]
        name: Vec<String>,
    },
}

/// There is no such column to forget.
#[derive(Debug, thiserror::Error)]
#[error(
    "no column \"{name}\" has appeared in stream \"{stream}\", so nothing is forgotten; `columns list` shows \
     those that have"
)]
pub struct UnknownColumn {
    stream: String,
    name: String,
}

/// Does what `command` says.
pub fn execute(config: &Config, command: &ColumnsCommand) -> Result<(), CommandError> {
    let location = config.spool_location()?;
    // An absent spool has no columns, and must not be created for that.
    let view = spool::open_existing(&location)?;
    match command {
        ColumnsCommand::List => list(&*view),
        ColumnsCommand::Forget { stream, name } => {
            drop(view);
            forget(&mut *spool::open(&location)?.registry()?, stream, name)
        }
    }
}

fn list(spool: &dyn SpoolView) -> Result<(), CommandError> {
    let mut rows = vec![["stream", "column", "type"].map(str::to_owned)];
    for column in spool.registry_view()?.discovered_columns()? {
        rows.push([column.stream, column.name.escape_debug().to_string(), column.json_type]);
    }
    print(table(&rows))
}

fn forget(registry: &mut dyn Registry, stream: &str, names: &[String]) -> Result<(), CommandError> {
    let known = registry.discovered_columns()?;
    let is_known = |name: &String| known.iter().any(|column| column.stream == stream && column.name == *name);
    if let Some(name) = names.iter().find(|name| !is_known(name)) {
        return Err(UnknownColumn { stream: stream.to_owned(), name: name.clone() }.into());
    }
    for name in names {
        registry.forget_discovered_column(stream, name)?;
        info!("column \"{name}\" of stream \"{stream}\" is forgotten; the target's table keeps it");
    }
    Ok(())
}
