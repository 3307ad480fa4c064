//! Received data that is not an event.

use end_to_end::message::{Message, Record};
use end_to_end::schema::{assert_valid, columns_of};
use end_to_end::tap::Tap;
use end_to_end::wait;

#[test]
fn data_that_is_not_an_event_becomes_a_row_with_a_reason() {
    let tap = Tap::new();
    let running = tap.run().start();
    let endpoint = running.endpoint();
    let long = "x".repeat(100_000);
    let bodies: [&[u8]; 5] = [b"event=open", b"{\"event\":\"open\"", b"5", b"\"\xff\0\"", long.as_bytes()];
    for body in bodies {
        assert_eq!(endpoint.post(body).status, 400);
    }
    endpoint.post_accepted(r#"[{"event":"open"},"stray",[1]]"#);
    let finished = running.stop();
    finished.assert_code(0);
    assert_valid(&finished.messages());
    assert_eq!(
        columns_of(&finished.messages(), "_sdc_rejected").concat().join(" "),
        "_sdc_rejected_at table_name reason record __sdc_primary_key _sdc_sequence _sdc_received_at \
         _sdc_batched_at _sdc_table_version"
    );
    let rows = finished.records_of("_sdc_rejected");
    let found: Vec<_> = rows.iter().map(|row| (row.text("reason"), row.text("record"))).collect();
    let expected = [
        ("the body is not JSON: expected value at line 1 column 1", "event=open"),
        ("the body is not JSON: EOF while parsing an object at line 1 column 15", r#"{"event":"open""#),
        ("the body is JSON, but neither an object nor an array of objects", "5"),
        (
            "the body is not JSON: control character (\\u0000-\\u001F) found while parsing a string \
             at line 1 column 2",
            "\"\u{fffd}\u{fffd}\"",
        ),
        ("the body is not JSON: expected value at line 1 column 1", &long[..65_536]),
        ("the array element is not a JSON object, so it is not an event", "\"stray\""),
        ("the array element is not a JSON object, so it is not an event", "[1]"),
    ];
    for ((reason, record), (expected_reason, expected_record)) in found.iter().zip(expected) {
        assert_eq!((reason.as_str(), record.len()), (expected_reason, expected_record.len()));
        assert_eq!(record, expected_record);
    }
    assert_eq!(found.len(), expected.len());
    assert!(rows.iter().all(|row| row.text("table_name") == "data"));
    assert_eq!(finished.records().len(), 1);
}

#[test]
fn rejected_rows_resume_and_are_trimmed_by_a_bookmark_of_their_own() {
    let tap = Tap::new().set("retention_days", 0);
    let listener = tap.listen().start();
    for body in ["one", "two"] {
        assert_eq!(listener.endpoint().post(body).status, 400);
    }
    listener.stop().assert_code(0);
    let first = tap.drain().state().finish();
    let sequences: Vec<_> = first.records_of("_sdc_rejected").iter().map(Record::sequence).collect();
    assert_eq!(sequences.len(), 2);
    assert_eq!(tap.spool().rejected().len(), 2, "no state has confirmed them");

    let state = |sequence: i64| {
        format!("{{\"bookmarks\":{{\"_sdc_rejected\":{{\"replication_key_value\":{sequence}}}}}}}\n")
    };
    tap.append_to_state(&state(sequences[0]));
    let second = tap.drain().state().finish();
    assert_eq!(
        second.records_of("_sdc_rejected").iter().map(|row| row.text("record")).collect::<Vec<_>>(),
        ["two"]
    );
    assert_eq!(tap.spool().rejected().len(), 1, "the first is confirmed");

    let running = tap.run().state().start();
    running.stdout().wait("the second row", |lines| {
        lines.iter().find_map(|line| Message::parse(line).record()).map(drop)
    });
    tap.append_to_state(&state(sequences[1]));
    wait::until("the second is trimmed", || tap.spool().rejected().is_empty().then_some(()));
    running.stop().assert_code(0);
}

/// 64 KiB are stored, even if the cut is in the middle of a character.
#[test]
fn a_long_body_is_cut_at_64_kib() {
    let tap = Tap::new();
    let running = tap.run().start();
    assert_eq!(running.endpoint().post(format!("x{}", "é".repeat(50_000))).status, 400);
    let finished = running.stop();
    finished.assert_code(0);
    assert_valid(&finished.messages());
    let record = finished.records_of("_sdc_rejected")[0].text("record");
    assert!(record == format!("x{}\u{fffd}", "é".repeat(32_767)), "{} bytes", record.len());
}

#[test]
fn a_long_element_is_cut_at_64_kib_too() {
    let tap = Tap::new();
    let running = tap.run().start();
    running.endpoint().post_accepted(format!(r#"["{}",{{"event":"open"}}]"#, "é".repeat(50_000)));
    let finished = running.stop();
    finished.assert_code(0);
    let record = finished.records_of("_sdc_rejected")[0].text("record");
    assert!(record == format!("\"{}\u{fffd}", "é".repeat(32_767)), "{} bytes", record.len());
    assert_eq!(finished.records().len(), 1);
}

/// As with events, a retry has the key of the first delivery.
#[test]
fn a_repeated_rejected_body_has_the_same_key() {
    let tap = Tap::new();
    let running = tap.run().start();
    for body in ["one", "two", "one"] {
        assert_eq!(running.endpoint().post(body).status, 400);
    }
    let rows = running.stop().records_of("_sdc_rejected");
    let keys: Vec<_> = rows.iter().map(Record::key).collect();
    assert_eq!(keys[0], keys[2]);
    assert_ne!(keys[0], keys[1]);
    let sequences: Vec<_> = rows.iter().map(Record::sequence).collect();
    assert!(sequences.is_sorted_by(|one, other| one < other), "{sequences:?}");
}
