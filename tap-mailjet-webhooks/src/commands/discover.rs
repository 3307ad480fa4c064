//! `--discover`: the catalog of all streams and columns.

use catalog::selection::Catalog;
use catalog::stream::StreamId;

use super::output::{OutputError, print};
use crate::config::{Config, ConfigError};
use crate::emitter::stream_with_discovered_columns;
use crate::spool::{self, SpoolError, SpoolErrorKind};

/// The catalog cannot be printed.
#[derive(Debug, thiserror::Error)]
pub enum DiscoverError {
    /// The configuration does not say where the spool is.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The columns that appeared in events cannot be read.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// Stdout cannot be written to.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// Which columns the catalog has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Columns {
    /// The documented ones.
    Documented,
    /// Also those that appeared in events and are recorded in the configured spool, if there is one.
    WithDiscovered,
}

/// Prints the catalog.
pub fn execute(config: &Config, columns: Columns) -> Result<(), DiscoverError> {
    let discovered = match columns {
        Columns::Documented => Vec::new(),
        Columns::WithDiscovered => match spool::open_existing(&config.spool_location()?) {
            Ok(spool) => spool.registry_view()?.discovered_columns()?,
            Err(error) if error.kind() == SpoolErrorKind::Missing => Vec::new(),
            Err(error) => return Err(error.into()),
        },
    };
    let prefix = config.system_column_prefix.as_str();
    let streams = StreamId::all().map(|id| stream_with_discovered_columns(id, prefix, &discovered));
    let catalog = Catalog::new(streams);
    let text = serde_json::to_string_pretty(&catalog).expect("a catalog is JSON");
    Ok(print(text + "\n")?)
}
