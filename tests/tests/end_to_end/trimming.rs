//! What leaves the spool: events that a STATE has covered and retention has released. Nothing else ever does.

use std::io::{BufRead, BufReader};

use end_to_end::events::{grouped, numbered_event, numbered_events};
use end_to_end::message::Record;
use end_to_end::spool::SpooledEvent;
use end_to_end::tap::{RunningTap, Tap};
use end_to_end::wait;

/// With `tap --state s | target >> s`, the tap follows the file and learns from it what the target has
/// stored.
#[test]
fn a_growing_state_file_is_followed_and_only_covered_events_are_trimmed() {
    let tap = Tap::new().set("retention_days", 0.000_001);
    tap.append_state(0);
    let running = tap.run().state().start();
    let records = post_and_read(&running, 20);
    let sequences: Vec<_> = records.iter().map(Record::sequence).collect();

    for covered in [5, 6, 19] {
        assert!(
            tap.spool().sequences().ends_with(&sequences[covered - 1..]),
            "no event is trimmed before it is covered"
        );
        tap.append_state(sequences[covered - 1]);
        let rest = &sequences[covered..];
        wait::until("the spool is trimmed", || {
            let left = tap.spool().sequences();
            assert!(left.ends_with(rest), "events that are not covered are gone: {left:?}, {rest:?}");
            (left == rest).then_some(())
        });
    }
    let finished = running.stop();
    finished.assert_code(0);
    assert_eq!(finished.records().len(), 20, "trimming does not change the output");
    assert_eq!(tap.spool().sequences(), sequences[19..], "the last event is not covered");
}

/// A state that exists when the tap starts counts too.
#[test]
fn events_that_the_initial_state_covers_are_trimmed() {
    let tap = Tap::new();
    let bodies = numbered_events(0, 10);
    tap.spool_bodies(bodies.iter().map(String::as_str));
    tap.drain().finish().assert_code(0);
    let sequences = tap.spool().sequences();
    tap.append_state(sequences[3]);
    let running = tap.run().state().set("retention_days", 0).start();
    wait::until("the spool is trimmed", || (tap.spool().sequences() == sequences[4..]).then_some(()));
    running.stop().assert_code(0);
    assert_eq!(tap.spool().sequences(), sequences[4..]);
}

#[test]
fn events_younger_than_retention_days_stay() {
    let tap = Tap::new().set("retention_days", 1);
    tap.append_state(0);
    let running = tap.run().state().start();
    let records = post_and_read(&running, 5);
    tap.append_state(records[4].sequence());
    // The old event disappears when trimming has run.
    let old = SpooledEvent { sequence: 1, received_at: 1_600_000_000_000, body: numbered_event(9) };
    tap.spool().insert(&old);
    wait::until("the old event is trimmed", || (tap.spool().sequences().len() == 5).then_some(()));
    assert_eq!(tap.spool().sequences(), records.iter().map(Record::sequence).collect::<Vec<_>>());
}

/// If a state was ever given, the target's state decides what is stored. A run without `--state` must not
/// overrule it.
#[test]
fn once_a_state_was_given_a_run_without_one_trims_nothing() {
    let tap = Tap::new().set("retention_days", 0).set("confirm_without_state", true);
    tap.append_state(0);
    tap.spool_bodies([numbered_event(1).as_str(), &numbered_event(2)]);
    tap.drain().state().finish().assert_code(0);
    assert_eq!(tap.spool().events().len(), 2);

    let running = tap.run().start();
    let _ = post_and_read_after(&running, 2, 3);
    running.wait_bookmark(*tap.spool().sequences().last().expect("an event"));
    // Another tap, started later and never given a state, shows that trimming has had time to run.
    let other = Tap::new().set("retention_days", 0).set("confirm_without_state", true);
    let beside = other.run().start();
    let _ = post_and_read(&beside, 1);
    wait::until("the other spool is trimmed", || other.spool().events().is_empty().then_some(()));
    beside.stop().assert_code(0);
    running.stop().assert_code(0);
    tap.drain().finish().assert_code(0);
    assert_eq!(tap.spool().events().len(), 5);
}

/// `meltano config test` reads two lines of a run without a state and goes away.
#[test]
fn a_run_without_a_state_confirms_nothing_and_says_that_the_spool_will_fill() {
    let tap = Tap::new().set("retention_days", 0);
    tap.spool_bodies([grouped(&numbered_events(0, 3000)).as_str()]);
    let (mut run, stdout) = tap.drain().start_unread();
    let mut lines = BufReader::new(stdout).lines();
    let _ = (lines.next(), lines.next());
    drop(lines);
    assert_eq!(run.wait(), Some(1));
    let complete = tap.drain().finish();
    complete.assert_code(0);
    assert!(complete.stderr_contains("nothing counts as stored"), "{:?}", complete.stderr);
    assert!(complete.stderr_contains("confirm_without_state"), "{:?}", complete.stderr);
    assert_eq!(tap.spool().events().len(), 3000);
    let status = tap.command(&["spool", "status"]).finish();
    let unconfirmed = status.stdout.iter().find(|line| line.starts_with("unconfirmed")).expect("a line");
    assert!(unconfirmed.contains("3000") || unconfirmed.contains("3,000"), "{unconfirmed}");
    assert_eq!(tap.drain().state().finish().records().len(), 3000);
}

/// The only confirmation is then that stdout has taken the events, and a line of the log says so.
#[test]
fn with_confirm_without_state_written_events_are_trimmed() {
    let tap = Tap::new().set("retention_days", 0).set("confirm_without_state", true);
    let running = tap.run().start();
    let _ = post_and_read(&running, 5);
    wait::until("the spool is trimmed", || tap.spool().events().is_empty().then_some(()));
    let finished = running.stop();
    finished.assert_code(0);
    assert!(finished.stderr_contains("once stdout has taken them"), "{:?}", finished.stderr);
}

/// Nothing keeps what is written to the null device, and a closed stdout leads there too.
#[test]
fn events_written_to_the_null_device_stay() {
    let tap = Tap::new().set("retention_days", 0).set("confirm_without_state", true);
    tap.spool_bodies([numbered_event(1).as_str()]);
    for stdout in [">/dev/null", ">&-"] {
        let script = format!("exec \"$0\" \"$@\" {stdout}");
        let drained = tap.drain().wrapped_in(&["sh", "-c", &script]).finish();
        drained.assert_code(0);
        assert!(drained.stderr_contains("nothing is trimmed"), "{:?}", drained.stderr);
        assert_eq!(tap.spool().events().len(), 1, "{stdout}");
    }
}

/// Another tap's state, copied into the file that the tap follows.
#[test]
fn a_state_of_another_spool_confirms_nothing_in_a_running_tap() {
    let tap = Tap::new().set("retention_days", 0);
    tap.append_state(0);
    let running = tap.run().state().start();
    let records = post_and_read(&running, 3);
    tap.append_state(records[2].sequence() + 1_000_000);
    let _ = running.program.stderr().wait_for("confirms nothing");
    assert_eq!(tap.spool().events().len(), 3);
    tap.append_state(records[1].sequence());
    wait::until("the spool is trimmed", || (tap.spool().events().len() == 1).then_some(()));
    running.stop().assert_code(0);
    assert_eq!(tap.spool().events().len(), 1);
}

/// A drain is short, but it must get around to trimming, or the spool of a cron job grows forever.
#[test]
fn with_confirm_without_state_a_drain_trims_what_it_wrote() {
    let tap = Tap::new().set("retention_days", 0).set("confirm_without_state", true);
    let bodies = numbered_events(0, 5);
    tap.spool_bodies(bodies.iter().map(String::as_str));
    let drained = tap.drain().finish();
    drained.assert_code(0);
    assert_eq!(drained.records().len(), 5);
    assert_eq!(tap.spool().events(), []);
}

/// With a state, the next drain trims what the last one wrote, because the state says that it is stored.
#[test]
fn a_drain_trims_what_its_state_covers() {
    let tap = Tap::new().set("retention_days", 0);
    let bodies = numbered_events(0, 5);
    tap.spool_bodies(bodies.iter().map(String::as_str));
    let first = tap.drain().state().finish();
    first.assert_code(0);
    assert_eq!(tap.spool().events().len(), 5, "no state has confirmed them yet");
    tap.append_state(first.records()[3].sequence());
    let second = tap.drain().state().finish();
    second.assert_code(0);
    assert_eq!(second.records().len(), 1);
    assert_eq!(tap.spool().sequences(), [first.records()[4].sequence()]);
}

/// A backlog that was once large must not occupy the disk forever.
#[test]
fn trimming_returns_space_to_the_disk() {
    let tap = Tap::new().set("retention_days", 0).set("confirm_without_state", true);
    tap.drain().finish().assert_code(0);
    tap.spool().insert_many(5_000, 10_000);
    let size = || tap.spool().path.metadata().expect("the spool").len();
    wait::until("the events are in the database and not in its log", || {
        tap.drain().set("retention_days", 1_000_000).finish().assert_code(0);
        (size() > 50_000_000).then_some(())
    });
    let running = tap.run().start();
    wait::until("the spool is small again", || (size() < 20_000_000).then_some(()));
    running.stop().assert_code(0);
    assert_eq!(tap.spool().events(), []);
}

/// Posts `count` events and waits for their records.
#[must_use]
fn post_and_read(running: &RunningTap, count: usize) -> Vec<Record> {
    post_and_read_after(running, 0, count)
}

/// The same for a tap that writes `before` other records first.
#[must_use]
fn post_and_read_after(running: &RunningTap, before: usize, count: usize) -> Vec<Record> {
    let endpoint = running.endpoint();
    for id in 0..count {
        endpoint.post_accepted(numbered_event(100 + id as u64));
    }
    running.wait_records(before + count)
}
