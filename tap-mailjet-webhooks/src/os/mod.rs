//! Stdout, signals, systemd, open files, threads, clocks, log throttling.

pub mod clock;
pub(crate) mod log_throttle;
pub mod open_files;
pub mod signals;
pub mod stdout;
pub mod systemd;
pub mod thread;
pub mod uptime;
pub mod worker;
