//! Receives Mailjet's webhooks, stores them durably before it answers 200, and writes them to stdout as
//! Singer messages.
//!
//! Events flow in one direction through three components. The [`listener`] knows HTTP, the [`spool`] knows
//! bytes, sequences and durability, and the [`emitter`] knows columns and Singer. Each one can run without
//! the others.
//!
//! - [`cli`]: the command line: its parser, and which command each of its forms runs
//! - [`commands`]: what each command does
//! - [`config`]: the configuration keys, their value types, and what each component receives
//! - [`run`]: the components wired together: how a run starts, what ends it, and how it ends
//! - [`listener`], [`spool`], [`emitter`]: the components
//! - [`status`]: one snapshot of the running components and its renderers
//! - [`admin`]: the admin address: health, readiness and metrics
//! - [`mailjet`]: outbound HTTP
//! - [`os`]: the operating system: stdout, threads, signals, systemd, open files, the clock, log throttling

pub mod admin;
pub mod cli;
pub mod commands;
pub mod config;
pub mod emitter;
mod http;
pub mod listener;
pub mod mailjet;
pub mod os;
pub mod run;
pub mod spool;
pub mod status;
