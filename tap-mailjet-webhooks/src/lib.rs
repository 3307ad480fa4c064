//! Receives Mailjet's webhooks, stores them durably before it answers 200, and writes them to stdout as
//! Singer messages.
//!
//! Events flow in one direction through three components. The [`listener`] knows HTTP, the [`spool`] knows
//! bytes, sequences and durability, and the [`emitter`] knows columns and Singer. Each runs without the
//! others. Everything else serves them:
//!
//! | module | what it does |
//! | --- | --- |
//! | [`cli`] | parses the command line |
//! | [`commands`] | what each command does: a file each, with the errors that only it can have |
//! | [`config`] | the configuration keys, their value types, and what each component receives |
//! | [`run`] | the components wired together: how a run starts, what ends it, and how it ends |
//! | [`status`] | one snapshot of the running components, and its renderers |
//! | [`listener`], [`spool`], [`emitter`] | the components |
//! | [`admin`] | the admin address: health, readiness and metrics |
//! | [`http`] | what the two HTTP servers share: webhooks and the admin address |
//! | [`mailjet`] | outbound HTTP |
//! | [`os`] | stdout, signals, systemd, open files, threads, the clock, log throttling |

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
