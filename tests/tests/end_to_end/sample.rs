//! `--test`: what would be written, without touching the spool.

use std::fs;

use end_to_end::message::Message;
use end_to_end::schema::assert_valid;
use end_to_end::tap::Tap;

#[test]
fn a_sample_is_a_schema_and_a_valid_record_for_each_selected_stream() {
    let tap = Tap::new();
    let catalog = tap.launch(&["--discover"]).finish().stdout.join("\n");
    let all = catalog.replace("\"selected-by-default\": false", "\"selected-by-default\": true");
    let path = tap.folder().join("catalog.json");
    fs::write(&path, all).expect("a catalog can be written");
    for (arguments, streams) in
        [(&["--test"][..], 2), (&["--test=all", "--catalog", path.to_str().expect("a path")][..], 9)]
    {
        let finished = tap.launch(arguments).finish();
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
    let schemas = tap.launch(&["--test=schema"]).finish();
    assert!(matches!(schemas.messages()[..], [Message::Schema(_), Message::Schema(_)]));
    assert!(!tap.spool().path.exists(), "the spool is not touched");
}

#[test]
fn a_sample_needs_no_role_and_finds_what_is_wrong_with_the_configuration() {
    let tap = Tap::new();
    let _running = tap.run().start();
    tap.launch(&["--test"]).finish().assert_code(0);
    let finished = tap.launch(&["--test"]).set("sequence_unit", "minute").finish();
    finished.assert_code(1);
    assert!(finished.sole_error().contains("sequence_unit"));
}
