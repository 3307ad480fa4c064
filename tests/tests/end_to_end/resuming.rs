//! What is written again after a stop, a crash or a lost state, and what is not.

use std::io::{BufRead, BufReader, Read};

use end_to_end::events::{grouped, number_of, numbered_event, numbered_events};
use end_to_end::message::Message;
use end_to_end::program::Signal;
use end_to_end::tap::{FinishedTap, Tap, state_value};
use end_to_end::wait;

/// The numbers of the events that a run has written.
fn numbers(finished: &FinishedTap) -> Vec<u64> {
    finished.records().iter().map(number_of).collect()
}

/// Appends the last STATE of a run to the state file, as a target does that has stored everything.
fn store_last_state(tap: &Tap, finished: &FinishedTap) {
    let bookmark = finished.messages().iter().rev().find_map(Message::bookmark);
    tap.append_state(bookmark.expect("a STATE with a bookmark"));
}

#[test]
fn after_sigterm_nothing_is_repeated_and_nothing_is_missing() {
    let tap = Tap::new();
    let running = tap.run().state().start();
    running.endpoint().post_accepted(grouped(&numbered_events(0, 100)));
    let first = running.stop();
    first.assert_code(0);
    assert_eq!(numbers(&first), (0..100).collect::<Vec<_>>());
    store_last_state(&tap, &first);

    let second = tap.drain().state().finish();
    second.assert_code(0);
    assert_eq!(numbers(&second), [0; 0]);
    assert_eq!(second.messages().last().and_then(Message::bookmark), Some(first.records()[99].sequence()));

    tap.spool_bodies([grouped(&numbered_events(100, 50)).as_str()]);
    let third = tap.drain().state().finish();
    assert_eq!(numbers(&third), (100..150).collect::<Vec<_>>());
}

#[test]
fn after_sigkill_every_event_that_no_state_covers_is_written_again() {
    let tap = Tap::new();
    let running = tap.run().state().start();
    running.endpoint().post_accepted(grouped(&numbered_events(0, 40)));
    let covered = running.wait_records(40)[39].sequence();
    running.wait_bookmark(covered);
    tap.append_state(covered);
    running.endpoint().post_accepted(grouped(&numbered_events(40, 60)));
    let _ = running.wait_records(100);
    let killed = running.kill();
    assert_eq!(killed.code, None);

    let again = tap.drain().state().finish();
    again.assert_code(0);
    assert_eq!(numbers(&again), (40..100).collect::<Vec<_>>());
    for (one, other) in killed.records()[40..].iter().zip(again.records()) {
        assert_eq!((one.sequence(), one.key()), (other.sequence(), other.key()), "the row is the same");
    }
}

#[test]
fn without_a_state_everything_is_written_and_a_warning_counts_it() {
    let tap = Tap::new();
    tap.spool_bodies([grouped(&numbered_events(0, 37)).as_str()]);
    for _ in 0..2 {
        let drained = tap.drain().finish();
        drained.assert_code(0);
        assert_eq!(numbers(&drained), (0..37).collect::<Vec<_>>());
        let warnings: Vec<_> = drained.stderr.iter().filter(|line| line.contains("WARN")).collect();
        assert!(warnings.iter().any(|line| line.contains("--state") && line.contains("37")), "{warnings:?}");
    }
}

#[test]
fn a_missing_state_file_is_a_warning_and_a_first_run() {
    let tap = Tap::new();
    tap.spool_bodies([numbered_event(1).as_str()]);
    let drained = tap.drain().state().finish();
    drained.assert_code(0);
    assert_eq!(numbers(&drained), [1]);
    assert!(drained.stderr.iter().any(|line| line.contains("WARN") && line.contains("state.json")));
}

/// A misspelt path must not cause everything to be sent again in every run.
#[test]
fn a_state_file_in_a_missing_directory_is_an_error() {
    let tap = Tap::new();
    tap.spool_bodies([numbered_event(1).as_str()]);
    let finished = tap.drain().args(&["--state", "stats/state.json"]).finish();
    assert!(finished.only_error().contains("there is no directory stats"), "{:?}", finished.stderr);
    assert_eq!(finished.stdout, [""; 0]);
}

/// A pipe can be read only once, and the tap reads this file again and again.
#[test]
fn a_state_that_is_not_a_regular_file_is_an_error() {
    let tap = Tap::new();
    for path in ["/dev/zero", "/", "/dev/fd/0"] {
        let finished = tap.drain().args(&["--state", path]).finish();
        assert!(finished.only_error().contains("is not a regular file"), "{path}: {:?}", finished.stderr);
    }
}

/// `>> state.json` needs no `tail -1`, and half a line left by a killed target does no harm.
#[test]
fn the_last_complete_line_of_the_state_file_counts() {
    let tap = Tap::new();
    tap.spool_bodies([grouped(&numbered_events(0, 10)).as_str()]);
    tap.drain().finish().assert_code(0);
    let sequences = tap.spool().sequences();
    tap.append_state(sequences[2]);
    tap.append_state(sequences[6]);
    tap.append_to_state(r#"{"bookmarks": {"data": {"replication_key_va"#);
    assert_eq!(numbers(&tap.drain().state().finish()), [7, 8, 9]);
}

/// A line that says nothing, what a power cut leaves, and a state as Singer or Meltano wraps it.
#[test]
fn a_state_is_understood_as_people_and_tools_leave_it() {
    let tap = Tap::new();
    tap.spool_bodies([grouped(&numbered_events(0, 10)).as_str()]);
    tap.drain().finish().assert_code(0);
    let sequence = tap.spool().sequences()[6];
    let state = end_to_end::tap::state_value(sequence).to_string();
    let nul = "\0".repeat(4096);
    for text in [
        format!("{state}\n{{}}\n"),
        format!("{state}\n{{\"currently_syncing\":null}}\n"),
        format!("{state}\n{nul}"),
        format!("{{}}\n{nul}{state}\n"),
        format!("\u{feff}{state}\r\n"),
        format!("{{\"type\":\"STATE\",\"value\":{state}}}\n"),
        format!("{{\"singer_state\":{state}}}"),
        format!("{{\"completed\":{{\"singer_state\":{state}}},\"partial\":{{}}}}"),
        state.replace(&sequence.to_string(), &format!("\"{sequence}\"")),
        state.replace(&sequence.to_string(), &format!("{sequence}.0")),
    ] {
        std::fs::write(tap.state_file(), &text).expect("a state file can be written");
        let drained = tap.drain().state().finish();
        drained.assert_code(0);
        assert_eq!(numbers(&drained), [7, 8, 9], "{text:?}");
    }
}

/// `jq` before 1.7 prints 1700000000000000095 as 1700000000000000100, and the event that is skipped so is
/// lost.
#[test]
fn a_bookmark_that_a_tool_has_rounded_skips_nothing() {
    let tap = Tap::new().set("sequence_unit", "nanosecond").set("retention_days", 0);
    tap.spool_bodies([grouped(&numbered_events(0, 1000)).as_str()]);
    tap.drain().finish().assert_code(0);
    let sequences = tap.spool().sequences();
    let mut printed = sequences[700..900].iter().map(|sequence| (*sequence, as_double(*sequence)));
    let rounded_up = printed.find(|(sequence, printed)| printed > sequence);
    let (stored, rounded) = rounded_up.expect("half of them are rounded up");
    tap.append_state(rounded);
    let drained = tap.drain().state().finish();
    drained.assert_code(0);
    let first = drained.records()[0].sequence();
    assert!(first <= stored + 1, "{first} comes after {stored}, which was stored");
    assert!(drained.records().len() < 1000, "what is certainly stored is not repeated");
    assert!(drained.stderr_contains("looks rounded"), "{:?}", drained.stderr);
    let left = tap.spool().sequences();
    assert!(left.iter().any(|sequence| *sequence == stored + 1), "what may not be stored is not trimmed");

    // A bookmark that no double is printed as is certainly not rounded.
    let last = *sequences.last().expect("an event");
    tap.append_state(last);
    let nothing = tap.drain().state().finish();
    nothing.assert_code(0);
    assert_eq!(numbers(&nothing), [0; 0]);
}

/// What a tool makes of the bookmark may be the last that was written, of which nothing is stored.
#[test]
fn a_bookmark_that_was_rounded_to_the_last_written_one_skips_nothing() {
    let (tap, stored, last) = spool_whose_last_sequence_is_another_one_rounded();
    tap.drain().finish().assert_code(0);
    tap.append_state(last);
    let drained = tap.drain().state().finish();
    drained.assert_code(0);
    let first = drained.records()[0].sequence();
    assert!(first <= stored + 1, "{first} comes after {stored}, which was stored");
    assert!(drained.stderr_contains("looks rounded"), "{:?}", drained.stderr);
}

/// The same while a run follows its state file.
#[test]
fn a_bookmark_that_was_rounded_to_the_last_written_one_trims_nothing_that_is_not_stored() {
    let (tap, stored, last) = spool_whose_last_sequence_is_another_one_rounded();
    let first = tap.spool().sequences()[0];
    let tap = tap.set("state_interval_records", 1);
    tap.append_to_state("{}\n");
    let running = tap.run().state().start();
    running.wait_bookmark(last);
    // The tool that keeps the state has got no further than this.
    assert_eq!(as_double(stored), last);
    tap.append_state(last);
    wait::until("what is certainly stored is trimmed", || {
        tap.spool().sequences().first().is_some_and(|left| *left > first).then_some(())
    });
    running.stop().assert_code(0);
    let left = tap.spool().sequences();
    assert!(left.contains(&(stored + 1)), "{stored} was stored, and {left:?} is left");
}

/// A spool, a sequence in it, and the last sequence, which is what a tool makes of the other one.
fn spool_whose_last_sequence_is_another_one_rounded() -> (Tap, i64, i64) {
    (0..30)
        .find_map(|_| {
            let tap = Tap::new().set("sequence_unit", "nanosecond").set("retention_days", 0);
            tap.spool_bodies([grouped(&numbered_events(0, 301)).as_str()]);
            let sequences = tap.spool().sequences();
            let last = *sequences.last().expect("an event");
            let stored = sequences[..300].iter().copied().find(|sequence| as_double(*sequence) == last)?;
            Some((tap, stored, last))
        })
        .expect("more than a third of the groups end with a number that doubles are printed as")
}

/// The first sequence of each millisecond is a number that doubles are printed as.
#[test]
fn a_bookmark_before_others_of_its_millisecond_repeats_nothing() {
    let tap = Tap::new().set("sequence_unit", "nanosecond");
    tap.spool_bodies([r#"[1,{"event":"open"},{"event":"click"}]"#]);
    let first = tap.drain().finish();
    let state = first.messages().into_iter().rev().find_map(|message| match message {
        Message::State(state) => Some(state),
        _ => None,
    });
    tap.append_to_state(&format!("{}\n", state.expect("a STATE")));
    let nothing = tap.drain().state().finish();
    nothing.assert_code(0);
    let written = nothing.messages().into_iter().filter_map(Message::record).count();
    assert_eq!((written, nothing.stderr_contains("looks rounded")), (0, false), "{:?}", nothing.stderr);
}

/// A number as printed by a tool that knows only doubles.
#[allow(clippy::cast_precision_loss)]
fn as_double(sequence: i64) -> i64 {
    (sequence as f64).to_string().parse().expect("an integer")
}

#[test]
fn a_state_with_the_bookmark_of_another_stream_only_is_a_warning_that_names_both() {
    let tap = Tap::new();
    tap.spool_bodies([numbered_event(1).as_str()]);
    let first = tap.drain().finish();
    let state = state_value(first.records()[0].sequence()).to_string();
    let renamed = state.replace("\"data\"", "\"Data\"");
    for (text, expected_numbers, expected_warnings) in [(renamed, vec![1], 1), (state, vec![], 0)] {
        std::fs::write(tap.state_file(), text).expect("a state file can be written");
        let again = tap.drain().state().finish();
        again.assert_code(0);
        assert_eq!(numbers(&again), expected_numbers);
        let warning = "the state has no bookmark of \"data\", only of \"Data\"; writing everything";
        let warnings = again.stderr.iter().filter(|line| line.contains(warning)).count();
        assert_eq!(warnings, expected_warnings, "{:?}", again.stderr);
    }
}

/// The shell empties the file before the tap has read it.
#[test]
fn an_emptied_or_missing_state_file_is_a_warning_that_says_why_everything_comes_again() {
    let tap = Tap::new();
    tap.spool_bodies([numbered_event(1).as_str()]);
    let first = tap.drain().state().finish();
    assert!(first.stderr_contains("there is no state file "), "{:?}", first.stderr);
    let again = tap.drain().state().finish();
    assert_eq!(numbers(&again), [1]);
    assert!(
        again.stderr_contains("WARN there is no state file") && again.stderr_contains("Check the path"),
        "{:?}",
        again.stderr
    );
    for text in ["", "{}\n", "\0\0"] {
        std::fs::write(tap.state_file(), text).expect("a state file can be written");
        let again = tap.drain().state().finish();
        again.assert_code(0);
        assert_eq!(numbers(&again), [1]);
        assert!(
            again.stderr_contains("WARN") && again.stderr_contains("append to it (>>"),
            "{:?}",
            again.stderr
        );
    }
}

/// The state is ahead of such a spool.
#[test]
fn a_spool_restored_from_a_backup_is_one_line_that_says_what_to_do() {
    let tap = Tap::new();
    tap.spool_bodies([numbered_event(1).as_str()]);
    tap.drain().state().finish().assert_code(0);
    let backup = tap.folder().join("backup.db");
    tap.spool().execute(&format!("VACUUM INTO '{}'", backup.display()));
    tap.spool_bodies([numbered_event(2).as_str()]);
    let second = tap.drain().state().finish();
    store_last_state(&tap, &second);
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(tap.folder().join(format!("spool.db{suffix}")));
    }
    std::fs::copy(&backup, &tap.spool().path).expect("a copy");
    tap.spool_bodies([numbered_event(3).as_str()]);
    let refused = tap.drain().state().finish();
    let error = refused.only_error();
    assert!(error.contains("restored from a backup") && error.contains("a new state file"), "{error}");
    std::fs::remove_file(tap.state_file()).expect("a state file");
    assert_eq!(numbers(&tap.drain().state().finish()), [1, 3]);
}

/// Meltano writes the file as one object, with or without a line break at its end.
#[test]
fn an_empty_state_means_a_first_run() {
    let tap = Tap::new();
    tap.spool_bodies([numbered_event(1).as_str()]);
    for text in ["", "{}", "{}\n", "{\"bookmarks\": {}}\n"] {
        std::fs::write(tap.state_file(), text).expect("a state file can be written");
        let drained = tap.drain().state().finish();
        drained.assert_code(0);
        assert_eq!(numbers(&drained), [1], "{text:?}");
    }
}

#[test]
fn a_state_without_a_line_break_counts() {
    let tap = Tap::new();
    tap.spool_bodies([grouped(&numbered_events(0, 3)).as_str()]);
    tap.drain().finish().assert_code(0);
    tap.append_to_state(&end_to_end::tap::state_value(tap.spool().sequences()[1]).to_string());
    assert_eq!(numbers(&tap.drain().state().finish()), [2]);
}

#[test]
fn an_unreadable_state_is_an_error_and_not_a_first_run() {
    let tap = Tap::new();
    tap.spool_bodies([numbered_event(1).as_str()]);
    for text in [
        "not a state\n",
        "[]\n",
        "{\"bookmarks\": 5}\n",
        "{\"data\": 5}\n",
        "{\"bookmarks\": {\"data\": \"x\"}}\n",
    ] {
        std::fs::write(tap.state_file(), text).expect("a state file can be written");
        let finished = tap.drain().state().finish();
        let error = finished.only_error();
        assert!(error.contains("state.json"), "{text:?}: {error}");
        assert_eq!(finished.stdout, [""; 0], "{text:?}");
    }
}

/// A state of another spool, or with another `sequence_unit`, would hide every event to come.
#[test]
fn a_bookmark_far_beyond_the_spool_and_the_clock_is_an_error() {
    let tap = Tap::new();
    tap.spool_bodies([numbered_event(1).as_str()]);
    tap.append_state(1_790_000_000_000_000_000);
    let finished = tap.drain().state().finish();
    let error = finished.only_error();
    assert!(error.contains("1790000000000000000"), "{error}");
    assert_eq!(finished.stdout, [""; 0]);
}

/// This spool may have grown past a bookmark of another spool. Then events before the bookmark were never
/// written, and must be.
#[test]
fn a_bookmark_beyond_what_was_written_is_an_error_even_if_the_spool_holds_more() {
    let tap = Tap::new();
    tap.spool_bodies([grouped(&numbered_events(0, 10)).as_str()]);
    let sequences = tap.spool().sequences();
    let refuse = |bookmark: i64| {
        tap.append_state(bookmark);
        let finished = tap.drain().state().finish();
        let error = finished.only_error();
        assert!(error.contains(&bookmark.to_string()), "{error}");
        assert_eq!(finished.stdout, [""; 0]);
    };
    // Nothing was written yet, so no bookmark can belong to this spool.
    refuse(sequences[0]);
    refuse(sequences[5]);
    tap.append_state(sequences[0] - 1);
    let first = tap.drain().state().finish();
    first.assert_code(0);
    assert_eq!(numbers(&first), (0..10).collect::<Vec<_>>());

    tap.spool_bodies([grouped(&numbered_events(10, 10)).as_str()]);
    refuse(tap.spool().sequences()[15]);
    store_last_state(&tap, &first);
    assert_eq!(numbers(&tap.drain().state().finish()), (10..20).collect::<Vec<_>>());
}

/// The same within a backlog that was written in part.
#[test]
fn a_bookmark_in_the_unwritten_part_of_a_backlog_is_an_error() {
    let tap = Tap::new();
    tap.spool_bodies([grouped(&numbered_events(0, 3000)).as_str()]);
    let (mut drain, stdout) = tap.drain().set("state_interval_records", 100).start_unread();
    let mut lines = BufReader::new(stdout).lines().map(|line| line.expect("readable"));
    let written = lines.find_map(|line| Message::parse(&line).bookmark()).expect("a STATE");
    drain.kill();
    let sequences = tap.spool().sequences();
    assert_eq!(written, sequences[99]);
    tap.append_state(sequences[2900]);
    let refused = tap.drain().state().finish();
    assert!(refused.only_error().contains("belongs to another spool"), "{:?}", refused.stderr);
    tap.append_state(written);
    assert_eq!(tap.drain().state().finish().records().len(), 2900);
}

/// A spool that was lost with its disk: the old state is older than any event to come.
#[test]
fn a_new_spool_accepts_the_state_of_a_lost_one() {
    let tap = Tap::new();
    tap.append_state(1_600_000_000_000);
    tap.spool_bodies([numbered_event(1).as_str()]);
    let drained = tap.drain().state().finish();
    drained.assert_code(0);
    assert_eq!(numbers(&drained), [1]);
}

#[test]
fn a_drain_beside_a_listener_writes_what_the_spool_holds() {
    let tap = Tap::new();
    let listener = tap.listen().start();
    for round in 0..3 {
        listener.endpoint().post_accepted(grouped(&numbered_events(round * 10, 10)));
        let drained = tap.drain().state().finish();
        drained.assert_code(0);
        assert_eq!(numbers(&drained), (round * 10..round * 10 + 10).collect::<Vec<_>>());
        store_last_state(&tap, &drained);
    }
    assert!(listener.stdout().so_far().is_empty(), "`listen` writes no messages");
    listener.stop().assert_code(0);
}

/// A cron job that starts again while the previous one is still running.
#[test]
fn a_drain_that_overlaps_another_exits_with_code_75() {
    let tap = Tap::new();
    tap.spool_bodies([grouped(&numbered_events(0, 3000)).as_str()]);
    let (mut first, stdout) = tap.drain().start_unread();
    // Its first line shows that it has started. Then the pipe fills, and it has to wait.
    let mut stdout = BufReader::new(stdout);
    let mut messages = String::new();
    stdout.read_line(&mut messages).expect("a line");

    for second in [tap.drain(), tap.run()] {
        let finished = second.finish();
        finished.assert_code(75);
        assert_eq!(finished.stdout, [""; 0]);
        assert_eq!(finished.stderr.len(), 1, "one line says why: {:?}", finished.stderr);
    }

    assert!(first.is_running());
    stdout.read_to_string(&mut messages).expect("the rest");
    assert_eq!(first.wait(), Some(0));
    let records = messages.lines().filter_map(|line| Message::parse(line).record());
    assert!(records.map(|record| number_of(&record)).eq(0..3000));
}

/// The drain itself records no confirmation, so a second one without a new state writes the same events
/// again.
#[test]
fn a_killed_drain_leaves_every_event_to_the_next() {
    let tap = Tap::new();
    tap.append_state(0);
    tap.spool_bodies([grouped(&numbered_events(0, 3000)).as_str()]);
    let (mut first, stdout) = tap.drain().state().start_unread();
    let mut stdout = BufReader::new(stdout);
    stdout.read_line(&mut String::new()).expect("a line");
    first.signal(Signal::KILL);
    assert_eq!(first.wait(), None);
    let drained = tap.drain().state().finish();
    drained.assert_code(0);
    assert!(numbers(&drained).into_iter().eq(0..3000));
}
