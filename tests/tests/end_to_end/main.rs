//! End-to-end tests: the real programs, through the front door.
//!
//! One test binary, one module for each thing that a user can rely on. Each test has a folder, a spool and a port of
//! its own, and waits for what happens, never for time to pass.

// What a webhook is answered, in every case: 200, 400, 404, 405, 413, 415.
mod receiving;
// Who may post besides knowing the URL: user name and password, addresses.
mod credentials;
// HTTPS without a proxy, and certificates that are bad or replaced.
mod tls;
// What keeps one client from harming the others: time-outs, the cap on connections, a full spool.
mod guarding;
// What hostile clients do: odd requests, idle connections by the thousand, bodies as large as they may be.
mod abuse;
// The admin address: health, readiness and metrics.
mod admin;
// The same figures for people: `spool status`.
mod spool_status;
// What the spool promises: durable before the 200, unique sequences, an end on I/O errors.
mod spooling;
// Storage that fails: calls that return an error, each kind on each file.
mod storage;
// The disk under the spool: full, read-only, forbidden; and a spool as a crash or another version left it.
mod disks;
// A spool that is damaged: what can be read is written, what can't is told; `spool verify` and `spool export`.
mod damage;
// Power cuts.
mod power;
// Spools that earlier versions have made.
mod upgrading;
// Clocks that jump.
mod clocks;
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
// A URL is changed for another, and Mailjet's side of it.
mod rotation;
// Behind nginx and Caddy.
mod proxies;
// Arguments, configuration, exit codes.
mod command_line;
// `send-test`, against a listener.
mod send_test;
// All of it together, through target-jsonl.
mod pipeline;
// The same with everything killed, at random moments.
mod torture;
// `scripts/run`, as the README's quick start has it.
mod scripts;
