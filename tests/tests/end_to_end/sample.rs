//! `--test`: sample output that does not touch the spool.

use std::fs;

use end_to_end::events::DOCUMENTED_EVENTS;
use end_to_end::message::{Message, value};
use end_to_end::schema::assert_valid;
use end_to_end::tap::Tap;
use serde_json::json;

/// `data`, a stream for each event type, and `_sdc_rejected`.
const STREAMS: usize = DOCUMENTED_EVENTS.len() + 2;

#[test]
fn a_sample_has_a_schema_and_a_valid_record_for_each_selected_stream() {
    let tap = Tap::new();
    let catalog = tap.command(&["--discover"]).finish().stdout.join("\n");
    let all = catalog.replace("\"selected-by-default\": false", "\"selected-by-default\": true");
    let path = tap.folder().join("catalog.json");
    fs::write(&path, all).expect("a catalog can be written");
    for (arguments, streams) in
        [(&["--test"][..], 2), (&["--test=all", "--catalog", path.to_str().expect("a path")][..], STREAMS)]
    {
        let finished = tap.command(arguments).finish();
        finished.assert_code(0);
        let messages = finished.messages();
        assert_eq!(assert_valid(&messages), streams);
        let streams_of_records: Vec<_> =
            messages.iter().cloned().filter_map(Message::record).map(|record| record.stream).collect();
        let mut distinct = streams_of_records.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), streams, "one record each: {streams_of_records:?}");
    }
    let schemas = tap.command(&["--test=schema"]).finish();
    assert!(matches!(schemas.messages()[..], [Message::Schema(_), Message::Schema(_)]));
    assert!(!tap.spool().path.exists(), "no spool is created");
}

#[test]
fn a_sample_works_beside_a_running_tap_and_reports_a_bad_configuration() {
    let tap = Tap::new();
    let _running = tap.run().start();
    tap.command(&["--test"]).finish().assert_code(0);
    let finished = tap.command(&["--test"]).set("sequence_unit", "minute").finish();
    finished.assert_code(1);
    assert!(finished.only_error().contains("sequence_unit"));
}

/// A sample is what a run would write: with its prefix, its extra column, its catalog, and its errors.
#[test]
fn a_sample_follows_the_configuration_and_the_catalog() {
    let tap = Tap::new().set("system_column_prefix", "_mailjet_").set("unknown_fields", "extra");
    let finished = tap.command(&["--test"]).finish();
    finished.assert_code(0);
    assert_eq!(assert_valid(&finished.messages()), 2);
    let row = &finished.records()[0];
    assert!(row.integer("_mailjet_sequence") > 0 && row.raw("_sdc_extra") == "null", "{}", row.text);

    let path = tap.folder().join("catalog.json");
    let path = path.to_str().expect("a path");
    for (catalog, streams) in [
        (r#"{"streams":[{"tap_stream_id":"click","selected":"true"}]}"#, &["click"][..]),
        (r#"{"streams":[{"tap_stream_id":"_sdc_rejected"}]}"#, &["_sdc_rejected"]),
        (r#"{"streams":[]}"#, &[]),
    ] {
        fs::write(path, catalog).expect("a catalog can be written");
        let finished = tap.command(&["--test", "--catalog", path]).finish();
        finished.assert_code(0);
        let records = finished.messages().into_iter().filter_map(Message::record);
        assert_eq!(records.map(|record| record.stream).collect::<Vec<_>>(), streams);
    }
    fs::write(path, "[").expect("a catalog can be written");
    let finished = tap.command(&["--test", "--catalog", path]).finish();
    assert!(finished.only_error().contains("catalog.json"), "{}", finished.only_error());
    assert_eq!(finished.stdout, Vec::<String>::new());
    assert!(!tap.spool().path.exists(), "no spool is created");
}

/// If a column appears in a sample, its SCHEMA comes before the RECORD, as in any output.
#[test]
fn a_sample_with_a_new_column_is_valid() {
    let tap = Tap::new();
    let mut catalog = value(&tap.command(&["--discover"]).finish().stdout.join("\n"));
    for entry in catalog["streams"].as_array_mut().expect("streams") {
        entry["metadata"][0]["metadata"]["selected"] = json!(true);
    }
    // The sample's value is an integer, so it goes into a new column.
    let unsub = catalog["streams"]
        .as_array_mut()
        .expect("streams")
        .iter_mut()
        .find(|entry| entry["stream"] == "unsub");
    unsub.expect("a stream")["schema"]["properties"]["mj_list_id"] = json!({"type": "boolean"});
    let path = tap.folder().join("catalog.json");
    fs::write(&path, catalog.to_string()).expect("a catalog can be written");
    let finished = tap.command(&["--test", "--catalog", path.to_str().expect("a path")]).finish();
    finished.assert_code(0);
    let messages = finished.messages();
    assert_eq!(assert_valid(&messages), STREAMS, "one record for each stream");
    let schemas = messages.iter().filter(|message| matches!(message, Message::Schema(_))).count();
    assert_eq!(schemas, STREAMS + 1, "one for each stream, and one for the new column");
}
