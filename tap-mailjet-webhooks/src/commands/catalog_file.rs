//! The file that `--catalog` or `--properties` names.

use std::path::Path;

use catalog::plugin::paths;
use catalog::selection::Selection;
use tracing::warn;

use super::CommandError;

/// Reads what the catalog selects. Without a file, it is what is selected by default.
pub(super) fn read_selection(path: Option<&Path>) -> Result<Selection, CommandError> {
    let Some(path) = path else { return Ok(Selection::default()) };
    let text = paths::read(path).map_err(CommandError::CatalogFile)?;
    let selection =
        Selection::parse(&text).map_err(|source| CommandError::Catalog { path: path.to_owned(), source })?;
    for warning in selection.warnings() {
        warn!("catalog {}: {warning}", path.display());
    }
    Ok(selection)
}
