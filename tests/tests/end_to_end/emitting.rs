//! How an event becomes a row, and what stands around the rows: SCHEMA and STATE.

use std::collections::{BTreeMap, BTreeSet};

use end_to_end::events::{
    DOCUMENTED_EVENTS, MAILJET_FIELDS, ODD_EVENTS, SYSTEM_COLUMNS, assert_row, grouped, numbered_event,
    numbered_events,
};
use end_to_end::message::{Message, Record, Schema};
use end_to_end::schema::assert_valid;
use end_to_end::tap::{FinishedTap, Tap, state_value};
use serde_json::json;

/// Every sample event, and how its row differs from it.
fn all_events() -> Vec<(&'static str, &'static [(&'static str, &'static str)])> {
    let documented = DOCUMENTED_EVENTS.iter().map(|event| (*event, &[][..]));
    documented.chain(ODD_EVENTS.iter().map(|odd| (odd.event, odd.changes))).collect()
}

/// Posts each body, stops the tap and returns what it wrote.
fn run_with<T: AsRef<str>>(bodies: &[T]) -> FinishedTap {
    let tap = Tap::new();
    let running = tap.run().start();
    let endpoint = running.endpoint();
    for body in bodies {
        endpoint.post_accepted(body.as_ref());
    }
    let finished = running.stop();
    finished.assert_code(0);
    finished
}

#[test]
fn each_event_becomes_a_row_value_by_value() {
    let events = all_events();
    let finished = run_with(&events.iter().map(|(event, _)| *event).collect::<Vec<_>>());
    assert_rows(&finished.records(), &events);
}

#[test]
fn grouped_events_become_the_same_rows_in_the_same_order() {
    let events = all_events();
    let bodies: Vec<_> = events.iter().map(|(event, _)| *event).collect();
    let finished = run_with(&[grouped(&bodies)]);
    assert_rows(&finished.records(), &events);
}

fn assert_rows(rows: &[Record], events: &[(&str, &[(&str, &str)])]) {
    assert_eq!(rows.len(), events.len());
    for (row, (event, changes)) in rows.iter().zip(events) {
        assert_row(row, event, changes);
    }
}

/// 576460779645409236 does not survive a double: it becomes 576460779645409280.
#[test]
fn numbers_are_copied_digit_by_digit() {
    let finished = run_with(&[DOCUMENTED_EVENTS[2], r#"{"MessageID":"576460779645409236","score":1.10}"#]);
    let records = finished.records();
    assert_eq!(records[0].raw("MessageID"), "576460779645409236");
    assert_eq!(records[1].raw("MessageID"), "576460779645409236");
    assert_eq!(records[1].raw("score"), "1.10");
}

#[test]
fn a_run_is_a_schema_then_records_then_a_state() {
    let messages = run_with(&DOCUMENTED_EVENTS).messages();
    let Some((Message::Schema(schema), rest)) = messages.split_first() else {
        panic!("the first message is not a SCHEMA");
    };
    assert_eq!(schema.stream, "data");
    assert_eq!(schema.message["key_properties"], json!(["__sdc_primary_key"]));
    assert_eq!(schema.message["bookmark_properties"], json!(["_sdc_sequence"]));
    let Some((Message::State(last), _)) = rest.split_last() else {
        panic!("the last message is not a STATE");
    };
    let records: Vec<_> = rest.iter().cloned().filter_map(Message::record).collect();
    assert_eq!(records.len(), DOCUMENTED_EVENTS.len());
    assert!(records.iter().all(|record| record.stream == "data"));
    assert_eq!(
        *last,
        state_value(records[records.len() - 1].sequence()),
        "the state covers every record and is complete"
    );
}

#[test]
fn the_schema_declares_each_column_with_its_type() {
    let messages = run_with(&[DOCUMENTED_EVENTS[0]]).messages();
    let Message::Schema(Schema { schema, .. }) = &messages[0] else {
        panic!("the first message is not a SCHEMA")
    };
    let properties = schema["properties"].as_object().expect("a schema has properties");
    let names: BTreeSet<_> = properties.keys().map(String::as_str).collect();
    let expected: BTreeSet<_> = MAILJET_FIELDS.into_iter().chain(SYSTEM_COLUMNS).collect();
    assert_eq!(names, expected);

    let type_of = |name: &str| properties[name]["type"].to_string();
    for (name, json_type) in [
        ("event", "string"),
        ("time", "integer"),
        ("MessageID", "integer"),
        ("Payload", "string"),
        ("hard_bounce", "boolean"),
        ("mj_list_id", "integer"),
    ] {
        assert!(
            type_of(name).contains(json_type) && type_of(name).contains("null"),
            "{name}: {}",
            type_of(name)
        );
    }
    for name in SYSTEM_COLUMNS {
        assert!(!type_of(name).contains("null"), "{name} is never null");
    }
    for name in ["_sdc_received_at", "_sdc_batched_at"] {
        assert_eq!(properties[name]["format"], "date-time");
    }
}

#[test]
fn every_record_is_valid_by_the_last_schema_and_has_all_its_columns() {
    let finished = run_with(&all_events().iter().map(|(event, _)| *event).collect::<Vec<_>>());
    assert_eq!(assert_valid(&finished.messages()), all_events().len());
}

#[test]
fn all_times_are_rfc_3339_in_utc() {
    let records = run_with(&DOCUMENTED_EVENTS).records();
    for record in &records {
        let extracted = record.time_extracted.clone().expect("time_extracted");
        for time in [record.text("_sdc_received_at"), record.text("_sdc_batched_at"), extracted] {
            assert!(is_utc_time(&time), "{time}");
        }
    }
    assert!(records[0].text("_sdc_received_at") <= records[0].text("_sdc_batched_at"));
    assert!(records.iter().all(|record| record.raw("_sdc_table_version") == "0"));
}

/// Whether `text` looks like `2026-11-24T08:30:11.123Z`, with or without the fraction.
fn is_utc_time(text: &str) -> bool {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    let Some(rest) = shape.strip_prefix("9999-99-99T99:99:99") else { return false };
    let fraction = rest.strip_suffix('Z').and_then(|fraction| fraction.strip_prefix('.'));
    rest == "Z"
        || fraction.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|digit| digit == b'9'))
}

/// A target that merges rows by key must merge the retries of a webhook, and nothing else.
#[test]
fn the_key_depends_on_the_content_and_not_on_its_formatting() {
    let same = [
        r#"{"event":"open","time":1433103519,"MessageID":1,"Payload":"é/","x":{"a":1,"b":[1.10,null]}}"#,
        r#"{"MessageID":1,"x":{"b":[1.10,null],"a":1},"time":1433103519,"event":"open","Payload":"é/"}"#,
        " { \"event\" : \"open\",\n\"time\":1433103519,\t\"MessageID\":1,\"Payload\":\"é/\",\
         \"x\":{\"a\":1, \"b\":[ 1.10 , null ]} } ",
        concat!(
            r#"{"\u0065vent":"op\u0065n","time":1433103519,"MessageID":1,"#,
            r#""Payload":"\u00e9\/","x":{"\u0061":1,"b":[1.10,null]}}"#
        ),
    ];
    let different = [
        r#"{"event":"open","time":1433103520,"MessageID":1,"Payload":"é/","x":{"a":1,"b":[1.10,null]}}"#,
        r#"{"event":"open","time":"1433103519","MessageID":1,"Payload":"é/","x":{"a":1,"b":[1.10,null]}}"#,
        r#"{"event":"open","time":1433103519,"MessageID":1,"Payload":"é/ ","x":{"a":1,"b":[1.10,null]}}"#,
        r#"{"event":"open","time":1433103519,"MessageID":1,"Payload":"é/","x":{"a":1,"b":[null,1.10]}}"#,
        r#"{"event":"open","time":1433103519,"MessageID":1,"Payload":"é/","x":{"a":1,"b":[1.10]}}"#,
        r#"{"event":"open","time":1433103519,"MessageID":1,"Payload":"é/","xa":1}"#,
        r#"{"event":"open","time":1433103519,"MessageID":576460779645409236}"#,
        r#"{"event":"open","time":1433103519,"MessageID":576460779645409237}"#,
        r#"{"a":"b","c":"d"}"#,
        r#"{"a":"b\",\"c\":\"d"}"#,
        r#"{"a":["b","c"]}"#,
        r#"{"a":[["b","c"]]}"#,
        r#"{"a":"1"}"#,
        r#"{"a":1}"#,
        r#"{"a":null}"#,
        r#"{"a":"null"}"#,
        r#"{"a":[]}"#,
        r#"{"a":{}}"#,
        r#"{"a":""}"#,
        "{}",
    ];
    let mut bodies: Vec<_> = same.iter().map(ToString::to_string).collect();
    bodies.push(grouped(&[DOCUMENTED_EVENTS[0], same[0], DOCUMENTED_EVENTS[1]]));
    let first_different = bodies.len() + 2;
    bodies.extend(different.iter().map(ToString::to_string));
    let records = run_with(&bodies).records();
    let keys: Vec<_> = records.iter().map(Record::key).collect();

    for place in [1, 2, 3, 5] {
        assert_eq!(keys[place], keys[0], "only the formatting differs: {}", records[place].text);
    }
    let mut bodies_by_key = BTreeMap::from([(keys[0].as_str(), same[0])]);
    for (key, body) in keys[first_different..].iter().zip(different) {
        let previous = bodies_by_key.insert(key, body);
        assert_eq!(previous, None, "two bodies have the key {key}; the other is {body}");
    }
    assert!(keys.iter().all(|key| is_uuid_shaped(key)), "{keys:?}");
}

fn is_uuid_shaped(text: &str) -> bool {
    let groups: Vec<_> = text.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups.concat().bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Mailjet retries a webhook that got no 200, with an identical body. It also sends some events twice anyway.
#[test]
fn a_retried_webhook_has_the_key_of_its_first_delivery() {
    let records = run_with(&[DOCUMENTED_EVENTS[3], DOCUMENTED_EVENTS[4], DOCUMENTED_EVENTS[3]]).records();
    assert_eq!(records[0].key(), records[2].key());
    assert_ne!(records[0].key(), records[1].key());
    assert!(records[0].sequence() < records[2].sequence());
}

#[test]
fn a_state_comes_at_least_every_state_interval_records() {
    let tap = Tap::new().set("state_interval_records", 100);
    tap.spool_bodies([grouped(&numbered_events(0, 1000)).as_str()]);
    let drained = tap.drain().finish();
    drained.assert_code(0);
    let mut since_state = 0;
    let mut last_sequence = None;
    let mut states = 0;
    for message in drained.messages() {
        match message {
            Message::Record(record) => {
                since_state += 1;
                last_sequence = Some(record.sequence());
                assert!(since_state <= 100, "{since_state} records without a STATE");
            }
            state @ Message::State(_) => {
                assert_eq!(state.bookmark(), last_sequence, "a STATE covers exactly the records before it");
                since_state = 0;
                states += 1;
            }
            Message::Schema(_) => {}
        }
    }
    assert!((10..=12).contains(&states), "{states} STATE messages");
}

/// The last STATE before a pause must not wait for the next event.
#[test]
fn a_state_comes_when_everything_is_written() {
    let tap = Tap::new().set("state_interval_seconds", 3600).set("state_interval_records", 1_000_000);
    let running = tap.run().start();
    for id in 0..3 {
        running.endpoint().post_accepted(numbered_event(id));
        let last = running.wait_records(usize::try_from(id).expect("a small number") + 1).pop();
        running.wait_bookmark(last.expect("a record").sequence());
    }
}

/// A rejected body has a sequence but no row in `data`. No STATE may wait for one.
#[test]
fn a_state_comes_when_the_last_body_was_rejected() {
    let tap = Tap::new();
    let running = tap.run().start();
    running.endpoint().post_accepted(DOCUMENTED_EVENTS[0]);
    assert_eq!(running.endpoint().post("not JSON").status, 200);
    running.wait_bookmark(tap.spool().sequences()[0]);
    let finished = running.stop();
    finished.assert_code(0);
    assert_eq!(finished.records().len(), 1);
}
