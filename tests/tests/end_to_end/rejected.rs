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
    let long = format!("{}\u{e9}", "x".repeat(100_000));
    let text = |text: &str| (text.to_owned(), String::new());
    let bytes = |preview: &str, base64: &str| (preview.to_owned(), base64.to_owned());
    let cases: [(&[u8], &str, (String, String)); 7] = [
        (b"event=open", "the body is not JSON: it looks like a URL-encoded form", text("event=open")),
        (
            b"{\"event\":\"open\"",
            "the body is not JSON: EOF while parsing an object at line 1 column 15",
            text(r#"{"event":"open""#),
        ),
        (b"5", "the body is JSON, but neither an object nor an array of objects", text("5")),
        (b"\"\xff\0\"", "the body is not JSON: control character", bytes("\"\u{fffd}\u{fffd}\"", "Iv8AIg==")),
        (
            b"\x1f\x8b\x08\0",
            "the body is not JSON: it looks like gzip data",
            bytes("\u{1f}\u{fffd}\u{8}\u{fffd}", "H4sIAA=="),
        ),
        (
            b"{\0\"\0a\0",
            "the body is not JSON: it looks like text in UTF-16",
            bytes("{\u{fffd}\"\u{fffd}a\u{fffd}", "ewAiAGEA"),
        ),
        (long.as_bytes(), "the body is not JSON: expected value at line 1 column 1", text(&long)),
    ];
    for (body, reason, _) in &cases {
        let reply = endpoint.post(body);
        assert_eq!(
            (reply.status, &reply.json()["accepted"], &reply.json()["rejected"]),
            (200, &0.into(), &1.into())
        );
        assert!(
            reply.json()["error"].as_str().is_some_and(|error| error.starts_with(reason)),
            "{}",
            reply.body
        );
    }
    let mixed = endpoint.post(r#"[{"event":"open"},"stray",[1],{"event":"click"},null]"#);
    assert_eq!(mixed.status, 200);
    assert_eq!(
        (&mixed.json()["accepted"], &mixed.json()["rejected"]),
        (&2.into(), &2.into()),
        "{}",
        mixed.body
    );
    let finished = running.stop();
    finished.assert_code(0);
    assert_valid(&finished.messages());
    assert_eq!(
        columns_of(&finished.messages(), "_sdc_rejected").concat().join(" "),
        "_sdc_rejected_at table_name reason record record_base64 __sdc_primary_key _sdc_sequence \
         _sdc_received_at _sdc_batched_at _sdc_table_version"
    );
    let rows = finished.records_of("_sdc_rejected");
    let element = "the array element is not a JSON object, so it is not an event";
    let elements = [(element, text("\"stray\",[1]")), (element, text("null"))];
    let expected = cases.map(|(_, reason, record)| (reason, record)).into_iter().chain(elements);
    let mut count = 0;
    for (row, (reason, (record, base64))) in rows.iter().zip(expected) {
        assert!(row.text("reason").starts_with(reason), "{}", row.text);
        assert_eq!(row.text("record"), record);
        let found =
            if row.raw("record_base64") == "null" { String::new() } else { row.text("record_base64") };
        assert_eq!(found, base64, "{}", row.text);
        assert_eq!(row.text("table_name"), "data");
        count += 1;
    }
    assert_eq!((count, rows.len(), finished.records().len()), (9, 9, 2));
    assert!(
        finished.stderr_contains("a repeat would be the same; all of it is kept"),
        "{:?}",
        finished.stderr
    );
}

/// One byte, in one event of a group of a thousand.
#[test]
fn a_byte_that_is_not_utf8_costs_no_event_and_stays_recoverable() {
    let tap = Tap::new();
    let running = tap.run().start();
    let event = |number: u32, url: &[u8]| {
        [format!("{{\"event\":\"click\",\"MessageID\":{number},\"url\":\"").as_bytes(), url, b"\"}"].concat()
    };
    let bad = event(500, b"caf\xe9");
    let mut body = b"[".to_vec();
    for number in 0..1000 {
        let url: &[u8] = if number == 500 { b"caf\xe9" } else { b"https://example.com/" };
        body.extend([event(number, url), b",".to_vec()].concat());
    }
    body.pop();
    body.push(b']');
    // Mailjet repeats a webhook whose answer was lost, with the same bytes.
    for _ in 0..2 {
        let reply = running.endpoint().post(&body);
        assert_eq!(
            (reply.status, &reply.json()["accepted"], &reply.json()["rejected"]),
            (200, &1000.into(), &1.into())
        );
    }
    let finished = running.stop();
    finished.assert_code(0);
    assert_valid(&finished.messages());
    let records = finished.records();
    assert_eq!(records.len(), 2000);
    assert_eq!(records[500].text("url"), "caf\u{fffd}");
    let rows = finished.records_of("_sdc_rejected");
    assert_eq!(rows.len(), 1, "what repeats is stored once");
    assert_eq!(rows[0].text("record_base64"), base64_of(&bad));
    assert!(rows[0].text("reason").contains("The event is accepted"), "{}", rows[0].text);
    let exported = tap.command(&["spool", "export"]).finish();
    assert!(exported.stdout.iter().any(|line| line.contains(&base64_of(&bad))), "the spool has it, too");
}

/// A group in which one event lost a character, and 999 did not.
#[test]
fn a_missing_bracket_or_quotation_mark_costs_no_other_event_of_a_group() {
    let tap = Tap::new();
    let running = tap.run().start();
    let event = |number: usize| {
        let event =
            r#"{"event":"open","time":NUMBER,"email":"ada@example.com","geo":{"country":"FR"},"tags":["a"]}"#;
        event.replace("NUMBER", &number.to_string())
    };
    let broken = [
        (event(500).replacen('}', "", 1), "a brace"),
        (event(500).replacen(']', "", 1), "a bracket"),
        (event(500).replacen("com\"", "com", 1), "a quotation mark"),
        (event(500).replacen(':', "", 1), "a colon"),
        (event(500).replacen("\"open\"", "open", 1), "two quotation marks"),
    ];
    for (number, (broken, missing)) in broken.iter().enumerate() {
        let mut group: Vec<_> = (0..1000).map(event).collect();
        group[500].clone_from(broken);
        let reply = running.endpoint().post(format!("[{}]", group.join(",")));
        let answer = (reply.status, &reply.json()["accepted"], &reply.json()["rejected"]);
        assert_eq!(answer, (200, &999.into(), &1.into()), "{missing}: {}", reply.body);
        let rows = running.wait_records(999 * (number + 1));
        let times = rows.iter().skip(999 * number).map(|row| row.integer("time"));
        assert!(times.eq((0..1000).filter(|time| *time != 500)), "{missing}");
    }
    let finished = running.stop();
    let rejected = finished.records_of("_sdc_rejected");
    let records: Vec<_> = rejected.iter().map(|row| row.text("record")).collect();
    assert_eq!(records, broken.map(|(broken, _)| broken));
}

/// Something on the way damages every tenth event.
#[test]
fn many_broken_events_in_a_group_cost_none_of_the_others() {
    let tap = Tap::new();
    let running = tap.run().start();
    let event = |number: usize| {
        let event =
            format!(r#"{{"event":"open","time":{number},"geo":{{"country":"FR"}},"Payload":"{number}"}}"#);
        match number % 40 {
            5 => event.replacen('}', "", 1),
            15 => event.replacen("open\"", "open", 1),
            25 => event.replacen(':', "", 1),
            35 => event.replacen("\"FR\"", "FR", 1),
            _ => event,
        }
    };
    let reply = running.endpoint().post(format!("[{}]", (0..4000).map(event).collect::<Vec<_>>().join(",")));
    assert_eq!((reply.status, &reply.json()["accepted"]), (200, &3600.into()), "{}", reply.body);
    let times = running.wait_records(3600).into_iter().map(|row| row.integer("time"));
    assert!(times.eq((0..4000).filter(|time| time % 10 != 5)));
    running.stop().assert_code(0);
}

fn base64_of(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte))
            << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            let is_padding = digit > chunk.len();
            text.push(if is_padding { '=' } else { DIGITS[bits >> (18 - 6 * digit) & 63].into() });
        }
    }
    text
}

#[test]
fn rejected_rows_resume_and_are_trimmed_by_a_bookmark_of_their_own() {
    let tap = Tap::new().set("retention_days", 0);
    let listener = tap.listen().start();
    for body in ["one", "two"] {
        assert_eq!(listener.endpoint().post(body).status, 200);
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

/// Whatever its length, in characters of several bytes.
#[test]
fn a_long_body_and_a_long_element_are_kept_whole() {
    let tap = Tap::new();
    let running = tap.run().start();
    let long = "é".repeat(500_000);
    assert_eq!(running.endpoint().post(format!("x{long}")).status, 200);
    assert_eq!(running.endpoint().post(format!(r#"["{long}",{{"event":"open"}}]"#)).status, 200);
    let finished = running.stop();
    finished.assert_code(0);
    assert_valid(&finished.messages());
    let rows = finished.records_of("_sdc_rejected");
    assert!(rows[0].text("record") == format!("x{long}"), "{} bytes", rows[0].text.len());
    assert!(rows[1].text("record") == format!("\"{long}\""), "{} bytes", rows[1].text.len());
    assert_eq!(finished.records().len(), 1);
}

/// As with events, a retry has the key of the first delivery. It is stored only once, also after a restart.
#[test]
fn a_rejected_body_that_repeats_is_one_row() {
    let tap = Tap::new();
    let mut keys = Vec::new();
    for _ in 0..2 {
        let running = tap.run().start();
        for body in ["one", "two", "one"] {
            assert_eq!(running.endpoint().post(body).status, 200);
        }
        let rows = running.stop().records_of("_sdc_rejected");
        assert_eq!(rows.iter().map(|row| row.text("record")).collect::<Vec<_>>(), ["one", "two"]);
        keys.push(rows.iter().map(Record::key).collect::<Vec<_>>());
    }
    assert_eq!(keys[0], keys[1]);
    assert_ne!(keys[0][0], keys[0][1]);
}
