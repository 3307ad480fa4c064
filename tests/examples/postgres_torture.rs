//! `scripts/torture --postgres`: takes away servers, networks, disks, clocks and processes at random for a
//! given time, and prints a summary.

use std::env;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use end_to_end::postgres_torture::{Fault, PostgresTorture};
use end_to_end::random::SeededRandom;

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let minutes: f64 = arguments.next().map_or(20.0, |text| text.parse().expect("MINUTES is a number"));
    let seed = arguments.next().map_or_else(SeededRandom::random_seed, |text| {
        u64::from_str_radix(text.trim_start_matches("0x"), 16).expect("SEED is what an earlier run printed")
    });
    // For looking into one: the names of some faults.
    let chosen: Vec<_> = arguments.collect();
    let faults: Vec<_> = Fault::ALL
        .into_iter()
        .filter(|fault| chosen.is_empty() || chosen.contains(&fault.to_string()))
        .collect();
    println!("seed {seed:#x}");
    let mut order = SeededRandom::new(!seed);
    let start = Instant::now();
    let Some(mut torture) = PostgresTorture::start(seed) else { return ExitCode::FAILURE };
    println!("the cluster, two listeners and an emitter are up after {:.0?}", start.elapsed());
    let end = Instant::now() + Duration::from_secs_f64(minutes * 60.0);
    // Each fault comes once before any comes again.
    'rounds: loop {
        for fault in order.shuffled(&faults) {
            if Instant::now() >= end {
                break 'rounds;
            }
            let start = Instant::now();
            println!("{:6.0?}  {fault}", end.saturating_duration_since(start));
            torture.inflict(fault);
        }
    }
    let report = torture.end();
    println!("\nseed {seed:#x}: {} faults:", report.faults.values().map(|(count, _)| count).sum::<u64>());
    for (fault, (count, silence)) in &report.faults {
        println!("  {count:4} {fault}: at most {:.1} s without a 200", silence.as_secs_f64());
    }
    println!("answers: {:?}", report.answers);
    println!("no program used more than {} MB", report.peak_memory / 1_000_000);
    println!(
        "{} events were acknowledged, and {} rows written by {} runs of the emitter. 0 events were lost, \
         each arrived unchanged, no sequence was used twice, and every state is correct.",
        report.acknowledged, report.rows, report.runs
    );
    ExitCode::SUCCESS
}
