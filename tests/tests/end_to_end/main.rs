//! End-to-end tests: the real programs, through the front door.
//!
//! One test binary, one module for each thing that a user can rely on. Each test has a folder, a spool and a port of
//! its own, and waits for what happens, never for time to pass.

// What a webhook is answered, in every case: 200, 400, 404, 405, 413, 415.
mod receiving;
// What keeps one client from harming the others: time-outs, the cap on connections, a full spool.
mod guarding;
// The admin address: health, readiness and metrics.
mod admin;
// The same figures for people: `spool status`.
mod spool_status;
// What the spool promises: durable before the 200, unique sequences, an end on I/O errors.
mod spooling;
// What leaves the spool, and what never does.
mod trimming;
// What comes of an event: rows, keys, SCHEMA and STATE.
mod emitting;
// Which streams and columns are written, by default and by a catalog.
mod streams;
// What goes with a deselected column, and what stays.
mod deselecting;
// The types that a catalog asks for.
mod types;
// Columns that appear, and where values go that have none.
mod columns;
// What was received and is no event.
mod rejected;
// `--test`.
mod sample;
// For any event at all: nothing is lost, everything is valid, and a restart changes nothing.
mod properties;
// The same for any choice of columns, types and names.
mod choices;
// `snapshot-sql`, on real databases filled by real targets.
mod snapshot_sql;
// The targets that people really use, value by value.
mod targets;
// The tools that check Singer taps and targets.
mod conformance;
// `scripts/meltano`: a Meltano project that drains the spool.
mod meltano;
// `scripts/systemd` and `scripts/crontab`: a listener that stays up while drains come and go.
mod services;
// What comes again after a stop, a crash or a lost state, and what does not.
mod resuming;
// How a run ends: signals, bounds, and nobody reading any more.
mod ending;
// Webhook URLs: made, listed, revoked, and never shown again.
mod urls;
// Arguments, configuration, exit codes.
mod command_line;
// `send-test`, against a listener.
mod send_test;
// All of it together, through target-jsonl, with processes killed at random.
mod pipeline;
// `scripts/run`, as the README's quick start has it.
mod scripts;
