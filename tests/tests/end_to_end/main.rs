//! End-to-end tests: the real programs, used as a user would use them.
//!
//! One test binary, with one module for each thing that a user can rely on. Each test has a folder, a spool
//! and a port of its own, and waits for events, never for time to pass.

// The answer to a webhook, in every case: 200, 400, 404, 405, 413, 415.
mod receiving;
// What a client needs besides the URL: user name and password, an allowed address.
mod credentials;
// HTTPS without a proxy, and certificates that are bad or replaced.
mod tls;
// Limits that protect clients and the spool: time-outs, the cap on connections, a full spool.
mod guarding;
// Hostile clients: odd requests, thousands of idle connections, bodies of the maximum size.
mod abuse;
// The admin address: health, readiness and metrics.
mod admin;
// The status page: who may see it, and what it shows.
mod page;
// What can be done there beside webhook URLs: registering with Mailjet, and sending a test.
mod page_actions;
// The status page in a real browser: every view, with and without scripts, wide, narrow and dark.
mod browser;
// More of it in a real browser: each colour of the headline, messages, long texts, and the keyboard alone.
mod browser_views;
// The same figures for people: `spool status`.
mod spool_status;
// What the spool promises: durable before the 200, unique sequences, an end on I/O errors.
mod spooling;
// Failing storage: calls that return an error, each kind on each file.
mod storage;
// The disk under the spool: full, read-only, forbidden; and a spool after a crash or from another version.
mod disks;
// A damaged spool: readable events are written, unreadable ones are reported; `spool verify` and `spool
// export`.
mod damage;
// Power cuts.
mod power;
// The spool in PostgreSQL: replication, failovers, several listeners, one emitter.
mod replicated;
// Spools that earlier versions have created.
mod upgrading;
// Clocks that jump.
mod clocks;
// What leaves the spool, and what never does.
mod trimming;
// How an event becomes a row: values, keys, SCHEMA and STATE.
mod emitting;
// Which streams and columns are written, by default and by a catalog.
mod streams;
// What disappears with a deselected column, and what stays.
mod deselecting;
// The types that a catalog asks for.
mod types;
// New columns, and where values without a column go.
mod columns;
// Received data that is not an event.
mod rejected;
// `--test`.
mod sample;
// Property tests over any event: nothing is lost, everything is valid, and a restart changes nothing.
mod properties;
// The same for any choice of columns, types and names.
mod catalogs;
mod choices;
// Events of extreme sizes and shapes.
mod sizes;
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
// What is written again after a stop, a crash or a lost state, and what is not.
mod resuming;
// The log: stderr that is full, closed or never read, and foreign text in it.
mod logging;
// How a run ends: signals, bounds, and a reader that goes away.
mod ending;
// Webhook URLs: created, listed, revoked, and never shown again.
mod urls;
// Replacing a webhook URL, including Mailjet's side of it.
mod rotation;
// `mailjet`: registering webhook URLs with a stand-in for Mailjet, and what happens when that goes wrong.
mod mailjet;
// The check that a listener repeats.
mod mailjet_check;
// Behind nginx and Caddy.
mod proxies;
// Arguments, configuration, exit codes.
mod command_line;
// `send-test`, against a listener.
mod send_test;
// Everything together, through target-jsonl.
mod pipeline;
// The same while everything is killed, at random moments.
mod torture;
// The same with three PostgreSQL servers, of which one is lost.
mod patroni;
// `scripts/run`, as in the quick start, and the other scripts.
mod scripts;
// The Markdown files: their links, code blocks, command lines, file names and widths.
mod documents;
