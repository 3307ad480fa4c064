//! `scripts/soak`: mixed load for a given time; fails if an event is lost or resource usage grows.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use end_to_end::growth::growth;
use end_to_end::random::SeededRandom;
use end_to_end::soak::soak;

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let folder = PathBuf::from(arguments.next().expect("FOLDER is where the samples go"));
    let minutes: f64 = arguments.next().map_or(30.0, |text| text.parse().expect("MINUTES is a number"));
    let seed = arguments.next().map_or_else(SeededRandom::random_seed, |text| {
        u64::from_str_radix(text.trim_start_matches("0x"), 16).expect("SEED is what an earlier run printed")
    });
    println!("seed {seed:#x}: {minutes} minutes");
    fs::create_dir_all(&folder).expect("FOLDER can be created");
    let report = soak(Duration::from_secs_f64(minutes * 60.0), seed, &folder.join("soak.csv"));

    println!("\n{:>9} events and items were acknowledged; each arrived unchanged", report.acknowledged);
    println!("{:>9} rows of events and {} rows of rejected items were stored", report.rows, report.rejected);
    println!("{:>9} of them were repeated after a restart", report.repeated);
    let written = report.samples.last().map_or(0, |sample| sample.written / 1_000_000);
    println!("{written:>9} MB were written to the disk");
    for (mark, count) in &report.marks {
        println!("{count:9} × {mark}");
    }
    let growth = growth(&report);
    if growth.is_empty() {
        println!("\nthe run was too short to see whether anything grows");
        return ExitCode::SUCCESS;
    }
    println!("\n{:26} {:12} {:>8} {:>8} {:>8}", "median of the phases", "", "early", "late", "limit");
    for quantity in &growth {
        let verdict = if quantity.has_grown { "  GROWS" } else { "" };
        println!(
            "{:26} {:12} {:>8.1} {:>8.1} {:>8.1}{verdict}",
            quantity.name, quantity.when, quantity.early, quantity.late, quantity.limit
        );
    }
    let mut code = ExitCode::SUCCESS;
    for quantity in growth.iter().filter(|quantity| quantity.has_grown) {
        eprintln!(
            "soak: {} ({}) grows: it exceeded its limit in the phases {}",
            quantity.name,
            quantity.when,
            quantity.beyond.join(", ")
        );
        code = ExitCode::FAILURE;
    }
    if code == ExitCode::SUCCESS {
        println!("\nnothing was lost, and nothing grows");
    }
    code
}
