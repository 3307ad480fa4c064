//! Which streams and columns are written, by default and by a catalog.

use std::collections::BTreeMap;
use std::fs;

use end_to_end::events::DOCUMENTED_EVENTS;
use end_to_end::message::{Message, value};
use end_to_end::schema::{assert_valid, columns_of};
use end_to_end::tap::{FinishedTap, Tap};
use end_to_end::wait;
use serde_json::{Value, json};

const EVENT_STREAMS: [&str; 7] = ["sent", "open", "click", "bounce", "blocked", "spam", "unsub"];

/// The catalog that `--discover` prints.
pub(super) fn discovered(tap: &Tap) -> Value {
    let finished = tap.command(&["--discover"]).finish();
    finished.assert_code(0);
    value(&finished.stdout.join("\n"))
}

/// The metadata that a catalog has about a stream, or about one of its columns.
pub(super) fn metadata<'a>(catalog: &'a mut Value, stream: &str, column: Option<&str>) -> &'a mut Value {
    let streams = catalog["streams"].as_array_mut().expect("streams");
    let entry = streams.iter_mut().find(|entry| entry["stream"] == stream).expect(stream);
    let breadcrumb = column.map_or(json!([]), |column| json!(["properties", column]));
    let items = entry["metadata"].as_array_mut().expect("metadata");
    let item = items.iter_mut().find(|item| item["breadcrumb"] == breadcrumb);
    &mut item.expect("every column has metadata")["metadata"]
}

/// Drains with a catalog, and checks that the output is valid.
pub(super) fn drain_with(tap: &Tap, option: &str, catalog: &Value) -> FinishedTap {
    let path = tap.folder().join("catalog.json");
    fs::write(&path, catalog.to_string()).expect("a catalog can be written");
    let finished = tap.drain().args(&[option, path.to_str().expect("a path")]).finish();
    finished.assert_code(0);
    assert_valid(&finished.messages());
    finished
}

#[test]
fn each_event_goes_to_its_types_stream_with_its_types_columns() {
    let tap = Tap::new();
    tap.spool_bodies(
        DOCUMENTED_EVENTS
            .iter()
            .copied()
            .chain([r#"{"event":"Click","time":1,"url":"https://example.com/"}"#]),
    );
    let mut catalog = discovered(&tap);
    for stream in EVENT_STREAMS {
        metadata(&mut catalog, stream, None)["selected"] = json!("true");
    }
    let finished = drain_with(&tap, "--catalog", &catalog);
    let messages = finished.messages();
    assert_eq!(finished.records().len(), DOCUMENTED_EVENTS.len() + 1);
    let common = "event time MessageID Message_GUID email mj_campaign_id mj_contact_id customcampaign \
        CustomID Payload";
    let system = "__sdc_primary_key _sdc_sequence _sdc_received_at _sdc_batched_at _sdc_table_version";
    let own = BTreeMap::from([
        ("sent", "mj_message_id smtp_reply"),
        ("open", "ip geo agent"),
        ("click", "ip geo agent url"),
        ("bounce", "blocked hard_bounce error_related_to error comment"),
        ("blocked", "error_related_to error"),
        ("spam", "source"),
        ("unsub", "ip geo agent mj_list_id"),
    ]);
    for stream in EVENT_STREAMS {
        let expected = format!("{common} {} {system}", own[stream]);
        assert_eq!(columns_of(&messages, stream), [expected.split(' ').collect::<Vec<_>>()], "{stream}");
        let records = finished.records_of(stream);
        assert_eq!(records.len(), if stream == "click" { 2 } else { 1 }, "{stream}");
        assert!(records.iter().all(|record| record.text("event").to_lowercase() == stream));
    }
    let Some(Message::State(state)) = messages.last() else { panic!("the last message is a STATE") };
    let last = tap.spool().sequences().last().copied().expect("events");
    for stream in EVENT_STREAMS.into_iter().chain(["data"]) {
        assert_eq!(state["bookmarks"][stream]["replication_key_value"], last, "{stream}");
    }
}

/// A change to a catalog.
pub(super) type Change = fn(&mut Value);

#[test]
fn a_catalogs_mistakes_are_reported_in_one_line() {
    let tap = Tap::new();
    let path = tap.folder().join("catalog.json");
    let path = path.to_str().expect("a path");
    for (text, expected) in [
        ("{", "catalog.json: it is not JSON"),
        ("{}", "it has no list \"streams\"; `--discover` prints a catalog"),
        (
            r#"{"streams":[{"tap_stream_id":"data","metadata":[{"breadcrumb":[],
                "metadata":{"selected":true,"table-key-properties":["nonsense"]}}]}]}"#,
            "stream \"data\": table-key-properties names \"nonsense\"",
        ),
    ] {
        fs::write(path, text).expect("a catalog can be written");
        let finished = tap.drain().args(&["--catalog", path]).finish();
        finished.assert_code(1);
        assert!(finished.only_error().contains(expected), "{}", finished.only_error());
    }
    fs::write(path, r#"{"streams":[{"tap_stream_id":"dta","selected":true}]}"#)
        .expect("a catalog can be written");
    let finished = tap.drain().args(&["--catalog", path]).finish();
    finished.assert_code(0);
    assert!(finished.stderr_contains("there is no stream \"dta\""));
    assert!(finished.stderr_contains("selects no stream of events"));
}

#[test]
fn events_without_a_stream_are_reported_once_for_each_type_and_counted() {
    let tap = Tap::new();
    tap.spool_bodies([
        DOCUMENTED_EVENTS[0],
        DOCUMENTED_EVENTS[0],
        DOCUMENTED_EVENTS[2],
        r#"{"event":"typofix"}"#,
        "{}",
    ]);
    let mut catalog = discovered(&tap);
    metadata(&mut catalog, "data", None)["selected"] = json!(false);
    metadata(&mut catalog, "click", None)["selected"] = json!(true);
    let finished = drain_with(&tap, "--catalog", &catalog);
    assert_eq!((finished.records().len(), finished.records_of("click").len()), (0, 1));
    for (name, count) in [("sent", 2), ("typofix", 1), ("", 1)] {
        let warning = format!("no selected stream has events of type \"{name}\"");
        assert_eq!(finished.stderr.iter().filter(|line| line.contains(&warning)).count(), 1, "{name}");
        assert!(
            finished.stderr_contains(&format!("{count} events of type \"{name}\" were not written")),
            "{name}"
        );
    }
}

/// A stream that is selected later gets every event that is still in the spool. The others continue where
/// they were.
#[test]
fn each_stream_resumes_from_its_own_bookmark() {
    let tap = Tap::new();
    tap.spool_bodies(DOCUMENTED_EVENTS);
    tap.drain().finish().assert_code(0);
    let sequences = tap.spool().sequences();
    tap.append_state(sequences[4]);
    let mut catalog = discovered(&tap);
    metadata(&mut catalog, "click", None)["selected"] = json!(true);
    let path = tap.folder().join("catalog.json");
    fs::write(&path, catalog.to_string()).expect("a catalog can be written");
    let finished = tap.drain().state().args(&["--catalog", path.to_str().expect("a path")]).finish();
    finished.assert_code(0);
    let of_data: Vec<_> = finished.records().iter().map(end_to_end::message::Record::sequence).collect();
    assert_eq!(of_data, sequences[5..]);
    assert_eq!(finished.records_of("click").len(), 1);
}

/// `PipelineWise` targets keep only the bookmarks of streams that had records.
#[test]
fn a_stream_without_records_does_not_prevent_trimming() {
    let tap = Tap::new().set("retention_days", 0);
    let mut catalog = discovered(&tap);
    metadata(&mut catalog, "spam", None)["selected"] = json!(true);
    let path = tap.folder().join("catalog.json");
    fs::write(&path, catalog.to_string()).expect("a catalog can be written");
    let running = tap.run().state().args(&["--catalog", path.to_str().expect("a path")]).start();
    running.endpoint().post_accepted(DOCUMENTED_EVENTS[0]);
    let sequence = running.wait_records(1)[0].sequence();
    tap.append_state(sequence);
    wait::until("the event is trimmed", || tap.spool().events().is_empty().then_some(()));
    running.stop().assert_code(0);
}

#[test]
fn the_prefix_renames_system_columns_replication_key_and_bookmark() {
    let tap = Tap::new().set("system_column_prefix", "_mailjet_");
    tap.spool_bodies([DOCUMENTED_EVENTS[0], "not JSON at all"].into_iter().take(1));
    let finished = tap.drain().finish();
    finished.assert_code(0);
    assert_valid(&finished.messages());
    let columns = columns_of(&finished.messages(), "data").concat().join(" ");
    assert!(columns.ends_with(
        "__sdc_primary_key _mailjet_sequence _mailjet_received_at _mailjet_batched_at _mailjet_table_version"
    ));
    let Message::Schema(schema) = &finished.messages()[0] else { panic!("a SCHEMA comes first") };
    assert_eq!(schema.message["bookmark_properties"], json!(["_mailjet_sequence"]));
    let Some(Message::State(state)) = finished.messages().pop() else {
        panic!("the last message is a STATE")
    };
    assert_eq!(state["bookmarks"]["data"]["replication_key"], "_mailjet_sequence");
    assert_eq!(finished.records()[0].integer("_mailjet_sequence"), tap.spool().sequences()[0]);
    assert_eq!(discovered(&tap)["streams"][0]["replication_key"], "_mailjet_sequence");
}

/// Selecting nothing by mistake loses nothing.
#[test]
fn events_are_kept_if_no_stream_is_selected_at_all() {
    let tap = Tap::new().set("retention_days", 0);
    let listener = tap.listen().start();
    listener.endpoint().post_accepted(DOCUMENTED_EVENTS[0]);
    assert_eq!(listener.endpoint().post("not JSON").status, 200);
    listener.stop().assert_code(0);
    let path = tap.folder().join("catalog.json");
    fs::write(&path, r#"{"streams":[]}"#).expect("a catalog can be written");
    for with_state in [false, true] {
        let command = tap.drain().args(&["--catalog", path.to_str().expect("a path")]);
        let finished = if with_state { command.state() } else { command }.finish();
        finished.assert_code(0);
        assert!(finished.stderr_contains("selects no stream of events"));
        assert_eq!((tap.spool().events().len(), tap.spool().rejected().len()), (1, 1));
    }
}

#[test]
fn the_state_of_another_spool_is_refused_and_confirms_nothing() {
    let tap = Tap::new().set("retention_days", 0);
    tap.spool_bodies([DOCUMENTED_EVENTS[0], DOCUMENTED_EVENTS[1]]);
    // Later than every event of this spool, but earlier than the clock.
    tap.append_state(tap.spool().sequences()[1] + 1);
    let finished = tap.drain().state().finish();
    finished.assert_code(1);
    assert!(finished.only_error().contains("belongs to another spool"), "{}", finished.only_error());
    assert_eq!(tap.spool().events().len(), 2);
}

/// Current metadata, a stream's own `selected`, and that of its schema; as a boolean, and as the
/// specification's text.
#[test]
fn a_stream_can_be_selected_in_every_way_a_catalog_allows() {
    let tap = Tap::new();
    tap.spool_bodies(DOCUMENTED_EVENTS);
    let ways: [(&str, Change); 4] = [
        ("--catalog", |catalog| metadata(catalog, "click", None)["selected"] = json!(true)),
        ("--catalog", |catalog| metadata(catalog, "click", None)["selected-by-default"] = json!("true")),
        ("--properties", |catalog| catalog["streams"][3]["selected"] = json!("true")),
        ("--properties", |catalog| catalog["streams"][3]["schema"]["selected"] = json!(true)),
    ];
    for (option, select) in ways {
        let mut catalog = discovered(&tap);
        assert_eq!(catalog["streams"][3]["stream"], "click");
        select(&mut catalog);
        let finished = drain_with(&tap, option, &catalog);
        assert_eq!(finished.records().len(), DOCUMENTED_EVENTS.len(), "{option}");
        assert_eq!(finished.records_of("click").len(), 1, "{option}");
        assert_eq!(columns_of(&finished.messages(), "open"), Vec::<Vec<String>>::new());
    }
}

#[test]
fn streams_missing_from_a_catalog_are_not_written() {
    let tap = Tap::new();
    let listener = tap.listen().start();
    listener.endpoint().post_accepted(DOCUMENTED_EVENTS[0]);
    assert_eq!(listener.endpoint().post("not JSON").status, 200);
    listener.stop().assert_code(0);
    for deselected in ["data", "_sdc_rejected"] {
        let mut catalog = discovered(&tap);
        metadata(&mut catalog, deselected, None)["selected"] = json!(false);
        let mut without = catalog.clone();
        without["streams"].as_array_mut().expect("streams").retain(|entry| entry["stream"] != deselected);
        for catalog in [catalog, without] {
            let finished = drain_with(&tap, "--catalog", &catalog);
            let found = (finished.records().len(), finished.records_of("_sdc_rejected").len());
            assert_eq!(found, if deselected == "data" { (0, 1) } else { (1, 0) });
            assert_eq!(columns_of(&finished.messages(), deselected), Vec::<Vec<String>>::new());
            let Some(Message::State(state)) = finished.messages().pop() else { panic!("a STATE comes last") };
            assert_eq!(state["bookmarks"].as_object().map(serde_json::Map::len), Some(1), "{state}");
        }
    }
}

/// If a run gets the state that the previous one wrote, it writes no records, and the same state again.
#[test]
fn a_state_that_covers_every_stream_leaves_nothing_to_do() {
    let tap = Tap::new();
    tap.spool_bodies(DOCUMENTED_EVENTS);
    let mut catalog = discovered(&tap);
    for stream in EVENT_STREAMS {
        metadata(&mut catalog, stream, None)["selected"] = json!(true);
    }
    let path = tap.folder().join("catalog.json");
    fs::write(&path, catalog.to_string()).expect("a catalog can be written");
    let path = path.to_str().expect("a path");
    let first = tap.drain().state().args(&["--catalog", path]).finish();
    let Some(Message::State(state)) = first.messages().pop() else { panic!("a STATE comes last") };
    tap.append_to_state(&format!("{state}\n"));
    let second = tap.drain().state().args(&["--catalog", path]).finish();
    second.assert_code(0);
    let records = second.messages().into_iter().filter_map(Message::record).count();
    assert_eq!(records, 0);
    let Some(Message::State(again)) = second.messages().pop() else { panic!("a STATE comes last") };
    assert_eq!(again, state);
}

/// A target that has confirmed `data` may not have stored the clicks before it.
#[test]
fn an_event_stays_until_every_stream_that_wrote_it_has_confirmed_it() {
    let tap = Tap::new().set("retention_days", 0);
    tap.append_to_state("{}\n");
    tap.spool_bodies([DOCUMENTED_EVENTS[0], DOCUMENTED_EVENTS[2], DOCUMENTED_EVENTS[3]]);
    let sequences = tap.spool().sequences();
    let mut catalog = discovered(&tap);
    metadata(&mut catalog, "click", None)["selected"] = json!(true);
    let path = tap.folder().join("catalog.json");
    fs::write(&path, catalog.to_string()).expect("a catalog can be written");
    let running = tap.run().state().args(&["--catalog", path.to_str().expect("a path")]).start();
    running.wait_bookmark(sequences[2]);
    tap.append_state(sequences[2]);
    // The tap reads the state once more before it ends.
    running.stop().assert_code(0);
    assert!(tap.spool().sequences().ends_with(&sequences[1..]), "the click is not confirmed");

    let running = tap.run().state().args(&["--catalog", path.to_str().expect("a path")]).start();
    running.wait_bookmark(sequences[2]);
    let both = json!({"bookmarks": {
        "data": {"replication_key": "_sdc_sequence", "replication_key_value": sequences[2]},
        "click": {"replication_key": "_sdc_sequence", "replication_key_value": sequences[1]},
    }});
    tap.append_to_state(&format!("{both}\n"));
    wait::until("every event is trimmed", || tap.spool().events().is_empty().then_some(()));
    running.stop().assert_code(0);
}

#[test]
fn the_value_in_the_event_column_decides_the_stream() {
    let tap = Tap::new();
    tap.spool_bodies([
        r#"{"event":"click","event":"open","event":null}"#,
        r#"{"event":null,"event":"Open"}"#,
    ]);
    let mut catalog = discovered(&tap);
    metadata(&mut catalog, "open", None)["selected"] = json!(true);
    let rows = drain_with(&tap, "--catalog", &catalog).records_of("open");
    let events: Vec<_> = rows.iter().map(|row| row.text("event")).collect();
    assert_eq!(events, ["open", "Open"]);
}

#[test]
fn an_event_stream_gets_new_columns_of_its_own() {
    let tap = Tap::new();
    tap.spool_bodies([r#"{"event":"open","url":"https://example.com/","score":1}"#, DOCUMENTED_EVENTS[2]]);
    let mut catalog = discovered(&tap);
    for stream in ["open", "click"] {
        metadata(&mut catalog, stream, None)["selected"] = json!(true);
    }
    let finished = drain_with(&tap, "--catalog", &catalog);
    let last = |stream: &str| columns_of(&finished.messages(), stream).pop().expect("a SCHEMA");
    assert!(last("open").ends_with(&["url".to_owned(), "score".to_owned()]));
    assert!(last("data").ends_with(&["_sdc_table_version".to_owned(), "score".to_owned()]));
    assert!(!last("click").contains(&"score".to_owned()));
    assert_eq!(finished.records_of("open")[0].text("url"), "https://example.com/");
}
