//! The file that `--catalog` or `--properties` names.

use std::path::{Path, PathBuf};

use catalog::plugin::paths::{self, FileError};
use catalog::selection::{CatalogError, Selection};
use tracing::warn;

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The message of each variant says what it is.
pub enum CatalogFileError {
    #[error("catalog {0}")]
    File(#[from] FileError),
    #[error("catalog {path}: {source}")]
    Invalid { path: PathBuf, source: CatalogError },
}

/// Reads what the catalog selects. Without a file, it is what is selected by default.
pub(super) fn read_selection(path: Option<&Path>) -> Result<Selection, CatalogFileError> {
    let Some(path) = path else { return Ok(Selection::default()) };
    let text = paths::read(path)?;
    let selection = Selection::parse(&text)
        .map_err(|source| CatalogFileError::Invalid { path: path.to_owned(), source })?;
    for warning in selection.warnings() {
        warn!("catalog {}: {warning}", path.display());
    }
    Ok(selection)
}
