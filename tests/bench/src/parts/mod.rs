//! What is measured, a file each.

mod backlog;
mod drain;
mod grouped;
mod growth;
mod memory;
mod pipeline;
mod single;
mod steady;
mod target;

use crate::bench::Bench;

/// A part of the benchmark, which can be asked for by its name.
pub(crate) struct Part {
    /// The name.
    pub name: &'static str,
    /// What it measures.
    pub about: &'static str,
    /// Measures it.
    pub run: fn(&mut Bench),
}

/// All of them, in the order in which they run. The last ones use the big spool.
pub(crate) const ALL: &[Part] = &[
    Part { name: "single", about: "posts of one event each, on disk before their answer", run: single::run },
    Part { name: "grouped", about: "posts of a hundred events", run: grouped::run },
    Part { name: "drain", about: "a full spool to the null device", run: drain::run },
    Part { name: "target", about: "what a drain writes, into a table", run: target::run },
    Part {
        name: "pipeline",
        about: "from the POST to the synced line, all on this machine",
        run: pipeline::run,
    },
    Part { name: "memory", about: "memory, and the shortest command", run: memory::run },
    Part { name: "growth", about: "what an event costs in a big spool and in a small one", run: growth::run },
    Part {
        name: "backlog",
        about: "starting, trimming and giving back, with a big spool",
        run: backlog::run,
    },
    Part { name: "steady", about: "the size of the spool while as much goes as comes", run: steady::run },
];
