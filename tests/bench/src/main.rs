//! `scripts/bench`: measures what is promised of speed and memory, each against something in the same run.
//!
//! - [`options`]: what is asked for
//! - [`bench`]: what the parts share: the folder, the options, the big spool, the results
//! - [`parts`]: what is measured, a file each
//! - [`site`]: a spool with its configuration, and the programs that run on it
//! - [`process`]: a process whose time and memory are measured
//! - [`mail`]: events as Mailjet sends them, each another one
//! - [`load`]: posts them, as fast as they are taken or at a rate
//! - [`histogram`]: how long the answers took
//! - [`figures`]: units, medians, and whether what was demanded is reached
//! - [`results`]: the table, and the files that it goes into
//! - [`machine`]: what it was measured on

mod bench;
mod figures;
mod histogram;
mod load;
mod machine;
mod mail;
mod options;
mod parts;
mod process;
mod results;
mod site;

use std::env;
use std::process::ExitCode;

use bench::Bench;
use options::Options;

fn main() -> ExitCode {
    let options = match Options::parse(env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    let mut bench = Bench::new(options);
    for part in parts::ALL {
        if bench.options.wants(part.name) {
            eprintln!("\n{}: {}", part.name, part.about);
            (part.run)(&mut bench);
        }
    }
    bench.finish();
    ExitCode::SUCCESS
}
