//! `--discover`: the catalog of all streams and columns.

use catalog::selection::Catalog;
use catalog::stream::StreamId;

use super::{CommandError, print};
use crate::config::Config;
use crate::emitter::stream_with_discovered_columns;
use crate::spool::{self, SpoolErrorKind};

/// Which columns the catalog has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Columns {
    /// The documented ones.
    Documented,
    /// Also those that appeared in events and are recorded in the configured spool, if there is one.
    WithDiscovered,
}

/// Prints the catalog.
pub fn execute(config: &Config, columns: Columns) -> Result<(), CommandError> {
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
    print(text + "\n")
}
