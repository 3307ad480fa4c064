//! A Singer target that appends each stream to a JSON Lines file, and prints a STATE only once everything that came
//! before it is on disk.
//!
//! Three threads, each with one job, so that a slow disk does not stop the reading and a silent tap does not stop the
//! STATE: [`input`] reads, [`target`] understands and validates, [`sink`] writes, syncs and prints.
//!
//! - [`cli`], [`config`]: what a user says
//! - [`input`]: chunks of input, lines, and being asked to stop
//! - [`target`]: the Singer messages, one after the other
//! - [`validate`]: whether a record is what its SCHEMA says
//! - [`sink`]: files, fsync and STATE
//! - [`error`]: everything that ends a run early, and what to do about it

pub mod cli;
pub mod config;
pub mod error;
pub mod file_name;
pub mod input;
pub mod sink;
pub mod target;
pub mod validate;

pub use config::Config;
pub use error::TargetError;
pub use target::{Summary, run};
