//! Receives Mailjet's webhooks, has them on disk before it answers 200, and writes them to stdout as Singer messages.
//!
//! Three rooms, one direction: the [`listener`] knows HTTP, the [`spool`] knows bytes, sequences and fsync, the
//! [`emitter`] knows columns and Singer. Each can run without the others.
//!
//! - [`cli`]: the command line as types
//! - [`command`]: what each command does
//! - [`config`]: the configuration keys
//! - [`run`]: the rooms put together, and how a run ends
//! - [`listener`], [`spool`], [`emitter`]: the rooms
//! - [`admin`]: health, readiness and metrics; [`spool_status`]: the figures for people
//! - [`webhook_url`]: secret URLs, made and revoked
//! - [`send_test`]: plays Mailjet's "Send a test" button
//! - [`snapshot_sql`]: the query for the latest version of each row
//! - [`output`], [`signals`], [`logging`], [`counters`], [`progress`], [`clock`], [`descriptors`], [`service`]: the edges to the operating system and to people

pub mod admin;
pub mod cli;
pub mod clock;
pub mod command;
pub mod config;
pub mod counters;
pub mod descriptors;
pub mod emitter;
mod http;
pub mod listener;
pub mod logging;
pub mod output;
pub mod progress;
pub mod run;
pub mod send_test;
pub mod service;
pub mod signals;
pub mod snapshot_sql;
pub mod spool;
pub mod spool_status;
pub mod webhook_url;
