//! Power cuts: every event answered with 200 survives, even if the disk has lost everything that was not
//! synced.

use std::collections::{BTreeMap, BTreeSet};

use end_to_end::events::{number_in, number_of, numbered_event};
use end_to_end::faults::FaultInjector;
use end_to_end::http::Client;
use end_to_end::power::Recording;
use end_to_end::random::SeededRandom;
use end_to_end::tap::Tap;

/// Power cuts to try, out of the thousands of moments in a run.
const CUTS: usize = 30;
/// Events in each of two runs: enough that the write-ahead log is copied into the database.
const EVENTS: u64 = 300;

/// Records a run that creates a spool and a second run that continues with it. Then starts on what a number
/// of power cuts may leave, and checks that every event answered by then is there, unless the run's own note
/// says that it was trimmed.
fn assert_answered_events_survive(retention_days: u32) {
    let seed = SeededRandom::random_seed();
    println!("seed: {seed:#x}");
    let mut random = SeededRandom::new(seed);
    let recorded = Tap::new().set("retention_days", retention_days);
    let Some(faults) = FaultInjector::build_for(&recorded) else { return };
    // The sequence of each event, by its number.
    let mut sequences: BTreeMap<u64, i64> = BTreeMap::new();
    let mut posted = 0;
    for _ in 0..2 {
        let running = faults.inject_into(recorded.run()).start();
        let endpoint = running.endpoint();
        let mut client = Client::connect(endpoint.address).expect("a connection");
        for _ in 0..EVENTS {
            assert_eq!(client.post(&endpoint.path, &numbered_event(posted)).expect("an answer").status, 200);
            posted += 1;
        }
        let finished = running.stop();
        finished.assert_code(0);
        sequences.extend(finished.records().iter().map(|row| (number_of(row), row.sequence())));
    }
    let recording = Recording::read(&faults.record_file());
    let syncs: Vec<_> = recording.sync_points().collect();
    assert_eq!(recording.answers_by(recording.moments()) as u64, posted, "each answer is recorded");
    assert!(syncs.len() as u64 > posted, "each answer follows a sync");
    for cut in 0..CUTS {
        let moment = match cut % 2 {
            0 => random.choose(&syncs),
            _ => usize::try_from(random.below(recording.moments() as u64)).expect("a place") + 1,
        };
        let tap = Tap::new();
        recording.play_back(moment, &mut random, tap.folder(), "spool.db");
        // The first program that opens the spool repairs what needs repair.
        tap.drain().finish().assert_code(0);
        let events = tap.spool().events();
        let present: BTreeSet<u64> = events.iter().map(|event| number_in(&event.body)).collect();
        let trimmed = tap.spool().fact("trimmed_through").unwrap_or(0);
        for id in 0..recording.answers_by(moment) as u64 {
            assert!(
                present.contains(&id) || sequences[&id] <= trimmed,
                "event {id} was answered before step {moment} and is lost"
            );
        }
        for event in &events {
            let id = number_in(&event.body);
            assert_eq!((event.body.as_str(), event.sequence), (numbered_event(id).as_str(), sequences[&id]));
        }
        tap.command(&["spool", "verify"]).finish().assert_code(0);
    }
}

#[test]
fn answered_events_survive_a_power_cut_at_any_moment() {
    assert_answered_events_survive(7);
}

#[test]
fn answered_events_survive_a_power_cut_while_a_run_trims() {
    assert_answered_events_survive(0);
}
