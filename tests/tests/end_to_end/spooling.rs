//! What the spool promises.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;

use end_to_end::events::{DOCUMENTED_EVENTS, grouped, number_of, numbered_event, numbered_events};
use end_to_end::http::Client;
use end_to_end::spool::SpooledEvent;
use end_to_end::tap::{RunningTap, Tap};
use end_to_end::wait;

/// A time in about ten years, in Unix milliseconds, as a wrong clock may have left behind.
const FAR_AHEAD: i64 = 2_100_000_000_000;

#[test]
fn a_200_means_that_the_events_are_in_the_file_unchanged() {
    let tap = Tap::new();
    let listener = tap.listen().start();
    let spaced = " {\n \"b\" : 1.10, \"a\":\t\"\\u00e9\" } ";
    listener.endpoint().post_accepted(grouped(&[DOCUMENTED_EVENTS[0], spaced, DOCUMENTED_EVENTS[1]]));
    let _ = listener.kill();
    let stored: Vec<_> = tap.spool().events().into_iter().map(|event| event.body).collect();
    assert_eq!(stored, [DOCUMENTED_EVENTS[0], spaced.trim(), DOCUMENTED_EVENTS[1]]);
    assert_eq!(tap.spool().text("PRAGMA journal_mode"), "wal");
}

/// Killing a process proves nothing about the disk, because unsynced writes survive in the kernel. Only the
/// order of the system calls proves it: write, sync, answer. Without strace, the test is skipped.
#[test]
fn the_200_is_sent_after_the_sync() {
    if Command::new("strace").arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!("skipped: strace is not installed");
        return;
    }
    let tap = Tap::new();
    let trace = tap.folder().join("trace");
    // -D: strace is a child of the tap, so that the test can stop the tap. -y: paths instead of descriptor
    // numbers.
    let calls = "trace=pwrite64,write,writev,sendto,sendmsg,fsync,fdatasync";
    let strace = ["strace", "-D", "-f", "-y", "-s", "5000", "-e", calls, "-o", trace.to_str().expect("text")];
    let listener = tap.listen().wrapped_in(&strace).start();
    listener.endpoint().post_accepted(r#"{"event":"open","Payload":"find-me-in-the-trace"}"#);
    listener.stop().assert_code(0);
    let lines = wait::until("the trace is complete", || {
        let text = std::fs::read_to_string(&trace).unwrap_or_default();
        text.contains("+++ exited").then(|| text.lines().map(str::to_owned).collect::<Vec<_>>())
    });

    let is_write = |line: &String| line.contains("spool.db-wal") && line.contains("find-me-in-the-trace");
    let written = lines.iter().position(is_write).expect("the event is written");
    // Other threads sync other files. A line begins with the thread's id.
    let writer = lines[written].split(' ').next().expect("a thread");
    let is_sync = |line: &String| {
        let whole = line.contains("sync(") && line.contains("spool.db-wal");
        line.starts_with(writer) && (whole || line.contains("sync resumed")) && line.ends_with("= 0")
    };
    let synced = written + lines[written..].iter().position(is_sync).expect("the write is synced");
    let answered =
        lines.iter().position(|line| line.contains("HTTP/1.1 200")).expect("the webhook is answered");
    assert!(synced < answered, "{}\n{}", lines[answered], lines[synced]);
}

/// The spool holds people's email addresses.
#[test]
fn only_the_owner_can_read_the_spool() {
    let tap = Tap::new();
    let path = tap.folder().join("new/folders/spool.db");
    let listener = tap.listen().set("spool_path", path.to_str()).start();
    listener.endpoint().post_accepted(DOCUMENTED_EVENTS[0]);
    let folder = path.parent().expect("the spool lies in a folder");
    for entry in folder.read_dir().expect("the folder is there") {
        let entry = entry.expect("an entry");
        let mode = entry.metadata().expect("its mode").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", entry.path().display());
    }
    for folder in [folder, &tap.folder().join("new")] {
        assert_eq!(folder.metadata().expect("its mode").permissions().mode() & 0o777, 0o700);
    }
}

#[test]
fn parallel_posts_get_unique_increasing_milliseconds() {
    post_in_parallel(&Tap::new(), 13);
}

/// The form that Stitch's own tables contain.
#[test]
fn parallel_posts_get_unique_increasing_nanoseconds() {
    post_in_parallel(&Tap::new().set("sequence_unit", "nanosecond"), 19);
}

fn post_in_parallel(tap: &Tap, digits: usize) {
    const POSTERS: u64 = 64;
    const EACH: u64 = 20;
    let running = tap.run().start();
    let endpoint = running.endpoint();
    let acknowledged = Mutex::new(BTreeSet::new());
    thread::scope(|scope| {
        for poster in 0..POSTERS {
            let (endpoint, acknowledged) = (&endpoint, &acknowledged);
            scope.spawn(move || {
                let mut client = Client::connect(endpoint.address).expect("a connection");
                for id in poster * EACH..(poster + 1) * EACH {
                    let reply = client.post(&endpoint.path, &numbered_event(id)).expect("an answer");
                    assert_eq!(reply.status, 200, "{}", reply.body);
                    acknowledged.lock().expect("no poster panics").insert(id);
                }
            });
        }
    });
    let acknowledged = acknowledged.into_inner().expect("no poster panics");
    let finished = running.stop();
    finished.assert_code(0);
    let records = finished.records();
    assert_eq!(records.len(), acknowledged.len(), "each event is written exactly once");
    assert_eq!(records.iter().map(number_of).collect::<BTreeSet<_>>(), acknowledged);
    for pair in records.windows(2) {
        assert!(pair[0].sequence() < pair[1].sequence(), "{} then {}", pair[0].text, pair[1].text);
    }
    assert!(records.iter().all(|record| record.raw("_sdc_sequence").len() == digits));
}

#[test]
fn sequences_keep_growing_after_the_clock_stepped_back() {
    let tap = Tap::new();
    insert_far_ahead(&tap);
    tap.spool_bodies([numbered_event(1).as_str(), &grouped(&numbered_events(2, 3))]);
    assert_eq!(tap.spool().sequences(), (FAR_AHEAD..FAR_AHEAD + 5).collect::<Vec<_>>());
    let drained = tap.drain().finish();
    drained.assert_code(0);
    assert_eq!(drained.records().iter().map(number_of).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
}

/// A sequence identifies a row in the target's table. It must never be assigned to another event, even when
/// nothing in the spool has it any longer.
#[test]
fn sequences_are_not_reused_after_trimming() {
    let tap = Tap::new().set("retention_days", 0);
    insert_far_ahead(&tap);
    tap.append_state(0);
    tap.drain().state().finish().assert_code(0);
    tap.append_state(FAR_AHEAD);
    let running = tap.run().state().start();
    running.endpoint().post_accepted(numbered_event(1));
    running.wait_bookmark(FAR_AHEAD + 1);
    tap.append_state(FAR_AHEAD + 1);
    wait::until("the spool is trimmed", || tap.spool().events().is_empty().then_some(()));
    let _ = running.kill();

    tap.spool_bodies([numbered_event(2).as_str()]);
    assert_eq!(tap.spool().sequences(), [FAR_AHEAD + 2]);
    let drained = tap.drain().state().finish();
    drained.assert_code(0);
    assert_eq!(drained.records().iter().map(number_of).collect::<Vec<_>>(), [2]);
}

/// Inserts an old event with a future sequence, as a clock leaves behind that was wrong and then corrected.
fn insert_far_ahead(tap: &Tap) {
    tap.drain().finish().assert_code(0);
    tap.spool().insert(&SpooledEvent {
        sequence: FAR_AHEAD,
        received_at: 1_600_000_000_000,
        body: numbered_event(0),
    });
}

#[test]
fn a_second_listener_exits_with_code_75() {
    let tap = Tap::new();
    let first = tap.listen().start();
    first.endpoint().post_accepted(DOCUMENTED_EVENTS[0]);
    for second in [tap.listen(), tap.run()] {
        let finished = second.finish();
        finished.assert_code(75);
        assert_eq!(finished.stdout, [""; 0]);
        assert_eq!(finished.stderr.len(), 1, "one line says why: {:?}", finished.stderr);
    }
    first.endpoint().post_accepted(DOCUMENTED_EVENTS[1]);
}

/// Two listeners would each assign sequences of their own.
#[test]
fn a_spool_named_by_a_symbolic_link_is_the_same_spool() {
    let tap = Tap::new();
    let first = tap.listen().start();
    first.endpoint().post_accepted(DOCUMENTED_EVENTS[0]);
    let link = tap.folder().join("link.db");
    std::os::unix::fs::symlink(&tap.spool().path, &link).expect("a link");
    tap.listen().set("spool_path", link.to_str()).finish().assert_code(75);
    let drained = tap.drain().set("spool_path", link.to_str()).finish();
    drained.assert_code(0);
    assert_eq!(drained.records().len(), 1);
    first.endpoint().post_accepted(DOCUMENTED_EVENTS[1]);
}

/// A limit on the size of files (`ulimit -f`) sends SIGXFSZ, and then fails writes with EFBIG, which SQLite
/// reports as an I/O error. It is a kind of full disk: nothing is broken.
#[test]
fn a_limit_on_the_size_of_files_is_no_room() {
    let tap = Tap::new();
    let mut listener = tap.listen().limit_file_size(1024).start();
    let acknowledged = post_until_refused(&listener);
    assert!(listener.program.is_running());
    listener.stop().assert_code(0);

    let drained = tap.drain().finish();
    drained.assert_code(0);
    let present: BTreeSet<_> = drained.records().iter().map(number_of).collect();
    let lost: Vec<_> = acknowledged.difference(&present).collect();
    assert!(lost.is_empty(), "answered with 200 and lost: {lost:?}");
    assert!(!acknowledged.is_empty(), "the limit leaves room for some events");
}

/// A deleted file lives on for a process that has it open. A listener that did not check would answer 200 for
/// events that nobody can ever find.
#[test]
fn a_listener_whose_spool_is_deleted_or_replaced_accepts_nothing_more() {
    for suffix in ["", "-wal", "-shm", ".listener.lock"] {
        let tap = Tap::new();
        let listener = tap.listen().start();
        let endpoint = listener.endpoint();
        endpoint.post_accepted(numbered_event(1));
        let file = tap.folder().join(format!("spool.db{suffix}"));
        fs::remove_file(&file).expect("the file exists");
        if suffix.is_empty() {
            // As a scheduled drain would.
            let drained = tap.drain().finish();
            assert!(drained.only_error().contains("spool.db-wal exists"), "{:?}", drained.stderr);
        }
        // The listener may have ended already.
        if let Ok(mut client) = Client::connect(endpoint.address)
            && let Ok(reply) = client.post(&endpoint.path, &numbered_event(2))
        {
            assert_eq!(reply.status, 503, "without {}", file.display());
        }
        let error = listener.finish().only_error().to_owned();
        assert!(error.contains(&format!("{} was deleted or replaced", file.display())), "{error}");
    }
}

/// After a crash, the write-ahead log holds what is not yet in the database. SQLite deletes a log that it
/// finds alone.
#[test]
fn a_write_ahead_log_without_its_database_is_left_untouched() {
    let tap = Tap::new();
    let listener = tap.listen().start();
    listener.endpoint().post_accepted(numbered_event(1));
    let _ = listener.kill();
    let away = tap.folder().join("away.db");
    fs::rename(&tap.spool().path, &away).expect("the spool exists");
    for is_empty in [false, true] {
        if is_empty {
            fs::write(&tap.spool().path, "").expect("a file");
        }
        for command in [tap.run(), tap.listen(), tap.drain()] {
            let refused = command.finish();
            assert!(refused.only_error().contains("spool.db-wal exists"), "{:?}", refused.stderr);
        }
        for command in ["status", "verify", "export"] {
            let refused = tap.command(&["spool", command]).finish();
            assert!(refused.only_error().contains("spool.db-wal exists"), "{:?}", refused.stderr);
        }
    }
    fs::rename(&away, &tap.spool().path).expect("the spool exists");
    let drained = tap.drain().finish();
    drained.assert_code(0);
    assert_eq!(drained.records().len(), 1);
}

/// Events that were lost with a log cannot be recovered, but the loss is logged.
#[test]
fn a_write_ahead_log_deleted_after_a_crash_is_reported() {
    for deleted in [false, true] {
        let tap = Tap::new();
        let listener = tap.listen().start();
        listener.endpoint().post_accepted(numbered_event(1));
        let _ = listener.kill();
        if deleted {
            fs::remove_file(tap.folder().join("spool.db-wal")).expect("the log exists");
        }
        for run in 0..2 {
            let drained = tap.drain().finish();
            drained.assert_code(0);
            let reports =
                drained.stderr.iter().filter(|line| line.contains("that only the log held are lost"));
            assert_eq!(reports.count(), usize::from(deleted && run == 0), "{:?}", drained.stderr);
        }
    }
}

/// Copying the one file of a stopped tap copies everything.
#[test]
fn after_a_clean_end_everything_is_in_one_file() {
    for run in ["listen", "drain", "continuous"] {
        let tap = Tap::new().with_created_urls();
        let created = tap.create_url();
        let running = if run == "continuous" { tap.run() } else { tap.listen() }.start();
        running.endpoint().with_path(&created.path).post_accepted(numbered_event(1));
        running.stop().assert_code(0);
        if run == "drain" {
            tap.drain().finish().assert_code(0);
        }
        assert!(!tap.folder().join("spool.db-wal").exists(), "{run}");
        let copy = Tap::new();
        fs::copy(&tap.spool().path, copy.spool().path).expect("a copy");
        assert_eq!(copy.drain().finish().records().len(), 1, "{run}");
    }
}

/// SQLite keeps a separate log for each name of a file.
#[test]
fn a_spool_with_two_names_is_refused() {
    let tap = Tap::new();
    tap.spool_bodies([DOCUMENTED_EVENTS[0]]);
    fs::hard_link(tap.spool().path, tap.folder().join("other.db")).expect("a link");
    for command in [tap.listen(), tap.drain()] {
        let finished = command.finish();
        assert!(finished.only_error().contains("2 names"), "{:?}", finished.stderr);
    }
}

/// The listener checks even without webhooks, so that a monitored service fails as soon as the mistake is
/// made.
#[test]
fn an_idle_listener_notices_that_its_spool_was_moved() {
    let tap = Tap::new();
    let listener = tap.listen().start();
    let _ = listener.endpoint();
    let moved = tap.folder().join("moved.db");
    fs::rename(tap.folder().join("spool.db"), moved).expect("a rename");
    let error = listener.finish().only_error().to_owned();
    assert!(error.contains("spool.db was deleted or replaced"), "{error}");
}

/// Posts over four connections until each of them gets an answer other than 200, which must be a 503, or is
/// closed. Returns the events that were answered with 200.
fn post_until_refused(listener: &RunningTap) -> BTreeSet<u64> {
    let endpoint = listener.endpoint();
    let refusals = Mutex::new(0);
    let acknowledged = Mutex::new(BTreeSet::new());
    thread::scope(|scope| {
        for poster in 0..4 {
            let (endpoint, acknowledged, refusals) = (&endpoint, &acknowledged, &refusals);
            scope.spawn(move || {
                let mut client = Client::connect(endpoint.address).expect("a connection");
                for id in (poster..).step_by(4) {
                    // Events of 10 KB, so that the limit is reached soon.
                    let event = numbered_event(id)
                        .replace(r#""Payload":"""#, &format!(r#""Payload":"{}""#, "x".repeat(10_000)));
                    match client.post(&endpoint.path, &event) {
                        Ok(reply) if reply.status == 200 => {
                            acknowledged.lock().expect("no poster panics").insert(id);
                        }
                        Ok(reply) => {
                            assert_eq!(reply.status, 503, "{}", reply.body);
                            *refusals.lock().expect("no poster panics") += 1;
                            return;
                        }
                        Err(_) => return,
                    }
                }
            });
        }
    });
    assert!(
        refusals.into_inner().expect("no poster panics") > 0,
        "the request that met the error is answered 503"
    );
    acknowledged.into_inner().expect("no poster panics")
}
