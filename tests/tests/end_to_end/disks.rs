//! The disk under the spool: too small, read-only, forbidden; and a spool after a crash or from another
//! version.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::time::Duration;

use end_to_end::events::{DOCUMENTED_EVENTS, grouped, number_of, numbered_event, numbered_events};
use end_to_end::http::Client;
use end_to_end::mount::TestDisk;
use end_to_end::oracle::Oracle;
use end_to_end::tap::{Tap, TapCommand};

/// The user id of `nobody`, who has no privileges.
const NOBODY: u32 = 65_534;

/// A listener that keeps running accepts what fits, refuses what does not, and accepts again when there is
/// room.
#[test]
fn a_full_disk_loses_nothing_and_is_used_again_when_there_is_room() {
    let tap = Tap::new();
    let Some(disk) = TestDisk::mount(tap.folder().join("disk"), 400) else { return };
    let spool = disk.path().join("spool.db");
    let tap = tap.set("spool_path", spool.to_str());
    let listener = tap.listen().start();
    let oracle = Oracle::start_with_pauses(listener.endpoint(), 4, Duration::from_millis(1));
    oracle.wait_answers(503, 50);
    let before = oracle.sent_so_far().acknowledged();
    assert!(before > 0, "some events fit");
    disk.grow(20_000);
    oracle.wait_acknowledged(200);
    let sent = oracle.stop();
    listener.stop().assert_code(0);
    let drained = tap.drain().finish();
    drained.assert_code(0);
    sent.assert_delivered_in(&drained.records(), 1);
}

/// A spool on a completely full disk can be drained once there is room for what a drain must write.
#[test]
fn a_drain_on_a_full_disk_succeeds_or_names_the_spool() {
    let tap = Tap::new();
    let Some(disk) = TestDisk::mount(tap.folder().join("disk"), 600) else { return };
    let spool = disk.path().join("spool.db");
    let tap = tap.set("spool_path", spool.to_str());
    tap.spool_bodies([grouped(&numbered_events(0, 100)).as_str()]);
    fs::write(disk.path().join("ballast"), vec![1; 600 << 10]).expect_err("the disk is full");
    let drained = tap.drain().state().finish();
    if drained.code != Some(0) {
        assert!(drained.only_error().contains("spool.db"), "{:?}", drained.stderr);
    }
    disk.grow(5_000);
    let drained = tap.drain().state().finish();
    drained.assert_code(0);
    assert_eq!(drained.records().len(), 100);
}

#[test]
fn a_spool_on_a_read_only_disk_is_refused_with_one_line() {
    let tap = Tap::new();
    let Some(disk) = TestDisk::mount(tap.folder().join("disk"), 2_000) else { return };
    let spool = disk.path().join("spool.db");
    let tap = tap.set("spool_path", spool.to_str());
    disk.set_read_only(true);
    for command in [tap.listen(), tap.run(), tap.drain()] {
        let finished = command.finish();
        let error = finished.only_error();
        assert!(error.contains("spool.db") && error.contains("Read-only"), "{error}");
        assert_eq!(finished.stdout, [""; 0]);
    }
    disk.set_read_only(false);
    tap.spool_bodies([numbered_event(1).as_str()]);
    disk.set_read_only(true);
    for command in [tap.listen(), tap.run(), tap.drain()] {
        let finished = command.finish();
        assert!(finished.only_error().contains("spool.db"), "{:?}", finished.stderr);
    }
    for command in ["status", "verify", "export"] {
        let finished = tap.command(&["spool", command]).finish();
        let error = finished.only_error();
        assert!(error.contains("spool.db") && error.contains("Copy it to such a folder"), "{error}");
    }
    disk.set_read_only(false);
    assert_eq!(tap.drain().finish().records().len(), 1);
}

/// The command that runs a program without privileges. It is empty if the test has none itself.
fn unprivileged(tap: &Tap) -> Vec<&'static str> {
    if !rustix::process::getuid().is_root() {
        return Vec::new();
    }
    for entry in fs::read_dir(tap.folder()).expect("a folder").filter_map(Result::ok) {
        chown(entry.path(), Some(NOBODY), Some(NOBODY)).expect("root may do that");
    }
    chown(tap.folder(), Some(NOBODY), Some(NOBODY)).expect("root may do that");
    vec!["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
}

/// The files have not changed, but a spool that cannot be looked at cannot be relied on.
#[test]
fn a_listener_ends_when_its_folder_becomes_inaccessible_and_can_start_again_later() {
    let tap = Tap::new();
    let user = unprivileged(&tap);
    let listener = tap.listen().wrapped_in(&user).start();
    let endpoint = listener.endpoint();
    endpoint.post_accepted(numbered_event(1));
    set_mode(tap.folder(), 0o000);
    // The listener may have noticed already.
    if let Ok(reply) = Client::connect(endpoint.address)
        .and_then(|mut client| client.post(&endpoint.path, &numbered_event(2)))
    {
        assert_eq!(reply.status, 503);
    }
    let finished = listener.finish();
    let error = finished.only_error();
    assert!(error.contains("Permission denied") && !error.contains("deleted"), "{error}");
    set_mode(tap.folder(), 0o700);
    set_mode(&tap.spool().path, 0o400);
    for command in [tap.listen(), tap.run(), tap.drain()] {
        let finished = command.wrapped_in(&user).finish();
        assert!(finished.only_error().contains("spool.db"), "{:?}", finished.stderr);
    }
    set_mode(&tap.spool().path, 0o600);
    let again = tap.listen().wrapped_in(&user).start();
    again.endpoint().post_accepted(numbered_event(3));
    again.stop().assert_code(0);
    let numbers: Vec<_> = tap.drain().finish().records().iter().map(number_of).collect();
    assert!(numbers == [1, 3] || numbers == [1, 2, 3], "{numbers:?}");
}

/// A spool that a later version has written must stay untouched.
#[test]
fn a_spool_of_a_newer_version_is_refused_with_one_line() {
    let tap = Tap::new();
    tap.spool_bodies([numbered_event(1).as_str()]);
    tap.spool().execute("PRAGMA user_version = 99");
    let before = fs::read(tap.spool().path).expect("the spool");
    for command in [tap.listen(), tap.run(), tap.drain(), tap.command(&["--discover"])] {
        let finished = command.finish();
        let error = finished.only_error();
        assert!(error.contains("it has format 99") && error.contains("or a later one"), "{error}");
        assert_eq!(finished.stdout, [""; 0]);
    }
    assert_eq!(fs::read(tap.spool().path).expect("the spool"), before, "the spool is unchanged");
}

/// A disk that lied about a sync has lost the end of the write-ahead log. The tap serves the events that are
/// left, invents none, and keeps new ones.
#[test]
fn a_write_ahead_log_cut_anywhere_leaves_a_working_spool() {
    let original = Tap::new();
    let listener = original.listen().start();
    for id in 0..30 {
        listener.endpoint().post_accepted(numbered_event(id));
    }
    let _ = listener.kill();
    let log = fs::read(original.folder().join("spool.db-wal")).expect("a log");
    let mut least = 30;
    for length in [log.len() - 1, log.len() * 3 / 4, log.len() / 2, 5_000, 31, 0] {
        let tap = Tap::new();
        fs::copy(original.spool().path, tap.spool().path).expect("a copy");
        fs::write(tap.folder().join("spool.db-wal"), &log[..length]).expect("a copy");
        tap.spool_bodies([numbered_event(100).as_str()]);
        let drained = tap.drain().finish();
        drained.assert_code(0);
        let numbers: Vec<_> = drained.records().iter().map(number_of).collect();
        let (new, left) = numbers.split_last().expect("an event");
        assert_eq!(*new, 100);
        assert!(left.iter().copied().eq(0..left.len() as u64), "{length} bytes of the log: {left:?}");
        assert!(left.len() <= least, "a shorter log holds fewer events");
        least = left.len();
    }
}

/// One command of an administrator must not lock out the user as whom the service runs.
#[test]
fn a_command_of_root_leaves_the_spool_to_the_owner_of_its_folder() {
    let tap = Tap::new().set("spool_path", "state/spool.db");
    let folder = tap.folder().join("state");
    fs::create_dir(&folder).expect("a new folder");
    if chown(&folder, Some(NOBODY), Some(NOBODY)).is_err() {
        eprintln!("skipped: only root may give files away");
        return;
    }
    fs::set_permissions(tap.folder(), fs::Permissions::from_mode(0o755)).expect("a mode can be set");
    let service = |command: TapCommand<'_>| {
        let user = NOBODY.to_string();
        command.wrapped_in(&["setpriv", "--reuid", &user, "--regid", &user, "--clear-groups"]).start()
    };
    // The first creates the spool, the second takes a role.
    tap.drain().finish().assert_code(0);
    service(tap.drain()).finish().assert_code(0);
    let listener = service(tap.listen());
    listener.endpoint().post_accepted(DOCUMENTED_EVENTS[0]);
    tap.drain().finish().assert_code(0);
    listener.endpoint().post_accepted(DOCUMENTED_EVENTS[0]);
    listener.stop().assert_code(0);
    for entry in fs::read_dir(&folder).expect("a folder") {
        let entry = entry.expect("a file");
        assert_eq!(entry.metadata().expect("a file").uid(), NOBODY, "{:?}", entry.file_name());
    }
    chown(folder.join("spool.db.emitter.lock"), Some(0), Some(0)).expect("root may");
    let refused = service(tap.drain()).finish();
    let error = refused.only_error();
    assert!(error.contains("runs as user 65534") && error.contains("chown"), "{error}");
}

/// On a small machine, the default of `min_free_bytes` is more than the whole disk.
#[test]
fn a_disk_smaller_than_min_free_bytes_is_a_warning_at_the_start() {
    let tap = Tap::new();
    let Some(disk) = TestDisk::mount(tap.folder().join("small"), 4096) else { return };
    let path = disk.path().join("spool.db");
    let path = path.to_str().expect("text");
    let listener = tap.listen().set("spool_path", path).set("min_free_bytes", 8 << 20).start();
    assert_eq!(listener.endpoint().post(DOCUMENTED_EVENTS[0]).status, 503);
    let finished = listener.stop();
    finished.assert_code(0);
    assert!(finished.stderr_contains("4194304 bytes in all, which is less than"), "{:?}", finished.stderr);
}
