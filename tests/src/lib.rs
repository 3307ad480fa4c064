//! The harness of the end-to-end tests: the real programs, started, fed, stopped and killed.
//!
//! A test gets everything it needs from here and waits for what happens (a message, a line, an exit), never for time
//! to pass. Whatever a test starts ends with it.
//!
//! - [`tap`]: the tap's configuration, command lines and running processes
//! - [`target`]: target-jsonl and the files that it writes
//! - [`pipeline`]: `tap --state s | target >> s`, with a pipe of the operating system between the two
//! - [`program`]: one child process, watched and, in the end, checked: no panic, no token in what it wrote
//! - [`lines`]: what a process writes, line by line, and waiting for a line
//! - [`metrics`]: what a tap tells on its admin address
//! - [`message`]: Singer messages, with the text of each value as it was written
//! - [`schema`]: whether records are what their SCHEMA says
//! - [`http`]: a small HTTP client that can also misbehave
//! - [`tls`]: certificates, and a client that checks them
//! - [`database`]: real databases and real targets that load them
//! - [`proxy`]: nginx and Caddy, as `scripts/proxies` configures them
//! - [`events`]: what Mailjet sends, in every shape known, and the rows that have to come of it
//! - [`oracle`]: posts like Mailjet, remembers what was acknowledged, and demands all of it
//! - [`load`]: what it posts, and how much of it
//! - [`arrivals`]: what has come of that, row by row
//! - [`chance`]: random choices that can be made again
//! - [`torture`]: kills everything, at random moments, and demands that nothing is lost
//! - [`soak`]: mixed load for long, and whether anything grows
//! - [`samples`]: what processes and files take, second by second
//! - [`growth`]: whether that grows
//! - [`faults`]: lets the calls of a tap fail as a broken disk does, and records what it writes
//! - [`power`]: what a power cut leaves of what was written
//! - [`mount`]: a small or read-only disk
//! - [`spool`]: looks into the spool's `SQLite` file, as its documentation says that anyone may
//! - [`wait`]: the one deadline of all waiting

pub mod arrivals;
pub mod chance;
pub mod database;
pub mod events;
pub mod faults;
pub mod growth;
pub mod http;
pub mod lines;
pub mod load;
pub mod message;
pub mod metrics;
pub mod mount;
pub mod oracle;
pub mod pipeline;
pub mod power;
pub mod program;
pub mod proxy;
pub mod samples;
pub mod schema;
pub mod soak;
pub mod spool;
pub mod tap;
pub mod target;
pub mod tls;
pub mod torture;
pub mod wait;
