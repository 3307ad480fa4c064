//! Clocks that jump: sequences only grow, nothing is deleted early, and targets can parse every time.

use std::fs;
use std::path::{Path, PathBuf};

use end_to_end::events::{grouped, number_of, numbered_event, numbered_events};
use end_to_end::message::Record;
use end_to_end::pipeline::Pipeline;
use end_to_end::schema::assert_valid;
use end_to_end::spool::SpooledEvent;
use end_to_end::tap::{Tap, TapCommand};
use end_to_end::target::Target;
use end_to_end::wait;

/// The time of an old event. A test inserts one to see that trimming is running.
const LONG_AGO: i64 = 1_600_000_000_000;

/// A clock for the programs of one test. The test sets it.
struct TestClock {
    library: PathBuf,
    file: PathBuf,
}

impl TestClock {
    /// Returns `None` and prints a line if Debian's package `faketime` is not installed.
    fn new(tap: &Tap) -> Option<Self> {
        let libraries = fs::read_dir("/usr/lib").into_iter().flatten().filter_map(Result::ok);
        let library = libraries
            .map(|entry| entry.path().join("faketime/libfaketimeMT.so.1"))
            .find(|library| library.is_file());
        if library.is_none() {
            eprintln!("skipped: faketime is not installed");
        }
        let clock = TestClock { library: library?, file: tap.folder().join("clock") };
        clock.set("+0");
        Some(clock)
    }

    /// Sets the clock in libfaketime's notation: `+3600`, or `@2026-12-31 23:59:59`.
    fn set(&self, time: &str) {
        let new = self.file.with_extension("new");
        fs::write(&new, format!("{time}\n")).expect("a write");
        fs::rename(new, &self.file).expect("a rename");
    }

    fn set_for<'t>(&self, command: TapCommand<'t>) -> TapCommand<'t> {
        let text = |path: &Path| path.to_str().expect("a path is text").to_owned();
        command
            .env("LD_PRELOAD", &text(&self.library))
            .env("FAKETIME_TIMESTAMP_FILE", &text(&self.file))
            .env("FAKETIME_NO_CACHE", "1")
            // Waiting takes as long as usual; only the time of day jumps.
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("TZ", "UTC")
    }
}

#[test]
fn sequences_grow_and_nothing_is_deleted_early_while_the_clock_jumps_by_an_hour() {
    // Half an hour.
    let tap = Tap::new().set("retention_days", 0.5 / 24.0);
    let Some(clock) = TestClock::new(&tap) else { return };
    tap.append_state(0);
    let running = clock.set_for(tap.run().state()).start();
    let endpoint = running.endpoint();
    let mut posted = 0;
    for time in ["+0", "+3600", "-3600", "+0", "+3600"] {
        clock.set(time);
        for _ in 0..3 {
            endpoint.post_accepted(numbered_event(posted));
            posted += 1;
        }
        let records = running.wait_records(usize::try_from(posted).expect("a small number"));
        tap.append_state(records.last().expect("a record").sequence());
        tap.spool().insert(&SpooledEvent { sequence: 1, received_at: LONG_AGO, body: numbered_event(1_000) });
        wait::until("trimming is running", || (tap.spool().count_up_to(1) == 0).then_some(()));
        assert_eq!(tap.spool().events().len() as u64, posted, "at {time}, nothing is half an hour old");
    }
    let finished = running.stop();
    finished.assert_code(0);
    let sequences: Vec<_> = finished.records().iter().map(Record::sequence).collect();
    assert!(sequences.is_sorted_by(|one, next| one < next), "{sequences:?}");
    assert!(finished.records().iter().map(number_of).eq(0..posted));
    assert_valid(&finished.messages());
    tap.command(&["spool", "verify"]).finish().assert_code(0);
}

/// After a step of a century, sequences no longer follow the clock, and events seem to come from the future.
#[test]
fn an_event_stamped_a_century_ahead_does_not_block_trimming() {
    for unit in ["millisecond", "nanosecond"] {
        let tap = Tap::new().set("retention_days", 0).set("sequence_unit", unit);
        let Some(clock) = TestClock::new(&tap) else { return };
        tap.append_state(0);
        let running = clock.set_for(tap.run().state()).start();
        let endpoint = running.endpoint();
        clock.set("@2126-01-01 00:00:00");
        // More than are looked at in one step.
        endpoint.post_accepted(grouped(&numbered_events(0, 2500)));
        clock.set("+0");
        for number in 0..3 {
            endpoint.post_accepted(numbered_event(2500 + number));
        }
        let records = running.wait_records(2503);
        assert!(records.is_sorted_by(|one, next| one.sequence() < next.sequence()));
        tap.append_state(records[2501].sequence());
        wait::until("what is confirmed is trimmed", || {
            (tap.spool().sequences() == [records[2502].sequence()]).then_some(())
        });
        let _ = running.program.stderr().wait_for("seems to have arrived in the future");
        running.stop().assert_code(0);
    }
}

/// A machine without a battery starts in 1970, or wherever its clock stopped, until it has asked the network.
#[test]
fn an_event_that_arrived_while_the_clock_was_behind_is_not_deleted_early() {
    let tap = Tap::new().set("retention_days", 0.5 / 24.0);
    let Some(clock) = TestClock::new(&tap) else { return };
    tap.append_state(0);
    let running = clock.set_for(tap.run().state()).start();
    let endpoint = running.endpoint();
    for (number, time) in (0..).zip(["+0", "@1971-01-01 00:00:00", "-31536000", "+0"]) {
        clock.set(time);
        endpoint.post_accepted(numbered_event(number));
    }
    tap.append_state(running.wait_records(4)[3].sequence());
    tap.spool().insert(&SpooledEvent { sequence: 1, received_at: LONG_AGO, body: numbered_event(1_000) });
    wait::until("trimming is running", || (tap.spool().count_up_to(1) == 0).then_some(()));
    running.stop().assert_code(0);
    assert_eq!(tap.spool().events().len(), 4);
}

/// The clock is right while events arrive, and wrong whenever a scheduled drain starts.
#[test]
fn drains_that_start_while_the_clock_is_ahead_delete_nothing_early() {
    let tap = Tap::new().set("retention_days", 1);
    let Some(clock) = TestClock::new(&tap) else { return };
    tap.append_state(0);
    let listener = clock.set_for(tap.listen()).start();
    listener.endpoint().post_accepted(grouped(&numbered_events(0, 10)));
    listener.stop().assert_code(0);
    let sequences = tap.spool().sequences();
    clock.set_for(tap.drain()).finish().assert_code(0);
    tap.append_state(sequences[9]);
    for time in ["+31536000", "+3153600000", "+172800", "+0", "-31536000", "+31536000"] {
        clock.set(time);
        tap.spool().insert(&SpooledEvent { sequence: 1, received_at: LONG_AGO, body: numbered_event(1_000) });
        let drained = clock.set_for(tap.drain().state()).finish();
        drained.assert_code(0);
        assert_eq!(tap.spool().sequences(), sequences, "at {time}, nothing else is a day old");
    }
}

/// The sequences follow a clock that was ahead for a moment. Then it is behind.
#[test]
fn an_event_that_arrived_while_the_clock_was_behind_its_sequence_is_not_deleted_early() {
    let tap = Tap::new().set("retention_days", 0.5 / 24.0);
    let Some(clock) = TestClock::new(&tap) else { return };
    tap.append_state(0);
    let running = clock.set_for(tap.run().state()).start();
    for (number, time) in (0..).zip(["@2126-01-01 00:00:00", "@1971-01-01 00:00:00", "+0"]) {
        clock.set(time);
        running.endpoint().post_accepted(numbered_event(number));
    }
    tap.append_state(running.wait_records(3)[2].sequence());
    tap.spool().insert(&SpooledEvent { sequence: 1, received_at: LONG_AGO, body: numbered_event(1_000) });
    wait::until("trimming is running", || (tap.spool().count_up_to(1) == 0).then_some(()));
    running.stop().assert_code(0);
    assert_eq!(tap.spool().events().len(), 3);
}

/// Nobody knows when these events arrived, but the spool knows how long it has had them.
#[test]
fn events_whose_age_is_not_known_are_deleted_once_the_spool_has_had_them_long_enough() {
    // Two seconds.
    let tap = Tap::new().set("retention_days", 2.0 / 86_400.0);
    let Some(clock) = TestClock::new(&tap) else { return };
    tap.append_state(0);
    // A machine without a battery, until it has asked the network.
    clock.set("@1971-01-01 00:00:00");
    let running = clock.set_for(tap.run().state()).start();
    clock.set("@2126-01-01 00:00:00");
    running.endpoint().post_accepted(grouped(&numbered_events(0, 2500)));
    clock.set("+0");
    running.endpoint().post_accepted(grouped(&numbered_events(2500, 10)));
    tap.append_state(running.wait_records(2510)[2509].sequence());
    wait::until("everything is trimmed", || tap.spool().events().is_empty().then_some(()));
    running.stop().assert_code(0);
}

#[test]
fn events_on_both_sides_of_new_year_are_in_order() {
    let tap = Tap::new();
    let Some(clock) = TestClock::new(&tap) else { return };
    clock.set("@2026-12-31 23:59:59");
    let running = clock.set_for(tap.run()).start();
    let endpoint = running.endpoint();
    let mut posted = 0;
    let is_new_year = |record: &Record| record.text("_sdc_received_at").starts_with("2027-01-01T00:00:0");
    wait::until("the new year", || {
        endpoint.post_accepted(numbered_event(posted));
        posted += 1;
        let records = running.wait_records(usize::try_from(posted).expect("a small number"));
        records.last().is_some_and(is_new_year).then_some(())
    });
    let finished = running.stop();
    finished.assert_code(0);
    let records = finished.records();
    assert!(records[0].text("_sdc_received_at").starts_with("2026-12-31T23:59:5"), "{}", records[0].text);
    assert!(records.is_sorted_by(|one, next| one.sequence() < next.sequence()));
    assert_valid(&finished.messages());
}

/// A minute with 61 seconds, which many time parsers refuse. Mailjet's value is text, and stays text.
#[test]
fn a_leap_second_arrives_unchanged() {
    const LEAP: &str = "2016-12-31T23:59:60Z";
    let tap = Tap::new();
    let target = Target::in_folder(tap.folder());
    let event =
        format!(r#"{{"event":"open","MessageID":1,"time":"{LEAP}","email":"{LEAP}","new_field":"{LEAP}"}}"#);
    tap.spool_bodies([event.as_str(), &format!(r#"[{{"event":"open"}},"{LEAP}"]"#)]);
    Pipeline::start_drain(&tap, &target).finish();
    let finished = tap.drain().finish();
    finished.assert_code(0);
    assert_valid(&finished.messages());
    let records = finished.records();
    assert_eq!(records.len(), 2);
    for column in ["time__st", "email", "new_field"] {
        assert_eq!(records[0].text(column), LEAP, "{}", records[0].text);
    }
    assert_eq!(finished.records_of("_sdc_rejected")[0].text("record"), format!("\"{LEAP}\""));
    assert_eq!(target.rows().len(), 2, "a target that validates records accepts both");
}

/// Nanoseconds since 1970 overflow in the year 2262. A clock set past that, even briefly, must not stop the
/// spool.
#[test]
fn a_clock_past_the_nanosecond_range_stops_nothing() {
    let tap = Tap::new().set("sequence_unit", "nanosecond");
    let Some(clock) = TestClock::new(&tap) else { return };
    let running = clock.set_for(tap.run()).start();
    let endpoint = running.endpoint();
    for (number, time) in (0..).zip(["+0", "@2300-01-01 00:00:00", "@2300-01-01 00:00:00", "+0", "-3600"]) {
        clock.set(time);
        endpoint.post_accepted(numbered_event(number));
    }
    let finished = running.stop();
    finished.assert_code(0);
    let records = finished.records();
    assert!(records.iter().map(number_of).eq(0..5));
    assert!(records.is_sorted_by(|one, next| one.sequence() < next.sequence()));
    assert_valid(&finished.messages());
}
