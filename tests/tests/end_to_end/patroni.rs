//! A spool in a cluster of PostgreSQL servers loses nothing, whatever fails. `scripts/torture --postgres`
//! lets more things fail, for as long as you like.

use end_to_end::postgres_torture::{Fault, PostgresTorture};
use end_to_end::random::SeededRandom;

#[test]
fn nothing_is_lost_when_the_primary_is_cut_off_together_with_a_listener_and_the_emitter() {
    // The output of a failed test shows the seed. `scripts/torture --postgres MINUTES SEED` repeats the
    // choices of the cluster, but lets all faults happen.
    let seed = SeededRandom::random_seed();
    println!("seed: {seed:#x}");
    let Some(mut torture) = PostgresTorture::start(seed) else { return };
    for fault in [Fault::SwitchOver, Fault::PrimaryCutOffWithClients] {
        println!("{fault}");
        torture.inflict(fault);
    }
    assert!(torture.end().acknowledged > 0, "some events were acknowledged");
}
