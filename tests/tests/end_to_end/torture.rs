//! Nothing is lost, whoever is killed, whenever. `scripts/torture` does the same for as long as one likes.

use end_to_end::chance::Chance;
use end_to_end::torture::{Ordeal, Victim};

/// Kills each of `victims` some times over, in turn, all of them on one spool.
fn endure(victims: &[Victim], rounds: u32) {
    // A failed test shows what it was; `scripts/torture MINUTES SEED` makes the same choices again.
    let seed = Chance::fresh_seed();
    println!("seed: {seed:#x}");
    let mut ordeal = Ordeal::new(seed);
    for _ in 0..rounds {
        for victim in victims {
            println!("{victim}");
            ordeal.kill(*victim);
        }
    }
    assert!(ordeal.end() > 0, "something was acknowledged");
}

#[test]
fn nothing_is_lost_when_the_tap_is_killed() {
    endure(&[Victim::Tap, Victim::StartingTap], 5);
}

#[test]
fn nothing_is_lost_when_the_tap_is_killed_while_it_trims() {
    endure(&[Victim::TrimmingTap], 2);
}

#[test]
fn nothing_is_lost_when_the_target_or_whoever_reads_is_killed() {
    endure(&[Victim::Target, Victim::StateWriter, Victim::Reader], 3);
}

#[test]
fn nothing_is_lost_when_a_listener_or_a_drain_is_killed() {
    endure(&[Victim::Listener, Victim::Drain, Victim::DrainTarget], 3);
}

#[test]
fn a_url_that_was_printed_exists_whenever_the_command_is_killed() {
    endure(&[Victim::UrlCommand], 3);
}

#[test]
fn a_spool_that_was_killed_while_it_was_made_is_made() {
    endure(&[Victim::FirstStart], 8);
}
