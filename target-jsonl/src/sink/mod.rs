//! Where records go, and when a STATE may be printed.
//!
//! The promise: **a STATE is printed only after every record before it is on disk**, and so is the name of
//! every file. It follows that:
//!
//! - Before a STATE is printed, every file that was written since the last one is fsynced, and so is the
//!   directory if a file was created. At the start, the parent of each directory that had to be created is
//!   fsynced.
//! - An fsync that failed is not repeated. The kernel may have marked the pages as clean, so a second fsync
//!   could succeed without having written anything. The run ends, and the STATE is not printed.
//! - A crash may leave half a line at the end of a file. No STATE covers it, so the tap sends it again, and
//!   the half line is cut off when the file is next opened.
//! - Two processes that append to one file would cut off each other's lines, so each file is locked.

mod directory;
mod error;
mod jsonl_file;
mod lock_file;
mod own_file;
mod row_buffer;
mod writer;

pub(crate) use self::directory::Directory;
pub use self::error::SinkError;
pub(crate) use self::row_buffer::RowBuffer;
pub(crate) use self::writer::{FileId, Writer};
