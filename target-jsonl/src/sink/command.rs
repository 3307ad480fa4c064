//! What the row buffer asks of the writer.

use super::jsonl_file::JsonlFile;

/// An open file. Files are numbered in the order of [`Command::Open`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileId(pub(super) usize);

/// A request. The writer carries requests out in their order.
#[derive(Debug)]
pub(crate) enum Command {
    /// Take over an open file.
    Open(JsonlFile),
    /// Append whole lines to a file.
    Append(FileId, Vec<u8>),
    /// Print this line once everything before it is on disk.
    State(String),
}
