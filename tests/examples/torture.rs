//! `scripts/torture`: kills everything at random for as long as one likes, and sums up.

use std::collections::BTreeMap;
use std::env;
use std::time::{Duration, Instant};

use end_to_end::chance::Chance;
use end_to_end::torture::{Ordeal, Victim};

/// Kills that one spool lives through. Then all that came is compared, and another begins.
const KILLS: usize = 40;

fn main() {
    let mut arguments = env::args().skip(1);
    let minutes: f64 = arguments.next().map_or(5.0, |text| text.parse().expect("MINUTES is a number"));
    let seed = arguments.next().map_or_else(Chance::fresh_seed, |text| {
        u64::from_str_radix(text.trim_start_matches("0x"), 16).expect("SEED is what an earlier run printed")
    });
    let end = Instant::now() + Duration::from_secs_f64(minutes * 60.0);
    let mut chance = Chance::of(seed);
    let mut kills: BTreeMap<Victim, u64> = BTreeMap::new();
    let (mut spools, mut events) = (0, 0);
    while Instant::now() < end {
        // The first spool is that of the seed which was asked for; a failure names the seed of its own.
        let seed = if spools == 0 { seed } else { chance.next_number() };
        println!("spool {}: seed {seed:#x}", spools + 1);
        let mut victims = Chance::of(!seed);
        let mut ordeal = Ordeal::new(seed);
        for _ in 0..KILLS {
            let victim = victims.one_of(&Victim::ALL);
            ordeal.kill(victim);
            *kills.entry(victim).or_default() += 1;
        }
        let acknowledged = ordeal.end();
        println!("spool {}: {acknowledged} events were acknowledged, and all of them arrived", spools + 1);
        spools += 1;
        events += acknowledged;
    }
    println!("\nseed {seed:#x}: {} kills on {spools} spools:", kills.values().sum::<u64>());
    for (victim, count) in kills {
        println!("  {count:6} {victim}");
    }
    println!(
        "{events} events were acknowledged; each arrived, none was changed, and every state covers what is there"
    );
}
