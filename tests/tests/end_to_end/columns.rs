//! Columns that appear, and where values go that have none.

use end_to_end::message::{Message, members, value};
use end_to_end::schema::{assert_valid, columns_of};
use end_to_end::tap::{Finished, Tap};
use serde_json::json;

fn drain(tap: &Tap) -> Finished {
    let finished = tap.drain().finish();
    finished.assert_code(0);
    assert_valid(&finished.messages());
    finished
}

#[test]
fn a_new_field_is_announced_before_the_first_record_that_has_it() {
    let tap = Tap::new();
    tap.spool_bodies([
        r#"{"event":"open"}"#,
        r#"{"event":"open","score":1.10,"n":5,"ok":true,"word":"x","by":{"os":"Y"}}"#,
        r#"{"event":"open","n":6}"#,
    ]);
    let finished = drain(&tap);
    let columns = columns_of(&finished.messages(), "data");
    assert_eq!(columns.len(), 2, "one SCHEMA at the start, one for the new columns");
    assert_eq!(columns[1][28..], ["score", "n", "ok", "word", "by__os"]);
    let messages = finished.messages();
    let second =
        messages.iter().rposition(|message| matches!(message, Message::Schema(_))).expect("a SCHEMA");
    assert_eq!(messages[..second].iter().cloned().filter_map(Message::record).count(), 1);
    let Message::Schema(schema) = &messages[second] else { panic!("a SCHEMA") };
    let types = ["score", "n", "ok", "word"].map(|name| schema.schema["properties"][name]["type"].clone());
    let expected = ["number", "integer", "boolean", "string"].map(|name| json!([name, "null"]));
    assert_eq!(types, expected);
    let record = &finished.records()[1];
    assert_eq!((record.raw("score"), record.raw("n"), record.raw("by__os")), ("1.10", "5", "\"Y\""));
}

/// In another process, after a restart, and in the catalog.
#[test]
fn a_column_that_appeared_is_remembered_with_its_type() {
    let tap = Tap::new();
    tap.spool_bodies([r#"{"event":"open","n":5}"#, r#"{"event":"open","n":"five"}"#]);
    let first = drain(&tap);
    let second = drain(&tap);
    let columns = columns_of(&second.messages(), "data");
    assert_eq!(columns, [columns_of(&first.messages(), "data").pop().expect("a SCHEMA")]);
    assert_eq!(columns[0][28..], ["n", "n__st"]);
    for (one, other) in first.records().iter().zip(second.records()).skip(1) {
        let same = |name: &&str| *name == "_sdc_batched_at" || one.raw(name) == other.raw(name);
        assert!(
            one.column_names().collect::<Vec<_>>().iter().all(same),
            "{} is now {}",
            one.text,
            other.text
        );
    }
    let discovered = tap.launch(&["--discover"]).finish();
    let catalog = value(&discovered.stdout.join("\n"));
    assert_eq!(catalog["streams"][0]["schema"]["properties"]["n"]["type"], json!(["integer", "null"]));
    assert_eq!(catalog["streams"][0]["schema"]["properties"]["n__st"]["type"], json!(["string", "null"]));
}

#[test]
fn discovery_makes_no_spool_and_waits_for_no_lock() {
    let tap = Tap::new();
    tap.launch(&["--discover"]).finish().assert_code(0);
    assert!(!tap.spool().path.exists());
    let running = tap.run().start();
    running.endpoint().accept(r#"{"event":"open","brand_new":5}"#);
    assert_eq!(running.wait_records(1).len(), 1);
    let discovered = tap.launch(&["--discover"]).finish();
    discovered.assert_code(0);
    assert!(discovered.stdout.join("\n").contains("\"brand_new\""));
}

#[test]
fn with_unknown_fields_extra_there_is_one_schema_for_ever() {
    let tap = Tap::new().set("unknown_fields", "extra");
    tap.spool_bodies([
        r#"{"event":"open","score":1.10,"time":"soon","by":{"os": "Y"}}"#,
        r#"{"event":"open","x":1}"#,
    ]);
    let finished = drain(&tap);
    let columns = columns_of(&finished.messages(), "data");
    assert_eq!((columns.len(), columns[0].len()), (1, 29));
    let records = finished.records();
    assert_eq!(records[0].raw("_sdc_extra"), r#"{"score":1.10,"time":"soon","by":{"os": "Y"}}"#);
    assert_eq!(records[1].raw("_sdc_extra"), r#"{"x":1}"#);
}

/// 10 000 fields, names of every kind, and depth: no more than 500 columns, nothing lost, nothing invalid.
#[test]
fn whatever_an_event_holds_has_a_place() {
    let many: Vec<_> = (0..10_000).map(|number| format!(r#""f{number}":{number}"#)).collect();
    let many = format!("{{{}}}", many.join(","));
    let deep = format!(r#"{{"deep":{}1{}}}"#, r#"{"a":"#.repeat(200), "}".repeat(200));
    let names = r#"{"a.b":1,"c d":2,"e\"f":3,"g\u0000h":4,"😀":5,"":6,"Event":7,"_sdc_sequence":8,"x'y":9}"#;
    let tap = Tap::new();
    tap.spool_bodies([names, &deep, &many]);
    let finished = drain(&tap);
    let columns = columns_of(&finished.messages(), "data").pop().expect("a SCHEMA");
    assert_eq!(columns.len(), 500);

    let records = finished.records();
    let extra = members(records[0].raw("_sdc_extra"));
    let found: Vec<_> = extra.iter().map(|(name, value)| format!("{name}={}", value.get())).collect();
    assert_eq!(found, ["=6", r#""g\u0000h"=4"#, "Event=7", "_sdc_sequence=8", "e\"f=3", "x'y=9", "😀=5"]);
    assert_eq!((records[0].raw("a.b"), records[0].raw("c d")), ("1", "2"));

    let deep = records[1].text.matches("__a").count();
    assert!(deep >= 16 && records[1].text.matches(r#"\"a\""#).count() > 180, "{}", records[1].text);

    let extra = members(records[2].raw("_sdc_extra"));
    for number in 0..10_000 {
        let name = format!("f{number}");
        let found = extra.get(&name).map_or_else(|| records[2].raw(&name), |value| value.get());
        assert_eq!(found, number.to_string(), "{name}");
    }
}
