//! The parts of the benchmark, one file each.

mod backlog;
mod drain;
mod grouped;
mod growth;
mod hostile;
mod memory;
mod pipeline;
mod replicated;
mod single;
mod steady;
mod target;

use crate::benchmark::Benchmark;

/// A part of the benchmark.
pub(crate) struct Part {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it measures.
    pub about: &'static str,
    /// Runs it.
    pub run: fn(&mut Benchmark),
}

/// All parts, in the order in which they run. The last ones use the big spool.
pub(crate) const ALL: &[Part] = &[
    Part { name: "single", about: "posts of one event each, on disk before their answer", run: single::run },
    Part { name: "grouped", about: "posts of a hundred events each", run: grouped::run },
    Part { name: "drain", about: "a drain of a full spool to the null device", run: drain::run },
    Part { name: "target", about: "the target, with the output of a drain", run: target::run },
    Part {
        name: "pipeline",
        about: "from the POST to the synced line, all on this machine",
        run: pipeline::run,
    },
    Part {
        name: "replicated",
        about: "posts and a drain with three PostgreSQL servers",
        run: replicated::run,
    },
    Part { name: "memory", about: "the listener's memory, and the shortest command", run: memory::run },
    Part { name: "hostile", about: "the webhooks that take the most time", run: hostile::run },
    Part {
        name: "growth",
        about: "the cost of an event in a big spool and in a small one",
        run: growth::run,
    },
    Part {
        name: "backlog",
        about: "starting, trimming and returning space, with a big spool",
        run: backlog::run,
    },
    Part {
        name: "steady",
        about: "the size of the spool while as many events leave as arrive",
        run: steady::run,
    },
];
