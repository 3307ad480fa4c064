//! The harness of the end-to-end tests. It starts, feeds, stops and kills the real programs.
//!
//! A test waits for something to happen (a message, a line, an exit), never for time to pass. Everything that
//! a test starts ends with the test.
//!
//! The programs:
//!
//! - [`tap`]: the tap's configuration, command lines and running processes
//! - [`target`]: target-jsonl and its files
//! - [`pipeline`]: `tap --state s | target >> s`, connected by a pipe of the operating system
//! - [`program`]: child processes; at its end, each is checked for panics and secrets in its output
//! - [`lines`]: the output of a process, line by line
//! - [`metrics`]: the metrics on a tap's admin address
//! - [`browser`]: a real browser, which looks at the status page
//! - [`database`]: real databases, and real targets that load them
//! - [`patroni`]: PostgreSQL on three servers, of which any may be lost
//! - [`mailjet`]: a stand-in for Mailjet, its REST API and the servers that post webhooks
//! - [`proxy`]: nginx and Caddy, configured as in `scripts/proxies`
//!
//! Their data:
//!
//! - [`events`]: Mailjet's events, documented and odd, and the rows that must result from them
//! - [`message`]: Singer messages, with the original text of each value
//! - [`schema`]: checks that records are valid by their SCHEMA
//! - [`http`]: a small HTTP client that can also misbehave
//! - [`tls`]: certificates, and a client that verifies them
//! - [`page`]: requests to the status page
//! - [`spool`]: direct access to the tables of the spool
//!
//! Load and faults:
//!
//! - [`hostile`]: the bodies that take the most time and memory
//! - [`load`]: the webhooks that the oracle posts, and at which rate
//! - [`oracle`]: posts like Mailjet, remembers what was acknowledged, and checks that all of it arrives
//! - [`delivered`]: the rows that have arrived at the destination
//! - [`torture`]: kills everything at random moments
//! - [`postgres_torture`]: the same with a cluster of databases, its network, disks and clocks
//! - [`soak`]: mixed load for a long time
//! - [`sampling`]: the resource usage of processes and files, once a second
//! - [`growth`]: whether that usage grows
//! - [`faults`]: makes a tap's system calls fail like those on a faulty disk, and records its writes
//! - [`power`]: what a power cut leaves of these writes
//! - [`mount`]: a small or read-only disk
//! - [`network`]: several hosts, which can be cut off from each other
//!
//! Tools:
//!
//! - [`random`]: repeatable random choices
//! - [`wait`]: waiting, with one deadline for everything

pub mod browser;
pub mod database;
pub mod delivered;
pub mod events;
pub mod faults;
pub mod growth;
pub mod hostile;
pub mod http;
pub mod lines;
pub mod load;
pub mod mailjet;
pub mod message;
pub mod metrics;
pub mod mount;
pub mod network;
pub mod oracle;
pub mod page;
pub mod patroni;
pub mod pipeline;
pub mod postgres_torture;
pub mod power;
pub mod program;
pub mod proxy;
pub mod random;
pub mod sampling;
pub mod schema;
pub mod soak;
pub mod spool;
pub mod tap;
pub mod target;
pub mod tls;
pub mod torture;
pub mod wait;
