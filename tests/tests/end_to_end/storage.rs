//! Failing storage. Whatever breaks, there is one clear line, no 200 for an event that is not stored, and a
//! complete recovery once the cause is gone.

use std::time::Duration;

use end_to_end::events::{DOCUMENTED_EVENTS, grouped, number_of, numbered_event, numbered_events};
use end_to_end::faults::{Fault, FaultInjector, SpoolFile, SystemCall};
use end_to_end::http::{Client, Endpoint};
use end_to_end::message::Message;
use end_to_end::oracle::Oracle;
use end_to_end::pipeline::Pipeline;
use end_to_end::tap::{FinishedTap, RunningTap, Tap};
use end_to_end::target::Target;

/// Posts an event and returns the status of the answer; `None` if nothing answers.
fn post(endpoint: &Endpoint, id: u64) -> Option<u16> {
    let mut client = Client::connect(endpoint.address).ok()?;
    client.post(&endpoint.path, &numbered_event(id)).ok().map(|reply| reply.status)
}

/// Posts until the listener has ended, and returns how many events were accepted. No 200 may follow a 503.
fn post_until_ended(endpoint: &Endpoint, first: u64) -> u64 {
    let mut accepted = 0;
    let mut refused = false;
    for id in first.. {
        match post(endpoint, id) {
            Some(200) => {
                assert!(!refused, "a 200 after the disk has failed");
                accepted += 1;
            }
            Some(503) => refused = true,
            Some(status) => panic!("answered with {status}"),
            None => break,
        }
    }
    accepted
}

/// Waits until the listener has ended, and checks that one error line names the spool.
fn assert_ends_with_spool_error(listener: RunningTap) -> FinishedTap {
    let finished = listener.finish();
    let error = finished.only_error();
    assert!(error.contains("spool.db"), "the error names the spool: {error}");
    finished
}

/// Starts again on a healthy disk, and checks that the first `count` numbered events are there.
fn assert_present(tap: &Tap, count: u64) {
    let listener = tap.listen().start();
    assert_eq!(post(&listener.endpoint(), 1_000_000), Some(200));
    listener.stop().assert_code(0);
    let drained = tap.drain().finish();
    drained.assert_code(0);
    let present: Vec<_> = drained.records().iter().map(number_of).collect();
    for id in (0..count).chain([1_000_000]) {
        assert!(present.contains(&id), "event {id} was answered with 200 and is lost");
    }
}

/// The system reports a used-up quota with an error of its own, which SQLite takes for a failing disk.
#[test]
fn a_used_up_quota_is_no_room_until_there_is_some() {
    let tap = Tap::new();
    let Some(disk) = FaultInjector::build_for(&tap) else { return };
    let listener = disk.inject_into(tap.listen()).start();
    let endpoint = listener.endpoint();
    assert_eq!(post(&endpoint, 0), Some(200));
    for fault in [Fault::QuotaExceeded, Fault::NoSpace] {
        disk.plan(SystemCall::Write, SpoolFile::Wal, fault, 100_000);
        for _ in 0..3 {
            assert_eq!(post(&endpoint, 1), Some(503), "{fault:?}");
        }
        disk.clear();
        end_to_end::wait::until("webhooks are accepted again", || {
            (post(&endpoint, 1) == Some(200)).then_some(())
        });
    }
    listener.stop().assert_code(0);
    assert_present(&tap, 2);
}

/// Some network file systems, and FUSE, cannot sync a directory.
#[test]
fn a_directory_that_cannot_be_synced_is_a_warning() {
    let tap = Tap::new();
    let Some(disk) = FaultInjector::build_for(&tap) else { return };
    disk.plan(SystemCall::Sync, SpoolFile::Directory, Fault::Unsupported, 100);
    let listener = disk.inject_into(tap.listen()).start();
    assert_eq!(post(&listener.endpoint(), 0), Some(200));
    assert!(disk.failed_calls() > 0);
    let finished = listener.stop();
    finished.assert_code(0);
    assert!(finished.stderr_contains("cannot sync a directory"), "{:?}", finished.stderr);
}

/// The kernel marks the pages of a failed sync as clean, so a second sync succeeds without storing anything.
#[test]
fn a_failed_sync_is_never_retried() {
    let tap = Tap::new();
    let Some(faults) = FaultInjector::build_for(&tap) else { return };
    let listener = faults.inject_into(tap.listen()).start();
    let endpoint = listener.endpoint();
    for id in 0..5 {
        assert_eq!(post(&endpoint, id), Some(200));
    }
    faults.plan(SystemCall::Sync, SpoolFile::Wal, Fault::InputOutput, 1);
    assert_eq!(post(&endpoint, 5), Some(503));
    assert_eq!(post_until_ended(&endpoint, 6), 0, "no later 200");
    assert_eq!(faults.failed_calls(), 1);
    let finished = assert_ends_with_spool_error(listener);
    assert!(finished.stderr_contains("Check the disk, then start again"), "{:?}", finished.stderr);
    assert_present(&tap, 5);
}

/// The same while the log is copied into the database, which happens after a successful commit.
#[test]
fn a_failed_sync_of_the_database_is_never_retried() {
    let tap = Tap::new();
    let Some(faults) = FaultInjector::build_for(&tap) else { return };
    let listener = faults.inject_into(tap.listen()).start();
    let endpoint = listener.endpoint();
    faults.plan(SystemCall::Sync, SpoolFile::Database, Fault::InputOutput, 1);
    let mut accepted = 0;
    while faults.failed_calls() == 0 && post(&endpoint, accepted) == Some(200) {
        accepted += 1;
    }
    assert_eq!(faults.failed_calls(), 1);
    assert_eq!(post_until_ended(&endpoint, accepted), 0, "no later 200");
    assert_ends_with_spool_error(listener);
    assert_present(&tap, accepted);
}

#[test]
fn a_failed_write_ends_the_listener() {
    for (call, file) in [(SystemCall::Write, SpoolFile::Wal), (SystemCall::Write, SpoolFile::Database)] {
        let tap = Tap::new();
        let Some(faults) = FaultInjector::build_for(&tap) else { return };
        let listener = faults.inject_into(tap.listen()).start();
        let endpoint = listener.endpoint();
        faults.plan(call, file, Fault::InputOutput, 1);
        let accepted = post_until_ended(&endpoint, 0);
        assert_eq!(faults.failed_calls(), 1);
        assert_ends_with_spool_error(listener);
        assert_present(&tap, accepted);
    }
}

#[test]
fn short_writes_are_completed() {
    let tap = Tap::new();
    let Some(faults) = FaultInjector::build_for(&tap) else { return };
    let listener = faults.inject_into(tap.listen()).start();
    let endpoint = listener.endpoint();
    faults.plan(SystemCall::Write, SpoolFile::Wal, Fault::ShortWrite, 1_000);
    for id in 0..20 {
        assert_eq!(post(&endpoint, id), Some(200));
    }
    assert!(faults.failed_calls() > 20);
    let _ = listener.kill();
    assert_present(&tap, 20);
}

/// A full disk damages nothing. What does not fit is refused, and everything goes on when there is room.
#[test]
fn a_full_disk_is_answered_503_until_there_is_room() {
    let tap = Tap::new();
    let Some(faults) = FaultInjector::build_for(&tap) else { return };
    let listener = faults.inject_into(tap.listen()).start();
    let endpoint = listener.endpoint();
    assert_eq!(post(&endpoint, 0), Some(200));
    faults.plan(SystemCall::Write, SpoolFile::Wal, Fault::NoSpace, u32::MAX / 2);
    for id in 100..110 {
        assert_eq!(post(&endpoint, id), Some(503));
    }
    faults.clear();
    for id in 1..10 {
        assert_eq!(post(&endpoint, id), Some(200));
    }
    listener.stop().assert_code(0);
    assert_present(&tap, 10);
    assert_eq!(tap.spool().events().len(), 11, "no refused event is there");
}

/// A STATE needs room for a note in the spool. Without room the run goes on, and the STATE follows when there
/// is some.
#[test]
fn a_run_on_a_full_disk_continues_and_writes_its_state_when_there_is_room() {
    let tap = Tap::new();
    tap.spool_bodies([grouped(&numbered_events(0, 3)).as_str()]);
    let Some(faults) = FaultInjector::build_for(&tap) else { return };
    faults.plan(SystemCall::Write, SpoolFile::Wal, Fault::NoSpace, u32::MAX / 2);
    let running = faults.inject_into(tap.run().state()).start();
    let _ = running.wait_records(3);
    let _ = running.program.stderr().wait_for("no STATE is written until there is room");
    assert_eq!(post(&running.endpoint(), 3), Some(503));
    faults.clear();
    assert_eq!(post(&running.endpoint(), 4), Some(200));
    let last = running.wait_records(4).last().expect("a record").sequence();
    let finished = running.stop();
    finished.assert_code(0);
    let messages = finished.messages();
    assert_eq!(messages.iter().rev().find_map(Message::bookmark), Some(last));
    assert_eq!(finished.records().iter().map(number_of).collect::<Vec<_>>(), [0, 1, 2, 4]);
}

#[test]
fn a_file_that_cannot_be_opened_is_named_and_nothing_starts() {
    for file in [SpoolFile::Database, SpoolFile::Wal] {
        let tap = Tap::new();
        tap.spool_bodies([numbered_event(0).as_str()]);
        let Some(faults) = FaultInjector::build_for(&tap) else { return };
        faults.plan(SystemCall::Open, file, Fault::PermissionDenied, u32::MAX / 2);
        for command in [tap.listen(), tap.run(), tap.drain()] {
            let finished = faults.inject_into(command).finish();
            assert!(finished.only_error().contains("spool.db"), "{:?}", finished.stderr);
            assert_eq!(finished.stdout, [""; 0]);
        }
        faults.clear();
        assert_present(&tap, 1);
    }
}

/// A failed read puts no stored event in doubt. The run ends with one line, and the next one finds
/// everything.
#[test]
fn a_failed_read_ends_the_drain_and_loses_nothing() {
    let tap = Tap::new();
    tap.spool_bodies([grouped(&numbered_events(0, 2_000)).as_str()]);
    let Some(faults) = FaultInjector::build_for(&tap) else { return };
    // The very first reads fail, those that open the spool.
    faults.plan(SystemCall::Read, SpoolFile::Database, Fault::InputOutput, u32::MAX / 2);
    let broken = faults.inject_into(tap.drain()).finish();
    assert!(broken.only_error().contains("spool.db"), "{:?}", broken.stderr);
    assert_present(&tap, 2_000);
}

/// Both ends are busy, on a disk whose calls fail now and then. A service manager would start the tap again,
/// and every acknowledged event arrives.
#[test]
fn nothing_is_lost_on_a_disk_that_fails_repeatedly() {
    let tap = Tap::new().set("retention_days", 0);
    let Some(faults) = FaultInjector::build_for(&tap) else { return };
    let target = Target::in_folder(tap.folder());
    let mut oracle: Option<Oracle> = None;
    let failures = [
        (SystemCall::Sync, SpoolFile::Wal, Fault::InputOutput),
        (SystemCall::Write, SpoolFile::Wal, Fault::InputOutput),
        (SystemCall::Write, SpoolFile::Database, Fault::InputOutput),
        (SystemCall::Sync, SpoolFile::Database, Fault::InputOutput),
    ];
    for (call, file, fault) in failures {
        let mut pipeline = Pipeline::start_command(faults.inject_into(tap.run()), &tap, &target);
        let endpoint = pipeline.tap.endpoint();
        let oracle = oracle
            .get_or_insert_with(|| Oracle::start_with_pauses(endpoint.clone(), 4, Duration::from_millis(1)));
        oracle.redirect(endpoint);
        oracle.wait_acknowledged(20);
        faults.plan(call, file, fault, 1);
        assert_eq!(pipeline.tap.program.wait(), Some(1), "{call:?} {file:?}");
        assert_eq!(pipeline.target.wait(), Some(0));
        faults.clear();
        oracle.sent_so_far().assert_none_lost(&tap, &target);
    }
    assert_eq!(faults.failed_calls(), failures.len());
    let pipeline = Pipeline::start(&tap, &target);
    let oracle = oracle.expect("there was a first round");
    oracle.redirect(pipeline.tap.endpoint());
    oracle.wait_acknowledged(20);
    let sent = oracle.stop();
    pipeline.stop();
    sent.assert_pipeline_delivered(&tap, &target, failures.len() + 1);
}

/// Somebody who may create files beside the spool puts a link in the place of a lock.
#[test]
fn a_lock_file_that_is_a_link_is_not_followed() {
    let tap = Tap::new();
    tap.spool_bodies([DOCUMENTED_EVENTS[0]]);
    let victim = tap.folder().join("victim");
    std::fs::write(&victim, "unchanged").expect("a file");
    for (role, command) in [("listener", tap.listen()), ("emitter", tap.drain())] {
        let lock = tap.folder().join(format!("spool.db.{role}.lock"));
        let _ = std::fs::remove_file(&lock);
        std::os::unix::fs::symlink(&victim, &lock).expect("a link");
        let finished = command.finish();
        assert!(finished.only_error().contains("opening the lock file"), "{:?}", finished.stderr);
        assert_eq!(std::fs::read_to_string(&victim).expect("a file"), "unchanged");
        std::fs::remove_file(&lock).expect("the link");
    }
}
