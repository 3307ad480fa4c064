//! The real binary, over its front door: arguments, stdin, stdout, stderr, files, signals, exit codes.
//!
//! - `command_line`: arguments, configuration, `--about`
//! - `files`: what stands in which file, byte for byte; torn lines, locks, full disks
//! - `wrong_input`: what ends a run, and what is stored by then; the verdicts on the Meltano SDK's test
//!   streams
//! - `state`: when a STATE comes out, and that it covers nothing that isn't stored

mod command_line;
mod files;
mod harness;
mod state;
mod wrong_input;
