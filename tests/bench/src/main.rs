//! `scripts/bench`: measures the promised speed and memory, each against something in the same run.
//!
//! - [`cli`]: the command line
//! - [`benchmark`]: what the parts share: the folder, the options, the big spool, the results
//! - [`parts`]: the measurements, one file each
//! - [`spool`]: a spool with its configuration, and the programs that run on it
//! - [`process`]: a process whose time and memory are measured
//! - [`event_generator`]: events as Mailjet sends them
//! - [`load`]: posts these events, as fast as possible or at a fixed rate
//! - [`latency`]: how long the answers took
//! - [`measurement`]: units, medians, and requirements
//! - [`results`]: the table of results, and the files with them
//! - [`machine`]: the machine that was measured on
//!
//! `src/bin/answer_without_spooling.rs` is the program that the listener is measured against, `writer.py` the
//! one for the emitter. `chart.py` draws the results.

mod benchmark;
mod cli;
mod event_generator;
mod latency;
mod load;
mod machine;
mod measurement;
mod parts;
mod process;
mod results;
mod spool;

use clap::Parser;

use benchmark::Benchmark;
use cli::Cli;

fn main() {
    let mut benchmark = Benchmark::new(Cli::parse().into());
    for part in parts::ALL {
        if benchmark.options.wants(part.name) {
            eprintln!("\n{}: {}", part.name, part.about);
            (part.run)(&mut benchmark);
        }
    }
    benchmark.finish();
}
