//! `scripts/soak`: mixed load for as long as one likes, and whether anything is lost or grows.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use end_to_end::chance::Chance;
use end_to_end::growth::growth;
use end_to_end::soak::soak;

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let folder = PathBuf::from(arguments.next().expect("FOLDER is where the samples go"));
    let minutes: f64 = arguments.next().map_or(30.0, |text| text.parse().expect("MINUTES is a number"));
    let seed = arguments.next().map_or_else(Chance::fresh_seed, |text| {
        u64::from_str_radix(text.trim_start_matches("0x"), 16).expect("SEED is what an earlier run printed")
    });
    println!("seed {seed:#x}: {minutes} minutes");
    fs::create_dir_all(&folder).expect("FOLDER can be made");
    let outcome = soak(Duration::from_secs_f64(minutes * 60.0), seed, &folder.join("soak.csv"));

    println!(
        "\n{:>9} events and items were acknowledged; each arrived, and none was changed",
        outcome.acknowledged
    );
    println!("{:>9} rows of events and {} of items were stored", outcome.rows, outcome.rejected);
    println!("{:>9} of them again, after a restart", outcome.repeated);
    let written = outcome.samples.last().map_or(0, |sample| sample.written / 1_000_000);
    println!("{written:>9} MB were written to the disk");
    for (mark, count) in &outcome.marks {
        println!("{count:9} × {mark}");
    }
    let growth = growth(&outcome);
    if growth.is_empty() {
        println!("\nwhether anything grows can't be told from so short a run");
        return ExitCode::SUCCESS;
    }
    println!("\n{:26} {:12} {:>8} {:>8} {:>8}", "median of the phases", "", "early", "late", "limit");
    for figure in &growth {
        let verdict = if figure.has_grown { "  GROWS" } else { "" };
        println!(
            "{:26} {:12} {:>8.1} {:>8.1} {:>8.1}{verdict}",
            figure.name, figure.when, figure.early, figure.late, figure.limit
        );
    }
    let mut code = ExitCode::SUCCESS;
    for figure in growth.iter().filter(|figure| figure.has_grown) {
        eprintln!(
            "soak: {} ({}) grows: it is beyond its limit in the phases {}",
            figure.name,
            figure.when,
            figure.beyond.join(", ")
        );
        code = ExitCode::FAILURE;
    }
    if code == ExitCode::SUCCESS {
        println!("\nnothing is lost, and nothing grows");
    }
    code
}
