//! `scripts/torture`: kills everything at random moments for a given time, and prints a summary.

use std::collections::BTreeMap;
use std::env;
use std::time::{Duration, Instant};

use end_to_end::random::SeededRandom;
use end_to_end::torture::{Torture, Victim};

/// How many kills one spool survives. Then every event is compared, and another spool is started.
const KILLS: usize = 40;

fn main() {
    let mut arguments = env::args().skip(1);
    let minutes: f64 = arguments.next().map_or(5.0, |text| text.parse().expect("MINUTES is a number"));
    let seed = arguments.next().map_or_else(SeededRandom::random_seed, |text| {
        u64::from_str_radix(text.trim_start_matches("0x"), 16).expect("SEED is what an earlier run printed")
    });
    let end = Instant::now() + Duration::from_secs_f64(minutes * 60.0);
    let mut seeds = SeededRandom::new(seed);
    let mut kills: BTreeMap<Victim, u64> = BTreeMap::new();
    let (mut spools, mut events) = (0, 0);
    while Instant::now() < end {
        // The first spool uses the given seed itself, because a failure prints the seed of its spool.
        let seed = if spools == 0 { seed } else { seeds.next_u64() };
        println!("spool {}: seed {seed:#x}", spools + 1);
        let mut victims = SeededRandom::new(!seed);
        let mut torture = Torture::new(seed);
        for _ in 0..KILLS {
            let victim = victims.choose(&Victim::ALL);
            torture.kill(victim);
            *kills.entry(victim).or_default() += 1;
        }
        let acknowledged = torture.end();
        println!("spool {}: {acknowledged} events were acknowledged, and all of them arrived", spools + 1);
        spools += 1;
        events += acknowledged;
    }
    println!("\nseed {seed:#x}: {} kills on {spools} spools:", kills.values().sum::<u64>());
    for (victim, count) in kills {
        println!("  {count:6} {victim}");
    }
    println!("{events} events were acknowledged. Each arrived unchanged, and every state is correct.");
}
