//! A damaged spool: readable events are written, unreadable ones are reported, and neither stops the tap.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use end_to_end::events::{grouped, number_in, number_of, numbered_event, numbered_events};
use end_to_end::message::{Message, Record, value};
use end_to_end::schema::assert_valid;
use end_to_end::tap::{FinishedTap, Tap};

/// Events in the spool, enough for many pages.
const EVENTS: u64 = 400;

/// A page's number, and how many rows begin on it.
type Page = (u32, usize);

fn filled_tap() -> Tap {
    let tap = Tap::new();
    tap.spool_bodies([grouped(&numbered_events(0, EVENTS)).as_str()]);
    tap
}

/// The ranges of sequences that a run reports as unreadable.
fn gaps(finished: &FinishedTap) -> Vec<RangeInclusive<i64>> {
    let rows = finished.records_of("_sdc_rejected");
    let gap = |row: &Record| {
        assert!(row.text("reason").starts_with("the spool is damaged: "), "{}", row.text);
        let record = value(&row.text("record"));
        let bound = |name: &str| record[name].as_i64().expect("a sequence");
        bound("damaged_from")..=bound("damaged_through")
    };
    rows.iter().map(gap).collect()
}

/// Damages some pages, then checks that exactly the rows on them are missing, that each gap is reported once,
/// and that a drain, a second drain that resumes from its state, and an export all agree.
fn assert_only_damaged_pages_are_lost(choose: fn(&[Page]) -> Vec<Page>) {
    let tap = filled_tap();
    let sequences = tap.spool().sequences();
    let damaged = choose(&tap.spool().pages("event", "leaf"));
    for (page, _) in &damaged {
        tap.spool().damage_page(*page);
    }
    let lost: usize = damaged.iter().map(|(_, rows)| rows).sum();

    let drained = tap.drain().state().finish();
    drained.assert_code(0);
    assert_valid(&drained.messages());
    let read: BTreeSet<i64> = drained.records().iter().map(Record::sequence).collect();
    assert_eq!(read.len(), sequences.len() - lost, "everything on the other pages");
    let gaps = gaps(&drained);
    for sequence in sequences.iter().filter(|sequence| !read.contains(sequence)) {
        let reported = gaps.iter().filter(|gap| gap.contains(sequence)).count();
        assert_eq!(reported, 1, "{sequence} is reported once: {gaps:?}");
    }
    assert!(read.iter().all(|sequence| !gaps.iter().any(|gap| gap.contains(sequence))), "{gaps:?}");
    assert!(drained.stderr_contains(&format!("damaged in {} places", gaps.len())), "{:?}", drained.stderr);

    let exported = tap.command(&["spool", "export"]).finish();
    exported.assert_code(1);
    let numbers: Vec<_> = exported.stdout.iter().map(|line| number_in(line)).collect();
    assert_eq!(numbers, drained.records().iter().map(number_of).collect::<Vec<_>>());
    let verified = tap.command(&["spool", "verify"]).finish();
    verified.assert_code(1);
    assert!(verified.stdout.iter().filter(|line| line.contains("cannot be read")).count() >= gaps.len());

    let bookmark = drained.messages().iter().rev().find_map(Message::bookmark).expect("a STATE");
    tap.append_state(bookmark);
    tap.spool_bodies([numbered_event(1_000).as_str()]);
    let next = tap.drain().state().finish();
    next.assert_code(0);
    assert_eq!(next.records().iter().map(number_of).collect::<Vec<_>>(), [1_000]);
    assert_eq!(next.records_of("_sdc_rejected").len(), 0, "an earlier gap is not reported again");
}

#[test]
fn a_damaged_page_in_the_middle_loses_only_its_rows() {
    assert_only_damaged_pages_are_lost(|pages| vec![pages[pages.len() / 2]]);
}

#[test]
fn a_damaged_first_page_loses_only_its_rows() {
    assert_only_damaged_pages_are_lost(|pages| vec![pages[0]]);
}

#[test]
fn damaged_pages_around_a_sound_one_lose_only_their_rows() {
    assert_only_damaged_pages_are_lost(|pages| vec![pages[3], pages[5], pages[6], pages[10]]);
}

/// Lost rows at the end look like rows still to come, so nothing skips them. The listener cannot know which
/// sequences it has assigned, and refuses to start.
#[test]
fn with_a_damaged_last_page_a_drain_reads_the_rest_and_the_listener_refuses() {
    let tap = filled_tap();
    let (page, rows) = *tap.spool().pages("event", "leaf").last().expect("a page");
    tap.spool().damage_page(page);
    let drained = tap.drain().finish();
    drained.assert_code(0);
    assert_eq!(drained.records().len() + rows, 400);
    assert!(drained.stderr_contains("`spool export` writes what can be read"), "{:?}", drained.stderr);
    let refused = tap.listen().finish();
    assert!(refused.only_error().contains("`spool verify` lists what is damaged"), "{:?}", refused.stderr);
    tap.command(&["spool", "verify"]).finish().assert_code(1);
}

/// A large event has pages of its own, so damage there loses only that event.
#[test]
fn a_damaged_page_of_a_large_event_loses_only_that_event() {
    let tap = Tap::new();
    let large =
        numbered_event(1).replace(r#""Payload":"""#, &format!(r#""Payload":"{}""#, "x".repeat(50_000)));
    tap.spool_bodies([numbered_event(0).as_str(), &large, &numbered_event(2)]);
    let sequences = tap.spool().sequences();
    tap.spool().damage_page(tap.spool().pages("event", "overflow")[3].0);
    let drained = tap.drain().finish();
    drained.assert_code(0);
    // SQLite cannot notice wrong bytes within the text, but it notices a broken chain of pages.
    assert_eq!(drained.records().iter().map(number_of).collect::<Vec<_>>(), [0, 2]);
    assert_eq!(gaps(&drained), [sequences[0] + 1..=sequences[1]]);
}

/// An unreadable row cannot be deleted, and neither can those after it. The tap logs that, and everything
/// else goes on.
#[test]
fn a_tap_on_a_damaged_spool_receives_writes_and_logs_that_it_cannot_trim() {
    let tap = filled_tap();
    tap.spool().damage_page(tap.spool().pages("event", "leaf")[2].0);
    let running = tap.run().set("retention_days", 0).set("confirm_without_state", true).start();
    let before = running.wait_records(1).len();
    running.endpoint().post_accepted(numbered_event(1_000));
    let _ = running.program.stderr().wait_for("trimming: database disk image is malformed; `spool verify`");
    running.endpoint().post_accepted(numbered_event(1_001));
    let finished = running.stop();
    finished.assert_code(0);
    let numbers: Vec<_> = finished.records().iter().map(number_of).collect();
    assert!(before > 0 && numbers.ends_with(&[1_000, 1_001]), "{numbers:?}");
    assert_eq!(gaps(&finished).len(), 1);
}

#[test]
fn damage_among_rejected_items_is_skipped_too() {
    let tap = Tap::new();
    let listener = tap.listen().start();
    for number in 0..200 {
        let body = format!("{number} {}", "no event".repeat(30));
        assert_eq!(listener.endpoint().post(body).status, 200);
    }
    listener.stop().assert_code(0);
    let (page, rows) = tap.spool().pages("rejected", "leaf")[2];
    tap.spool().damage_page(page);
    let drained = tap.drain().finish();
    drained.assert_code(0);
    let (gaps, read): (Vec<_>, Vec<_>) = drained
        .records_of("_sdc_rejected")
        .into_iter()
        .partition(|row| row.text("reason").starts_with("the spool is damaged"));
    assert_eq!((gaps.len(), read.len()), (1, 200 - rows));
}

#[test]
fn a_sound_spool_is_verified_and_exported_beside_a_listener() {
    let tap = Tap::new();
    let listener = tap.listen().start();
    let endpoint = listener.endpoint();
    endpoint.post_accepted("{\n \"event\": \"open\", \"MessageID\": 94012642276192743, \"x\": 1.10\n}");
    assert_eq!(endpoint.post("no event").status, 200);
    let exported = tap.command(&["spool", "export"]).finish();
    exported.assert_code(0);
    let text = exported.stdout.join("\n");
    assert!(
        text.contains(r#""body":{  "event": "open", "MessageID": 94012642276192743, "x": 1.10 }}"#),
        "{text}"
    );
    assert!(text.contains(r#""body":"no event""#), "{text}");
    let verified = tap.command(&["spool", "verify"]).finish();
    verified.assert_code(0);
    assert!(verified.stdout[0].ends_with("1 events, 1 rejected items"), "{:?}", verified.stdout);
    assert_eq!(verified.stdout[1], "nothing is wrong");
    listener.stop().assert_code(0);
}

#[test]
fn verify_reports_a_missing_spool_wrong_rows_and_a_foreign_file() {
    let tap = Tap::new();
    let finished = tap.command(&["spool", "verify"]).finish();
    assert!(finished.only_error().contains("spool.db"), "no spool exists yet");
    tap.spool_bodies([numbered_event(1).as_str(), &numbered_event(2)]);
    let last = *tap.spool().sequences().last().expect("an event");
    tap.spool().execute(&format!(
        "UPDATE event SET body = 'half an obj' WHERE sequence = {last};
         INSERT INTO rejected VALUES ({last}, 0, 'why', x'00', NULL);
         INSERT INTO event VALUES (-5, 0, '{{}}');
         INSERT INTO fact VALUES ('written_through', -1)"
    ));
    let verified = tap.command(&["spool", "verify"]).finish();
    verified.assert_code(1);
    let report = verified.stdout.join("\n");
    for sign in
        ["is not a JSON object", "both an event and a rejected item", "are below 1", "written_through is -1"]
    {
        assert!(report.contains(sign), "{sign}: {report}");
    }
    std::fs::write(&tap.spool().path, "x".repeat(8192)).expect("a write");
    for command in ["verify", "export"] {
        let finished = tap.command(&["spool", command]).finish();
        assert!(finished.only_error().contains("this file is not a spool"), "{:?}", finished.stderr);
    }
}

#[test]
fn another_programs_database_is_refused_and_left_unchanged() {
    let tap = Tap::new();
    let path = tap.spool().path.clone();
    tap.spool().execute("CREATE TABLE event (somebody_elses)");
    let before = std::fs::read(&path).expect("a database");
    for command in [&["listen"][..], &["spool", "verify"]] {
        let finished = tap.command(command).finish();
        assert!(finished.only_error().contains("this file is not a spool"), "{:?}", finished.stderr);
        assert!(std::fs::read(&path).expect("a database") == before, "{command:?} changed it");
    }
}

#[test]
fn a_directory_is_not_accepted_as_a_spool() {
    let tap = Tap::new();
    std::fs::create_dir_all(&tap.spool().path).expect("a directory");
    for command in [&["listen"][..], &["spool", "verify"]] {
        let finished = tap.command(command).finish();
        assert!(finished.only_error().contains("this file is not a spool"), "{:?}", finished.stderr);
    }
}
