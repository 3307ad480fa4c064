//! `--discover`: the catalog of all streams and columns.

use catalog::selection::catalog_of;
use catalog::stream::StreamId;

use super::{CommandError, print};
use crate::config::Config;
use crate::emitter::stream_with_discovered_columns;
use crate::spool::{self, SpoolErrorKind, SpoolLocation};

/// Prints the catalog. It has the documented columns and those that `spool`, if it is given and exists, has
/// recorded from events.
pub fn execute(config: &Config, spool: Option<&SpoolLocation>) -> Result<(), CommandError> {
    let discovered = match spool.map(spool::open_existing) {
        Some(Ok(spool)) => spool.registry_view()?.discovered_columns()?,
        Some(Err(error)) if error.kind() != SpoolErrorKind::Missing => return Err(error.into()),
        _ => Vec::new(),
    };
    let prefix = config.system_column_prefix.as_str();
    let streams = StreamId::all()
        .map(|id| stream_with_discovered_columns(id, prefix, &discovered, config.extra_column));
    print(format!("{:#}\n", catalog_of(streams)))
}
