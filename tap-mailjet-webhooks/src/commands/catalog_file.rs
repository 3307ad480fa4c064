//! The file that `--catalog` or `--properties` names.

use std::path::Path;

use catalog::plugin::paths;
use catalog::selection::Selection;
use tracing::warn;

use super::CommandError;
use crate::config::Config;

/// Reads what the catalog selects. Without a file, it is what is selected by default.
pub(super) fn read_selection(path: Option<&Path>, config: &Config) -> Result<Selection, CommandError> {
    let Some(path) = path else { return Ok(Selection::default()) };
    let text = paths::read(path).map_err(CommandError::CatalogFile)?;
    let selection =
        Selection::parse(&text).map_err(|source| CommandError::Catalog { path: path.to_owned(), source })?;
    for warning in selection.warnings(config.system_column_prefix.as_str()) {
        warn!("catalog {}: {warning}", path.display());
    }
    Ok(selection)
}
