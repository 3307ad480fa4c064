//! Where records go, and when a STATE may come out.
//!
//! The promise: **a STATE is printed only after every record that came before it is on disk**, the file's name
//! included. What follows from it:
//!
//! - A STATE waits for an fsync of every file that was written since the last one, of the directory if a file was
//!   opened since then, and, at the start, of the parent of each directory that had to be created.
//! - An fsync that failed is not tried again. The kernel may have marked the pages as clean, so that a second fsync
//!   would succeed without having written anything. The run ends, and the STATE stays in.
//! - A crash may leave half a line at the end of a file. No STATE covers it, so the tap sends it again: it is cut off
//!   when the file is next opened.
//! - Two processes that append to one file would cut off each other's lines, so each file is locked.
//!
//! The parts:
//!
//! - [`outbox`]: on the side of the messages; collects rows so that the disk gets them in large pieces
//! - [`keeper`]: on the side of the disk, in a thread of its own; writes, syncs and prints
//! - [`mod@file`], [`directory`]: a file, and the directory of all files

pub mod directory;
pub mod file;
pub mod keeper;
pub mod outbox;

use self::file::JsonlFile;

/// Which of the open files: they are numbered in the order of [`Command::Open`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileId(usize);

/// What the messages ask of the disk.
#[derive(Debug)]
pub enum Command {
    /// Take over a file.
    Open(JsonlFile),
    /// Append whole lines to a file.
    Append(FileId, Vec<u8>),
    /// Print this, a line of its own, once everything before it is on disk.
    State(String),
}
