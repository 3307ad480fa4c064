//! A Singer target that appends each stream to a JSON Lines file, and prints a STATE only once everything
//! before it is on disk.
//!
//! A run has three threads, so that a slow disk does not stop the reading, and a silent tap does not hold
//! back a STATE: one reads the input, one handles the messages, one writes, fsyncs and prints.
//!
//! - [`cli`], [`config`]: the command line and the configuration
//! - `run`: the three threads, and how a run ends
//! - `input`, [`lines`]: reads the input, and cuts it into lines
//! - `messages`: handles the Singer messages
//! - [`validate`]: checks a record against its SCHEMA
//! - `sink`: writes files, and prints STATEs
//! - [`file_name`]: checks that a name cannot lead out of the directory
//! - [`error`]: everything that ends a run early

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

pub use config::Config;
pub use error::TargetError;
pub use messages::End;
pub use run::{Summary, run};
pub use sink::SinkError;
