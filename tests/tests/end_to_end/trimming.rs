//! What leaves the spool: what a STATE has covered and retention has released. And what never does: anything else.

use end_to_end::events::{numbered, numbered_from};
use end_to_end::message::Record;
use end_to_end::spool::SpooledEvent;
use end_to_end::tap::{RunningTap, Tap};
use end_to_end::wait;

/// `tap --state s | target >> s`: the tap follows the file while it runs, and learns from it what the target has.
#[test]
fn a_state_file_that_grows_is_followed_and_only_what_it_covers_goes() {
    let tap = Tap::new().set("retention_days", 0.000_001);
    tap.append_state(0);
    let running = tap.run().state().start();
    let records = post_and_read(&running, 20);
    let sequences: Vec<_> = records.iter().map(Record::sequence).collect();

    for covered in [5, 6, 19] {
        assert!(
            tap.spool().sequences().ends_with(&sequences[covered - 1..]),
            "none goes before it is covered"
        );
        tap.append_state(sequences[covered - 1]);
        let rest = &sequences[covered..];
        wait::until("the spool is trimmed", || {
            let kept = tap.spool().sequences();
            assert!(kept.ends_with(rest), "what is not covered is gone: {kept:?}, {rest:?}");
            (kept == rest).then_some(())
        });
    }
    let finished = running.stop();
    finished.assert_code(0);
    assert_eq!(finished.records().len(), 20, "trimming changes nothing in what is written");
    assert_eq!(tap.spool().sequences(), sequences[19..], "the last one is not covered");
}

/// A state that was there when the tap started counts as well.
#[test]
fn what_a_first_state_covers_goes() {
    let tap = Tap::new();
    let bodies = numbered_from(0, 10);
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
fn what_is_younger_than_retention_days_stays() {
    let tap = Tap::new().set("retention_days", 1);
    tap.append_state(0);
    let running = tap.run().state().start();
    let records = post_and_read(&running, 5);
    tap.append_state(records[4].sequence());
    // An event of last year, before the others, tells when trimming has been at work.
    let old = SpooledEvent { sequence: 1, received_at: 1_600_000_000_000, body: numbered(9) };
    tap.spool().insert(&old);
    wait::until("the old event is trimmed", || (tap.spool().sequences().len() == 5).then_some(()));
    assert_eq!(tap.spool().sequences(), records.iter().map(Record::sequence).collect::<Vec<_>>());
}

/// A target whose state was used once has its own idea of what it has stored; a run that forgets `--state` must not
/// overrule it.
#[test]
fn where_a_state_was_given_once_a_run_without_one_trims_nothing() {
    let tap = Tap::new().set("retention_days", 0);
    tap.append_state(0);
    tap.spool_bodies([numbered(1).as_str(), &numbered(2)]);
    tap.drain().state().finish().assert_code(0);
    assert_eq!(tap.spool().events().len(), 2);

    let running = tap.run().start();
    let _ = post_and_read_after(&running, 2, 3);
    running.wait_bookmark(*tap.spool().sequences().last().expect("an event"));
    // A tap beside it that has never seen a state, started later, tells when trimming has been at work.
    let other = Tap::new().set("retention_days", 0);
    let beside = other.run().start();
    let _ = post_and_read(&beside, 1);
    wait::until("the other spool is trimmed", || other.spool().events().is_empty().then_some(()));
    beside.stop().assert_code(0);
    running.stop().assert_code(0);
    tap.drain().finish().assert_code(0);
    assert_eq!(tap.spool().events().len(), 5);
}

/// Who pipes without `--state`, ever, has no other sign than that the output took the events. A warning says so.
#[test]
fn where_no_state_was_ever_given_what_was_written_goes() {
    let tap = Tap::new().set("retention_days", 0);
    let running = tap.run().start();
    let _ = post_and_read(&running, 5);
    wait::until("the spool is trimmed", || tap.spool().events().is_empty().then_some(()));
    let finished = running.stop();
    finished.assert_code(0);
    assert!(finished.says("--state"), "{:?}", finished.stderr);
}

/// Nothing keeps what goes to the null device, and that is also where a closed stdout leads.
#[test]
fn what_was_written_to_nowhere_stays() {
    let tap = Tap::new().set("retention_days", 0);
    tap.spool_bodies([numbered(1).as_str()]);
    for stdout in [">/dev/null", ">&-"] {
        let script = format!("exec \"$0\" \"$@\" {stdout}");
        let drained = tap.drain().through(&["sh", "-c", &script]).finish();
        drained.assert_code(0);
        assert!(drained.says("nothing is trimmed"), "{:?}", drained.stderr);
        assert_eq!(tap.spool().events().len(), 1, "{stdout}");
    }
}

/// A state of another tap, copied into the file that is followed.
#[test]
fn a_state_that_cannot_be_this_spools_confirms_nothing_while_the_tap_runs() {
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

/// A drain is short; it must come to trimming all the same, or the spool of a cron job grows for ever.
#[test]
fn a_drain_trims_what_it_has_written_where_no_state_was_ever_given() {
    let tap = Tap::new().set("retention_days", 0);
    let bodies = numbered_from(0, 5);
    tap.spool_bodies(bodies.iter().map(String::as_str));
    let drained = tap.drain().finish();
    drained.assert_code(0);
    assert_eq!(drained.records().len(), 5);
    assert_eq!(tap.spool().events(), []);
}

/// With a state, what the last drain wrote is trimmed by the next one, which is told that it has been stored.
#[test]
fn a_drain_trims_what_its_state_covers() {
    let tap = Tap::new().set("retention_days", 0);
    let bodies = numbered_from(0, 5);
    tap.spool_bodies(bodies.iter().map(String::as_str));
    let first = tap.drain().state().finish();
    first.assert_code(0);
    assert_eq!(tap.spool().events().len(), 5, "nobody has confirmed them yet");
    tap.append_state(first.records()[3].sequence());
    let second = tap.drain().state().finish();
    second.assert_code(0);
    assert_eq!(second.records().len(), 1);
    assert_eq!(tap.spool().sequences(), [first.records()[4].sequence()]);
}

/// A backlog that was large once must not take its place on the disk for ever.
#[test]
fn what_trimming_frees_is_given_back_to_the_disk() {
    let tap = Tap::new().set("retention_days", 0);
    tap.drain().finish().assert_code(0);
    tap.spool().insert_many(5_000, 10_000);
    let size = || tap.spool().path.metadata().expect("the spool").len();
    wait::until("the events are in the file and not in its log", || {
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

/// The same, after `before` records that come anyway.
#[must_use]
fn post_and_read_after(running: &RunningTap, before: usize, count: usize) -> Vec<Record> {
    let endpoint = running.endpoint();
    for id in 0..count {
        endpoint.accept(numbered(100 + id as u64));
    }
    running.wait_records(before + count)
}
