//! Nothing is lost, whatever is killed, at any moment. `scripts/torture` does the same for as long as you
//! like.

use end_to_end::random::SeededRandom;
use end_to_end::torture::{Torture, Victim};

/// Kills each of `victims` in turn, `rounds` times, all on one spool, and checks that nothing is lost.
fn assert_nothing_is_lost(victims: &[Victim], rounds: u32) {
    // The output of a failed test shows the seed. `scripts/torture MINUTES SEED` repeats the same choices.
    let seed = SeededRandom::random_seed();
    println!("seed: {seed:#x}");
    let mut torture = Torture::new(seed);
    for _ in 0..rounds {
        for victim in victims {
            println!("{victim}");
            torture.kill(*victim);
        }
    }
    assert!(torture.end() > 0, "some events were acknowledged");
}

#[test]
fn nothing_is_lost_when_the_tap_is_killed() {
    assert_nothing_is_lost(&[Victim::Tap, Victim::StartingTap], 5);
}

#[test]
fn nothing_is_lost_when_the_tap_is_killed_while_it_trims() {
    assert_nothing_is_lost(&[Victim::TrimmingTap], 2);
}

#[test]
fn nothing_is_lost_when_the_target_or_another_reader_is_killed() {
    assert_nothing_is_lost(&[Victim::Target, Victim::StateWriter, Victim::Reader], 3);
}

#[test]
fn nothing_is_lost_when_a_listener_or_a_drain_is_killed() {
    assert_nothing_is_lost(&[Victim::Listener, Victim::Drain, Victim::DrainTarget], 3);
}

#[test]
fn a_printed_url_works_whenever_the_command_is_killed() {
    assert_nothing_is_lost(&[Victim::UrlCommand], 3);
}

#[test]
fn a_spool_whose_creation_was_killed_is_usable() {
    assert_nothing_is_lost(&[Victim::FirstStart], 8);
}
