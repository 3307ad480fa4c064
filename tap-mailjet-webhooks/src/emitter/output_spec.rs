//! What a run writes.

use catalog::selection::{CatalogError, Selection};

use super::record::UnknownFields;
use crate::spool::SpoolError;

/// What a run writes: the selected streams, and how their columns are named and filled.
#[derive(Debug)]
pub struct OutputSpec {
    /// The selected streams and columns.
    pub selection: Selection,
    /// What the names of system columns start with.
    pub system_prefix: String,
    /// How to handle fields that the catalog does not know.
    pub unknown_fields: UnknownFields,
}

/// Why a run cannot write what its [`OutputSpec`] says.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The message of each variant says what it is.
pub enum OutputSpecError {
    #[error("catalog: {0}")]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Spool(#[from] SpoolError),
}
