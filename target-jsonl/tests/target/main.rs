//! Tests of the real binary: arguments, stdin, stdout, stderr, files, signals, exit codes.
//!
//! - `command_line`: arguments, configuration, `--about`
//! - `files`: the content of each file, byte for byte; torn lines, locks, full disks
//! - `wrong_input`: what ends a run, and what is stored by then; the verdicts on the Meltano SDK's test
//!   streams
//! - `hostile`: input and files that somebody made to do harm
//! - `state`: when a STATE is printed, and that it covers only what is stored

mod command_line;
mod files;
mod harness;
mod hostile;
mod state;
mod wrong_input;
