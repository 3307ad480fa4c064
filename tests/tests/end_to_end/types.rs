//! The types that a catalog asks for.

use end_to_end::events::DOCUMENTED_EVENTS;
use end_to_end::message::{Message, value};
use end_to_end::tap::{FinishedTap, Tap};
use serde_json::json;

use super::streams::{discovered, drain_with, metadata};

#[test]
fn the_catalog_changes_the_key_and_the_type_of_columns() {
    let tap = Tap::new();
    tap.spool_bodies([
        DOCUMENTED_EVENTS[0],
        r#"{"event":"sent","MessageID":576460779645409236,"blocked":true,"time":1.5,"Payload":{"a":[1.10]}}"#,
    ]);
    let mut catalog = discovered(&tap);
    metadata(&mut catalog, "data", None)["table-key-properties"] = json!(["MessageID", "event"]);
    let properties = &mut catalog["streams"][0]["schema"]["properties"];
    properties["MessageID"] = json!({"type": ["string", "null"], "maxLength": 20});
    properties["blocked"] = json!({"type": "string"});
    properties["Payload"] = json!({"type": "object"});
    let finished = drain_with(&tap, "--catalog", &catalog);
    let Message::Schema(schema) = &finished.messages()[0] else { panic!("a SCHEMA comes first") };
    assert_eq!(schema.message["key_properties"], json!(["MessageID", "event"]));
    assert_eq!(
        schema.schema["properties"]["MessageID"],
        json!({"type": ["string", "null"]}),
        "constraints on Mailjet's values are left out"
    );
    let record = &finished.records()[1];
    assert_eq!((record.raw("MessageID"), record.raw("time__fl")), (r#""576460779645409236""#, "1.5"));
    assert_eq!((record.raw("blocked"), record.raw("Payload")), (r#""true""#, r#"{"a":[1.10]}"#));
}

/// A Meltano `schema:` extra may name a field before its first value, with a type that the value turns out
/// not to have.
#[test]
fn a_column_typed_by_the_catalog_before_it_appears_obeys_its_schema() {
    let tap = Tap::new();
    tap.spool_bodies([r#"{"x":"abc","y":5,"z":{"a":1}}"#, r#"{"x":5,"y":"five","z":7}"#]);
    let mut catalog = discovered(&tap);
    let properties = &mut catalog["streams"][0]["schema"]["properties"];
    properties["x"] = json!({"type": ["integer", "null"], "minimum": 6});
    properties["y"] = json!({"type": "string", "enum": ["six"], "format": "date-time"});
    properties["z"] = json!({"type": "object"});
    properties["time"] = json!({"type": "string", "format": "date-time"});
    let rows = |finished: FinishedTap| {
        let text = |record: &end_to_end::message::Record, name: &str| record.raw(name).to_owned();
        let of_row =
            |record: &end_to_end::message::Record| ["x", "x__st", "y", "z"].map(|name| text(record, name));
        finished.records().last().map(of_row)
    };
    let first = drain_with(&tap, "--catalog", &catalog);
    assert_eq!(first.records()[0].raw("x__st"), "\"abc\"");
    assert_eq!(first.records()[0].raw("z"), r#"{"a":1}"#);
    assert_eq!(rows(first), rows(drain_with(&tap, "--catalog", &catalog)), "a restart changes nothing");
}

/// Every value obeys the catalog's type, whatever it is.
#[test]
fn every_type_that_a_catalog_asks_for_is_obeyed() {
    let event = concat!(
        r#"{"event":"open","time":"soon","MessageID":576460779645409236,"email":5,"mj_list_id":1.5,"#,
        r#""Payload":[1],"blocked":"","geo":{"a":true},"ip":""}"#
    );
    let columns = ["event", "time", "MessageID", "email", "mj_list_id", "Payload", "blocked", "geo", "ip"];
    for asked in [
        json!("string"),
        json!("integer"),
        json!(["null", "number"]),
        json!(["boolean", "null"]),
        json!("object"),
        json!("array"),
        json!("null"),
        json!(["integer", "string"]),
        json!(5),
    ] {
        let tap = Tap::new();
        tap.spool_bodies([event]);
        let mut catalog = discovered(&tap);
        for column in columns {
            catalog["streams"][0]["schema"]["properties"][column] = json!({"type": asked});
        }
        let first = drain_with(&tap, "--catalog", &catalog);
        // The whole event is in the row: each value is in one place, in some form.
        let row = &first.records()[0].text;
        for value in ["open", "soon", "576460779645409236", "5", "1.5", "[1]", "true"] {
            assert!(row.contains(value), "{asked}: {value} is not in {row}");
        }
        // The same is true when the columns exist from the start.
        let second = drain_with(&tap, "--catalog", &catalog);
        let values = |finished: &FinishedTap| {
            let row = &finished.records()[0];
            let names = row.column_names().filter(|name| *name != "_sdc_batched_at");
            names.map(|name| format!("{name}={}", row.raw(name))).collect::<Vec<_>>()
        };
        assert_eq!(values(&first), values(&second), "{asked}");
    }
}

/// The catalog may set the type of a split column before any value needs it.
#[test]
fn a_split_column_typed_by_the_catalog_before_it_appears_obeys_its_schema() {
    let tap = Tap::new();
    let mut catalog = discovered(&tap);
    catalog["streams"][0]["schema"]["properties"]["hard_bounce__st"] = json!({"type": ["integer", "null"]});
    tap.spool_bodies([r#"{"hard_bounce":"maybe"}"#]);
    for finished in [drain_with(&tap, "--catalog", &catalog), drain_with(&tap, "--catalog", &catalog)] {
        let row = &finished.records()[0];
        assert_eq!((row.raw("hard_bounce"), row.raw("hard_bounce__st")), ("null", "null"));
        assert_eq!(row.raw("_sdc_extra"), r#"{"hard_bounce":"maybe"}"#);
    }
}

/// Values that targets cannot read do not go into an object column, and neither does text.
#[test]
fn an_object_column_holds_only_objects_that_targets_can_read() {
    let deep = format!(r#"{{"Payload":{}1{}}}"#, r#"{"a":"#.repeat(200), "}".repeat(200));
    let odd = [
        r#"{"Payload":{"a":["\ud800"]}}"#,
        r#"{"Payload":{"a\u0000":1}}"#,
        r#"{"Payload":{"a":1e400}}"#,
        r#"{"Payload":{"a":1,"a":2}}"#,
        &deep,
    ];
    for mode in ["columns", "extra"] {
        let tap = Tap::new().set("unknown_fields", mode);
        tap.spool_bodies(odd.iter().copied().chain([r#"{"Payload":{"a":1.10}}"#]));
        let mut catalog = discovered(&tap);
        catalog["streams"][0]["schema"]["properties"]["Payload"] = json!({"type": "object"});
        let finished = drain_with(&tap, "--catalog", &catalog);
        let rows = finished.records();
        for (event, row) in odd.iter().zip(&rows) {
            let text = &event[r#"{"Payload":"#.len()..event.len() - 1];
            assert_eq!(row.raw("Payload"), "null", "{event}");
            if mode == "columns" {
                assert_eq!(row.text("Payload__st"), text);
            } else {
                assert_eq!(value(row.raw("_sdc_extra")), json!({"Payload": text}));
            }
        }
        assert_eq!(rows[odd.len()].raw("Payload"), r#"{"a":1.10}"#);
    }
}

/// JSON may have line breaks between its parts, but a message may not.
#[test]
fn a_message_is_one_line_whatever_the_events_layout() {
    let body = "{\r\n\"Payload\":\n{\"a\":\r\n1.10},\n\"😀\":[1,\n2],\"t\":[3,\n4]\n}";
    for mode in ["columns", "extra"] {
        let tap = Tap::new().set("unknown_fields", mode);
        tap.spool_bodies([body]);
        let mut catalog = discovered(&tap);
        catalog["streams"][0]["schema"]["properties"]["Payload"] = json!({"type": "object"});
        let finished = drain_with(&tap, "--catalog", &catalog);
        assert!(finished.stdout.iter().all(|line| !line.contains('\r')));
        let row = &finished.records()[0];
        assert_eq!(row.raw("Payload"), r#"{"a":  1.10}"#);
        if mode == "columns" {
            // Within a string, the line breaks belong to the value.
            assert_eq!(row.raw("t"), r#""[3,\n4]""#);
            assert_eq!(row.raw("_sdc_extra"), r#"{"😀":[1, 2]}"#);
        } else {
            assert_eq!(row.raw("_sdc_extra"), r#"{"😀":[1, 2],"t":[3, 4]}"#);
        }
    }
}

/// A split column that the catalog declares as text holds the text of the values that go there.
#[test]
fn the_catalog_can_make_a_split_column_text() {
    let tap = Tap::new();
    tap.spool_bodies([r#"{"hard_bounce":5}"#, r#"{"hard_bounce":6}"#]);
    let mut catalog = discovered(&tap);
    catalog["streams"][0]["schema"]["properties"]["hard_bounce__it"] = json!({"type": "string"});
    for _ in 0..2 {
        let rows = drain_with(&tap, "--catalog", &catalog).records();
        let texts: Vec<_> = rows.iter().map(|row| row.raw("hard_bounce__it")).collect();
        assert_eq!(texts, [r#""5""#, r#""6""#]);
    }
}

/// If the tap ignored such a schema silently, it would look as if it had obeyed it.
#[test]
fn an_unsupported_column_schema_is_a_warning_given_once() {
    let tap = Tap::new();
    tap.spool_bodies([DOCUMENTED_EVENTS[0]]);
    let mut catalog = discovered(&tap);
    let properties = &mut catalog["streams"][0]["schema"]["properties"];
    properties["ip"] = json!({"anyOf": [{"type": "string"}, {"type": "null"}]});
    properties["tags"] = json!({"type": ["null", "array"]});
    properties["time"] = json!({"type": ["integer", "string"]});
    properties["url"] = json!(5);
    // These two say nothing about a type.
    properties["geo"] = json!({"description": "Where."});
    properties["agent"] = json!(true);
    catalog["streams"][2]["schema"]["properties"]["ip"] = json!({"type": "array"});
    let finished = drain_with(&tap, "--catalog", &catalog);
    for (column, found) in [
        ("ip", r#""anyOf""#),
        ("tags", r#""type": ["null","array"]"#),
        ("time", r#""type": ["integer","string"]"#),
        ("url", "5"),
    ] {
        let warning = format!(r#"stream "data": column "{column}": the schema says {found}"#);
        let lines: Vec<_> = finished.stderr.iter().filter(|line| line.contains(&warning)).collect();
        assert_eq!(lines.len(), 1, "{warning} in {:?}", finished.stderr);
        assert!(lines[0].contains(r#"one of "string", "integer", "number", "boolean" and "object""#));
    }
    let warnings = finished.stderr.iter().filter(|line| line.contains("the schema says"));
    assert_eq!(warnings.count(), 4, "no warning about valid schemas and deselected streams");
    assert_eq!(finished.records().len(), 1);
    assert!(!drain_with(&tap, "--catalog", &discovered(&tap)).stderr_contains("the schema says"));
}

/// A SCHEMA that exceeds the output buffer must not prevent the records after it from being written.
#[test]
fn a_schema_of_megabytes_is_followed_by_its_records() {
    let tap = Tap::new();
    tap.spool_bodies(DOCUMENTED_EVENTS);
    let mut catalog = discovered(&tap);
    catalog["streams"][0]["schema"]["properties"]["ip"] =
        json!({"type": "string", "description": "long ".repeat(500_000)});
    let finished = drain_with(&tap, "--catalog", &catalog);
    assert_eq!(finished.records().len(), DOCUMENTED_EVENTS.len());
    let again = drain_with(&tap, "--catalog", &catalog);
    assert_eq!(again.records().len(), DOCUMENTED_EVENTS.len());
}
