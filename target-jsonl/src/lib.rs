//! A Singer target that appends each stream to a JSON Lines file, and prints a STATE only once everything
//! before it is on disk. The table at the end of README.md says what each module does.

pub mod cli;
pub mod config;
pub mod error;
pub mod file_name;
mod input;
pub mod lines;
mod messages;
mod run;
mod sink;
pub mod validate;

pub use sink::SinkError;

/// The longest line that the target accepts. Mailjet sends bodies of up to 20 MB, and a record is not much
/// longer than its event: input with longer lines does not come from a tap.
pub const MAX_LINE_BYTES: usize = 256 << 20;
