use std::fs;
use std::path::Path;

use serde_json::json;

use crate::harness::{SCHEMA, Sandbox, record, state};

/// Everything before the wrong line is stored, and its STATE is printed. Lines after it are not read.
#[test]
fn wrong_input_ends_the_run_once_everything_before_it_is_stored() {
    let cases = [
        ("hello", "line 4: it is not JSON: expected value (column 1); everything before this line is stored"),
        (r#"{"type":"RECORD","stream":"data""#, "line 4: it is not JSON: EOF while parsing an object"),
        ("[1]", "line 4: it is not a JSON object; a Singer message looks like"),
        ("{}", "line 4: the message has no \"type\""),
        (r#"{"type":"RECORD","record":{"id":2}}"#, "line 4: RECORD has no \"stream\""),
        (r#"{"type":"RECORD","stream":"data"}"#, "line 4: RECORD has no \"record\""),
        (
            r#"{"type":"RECORD","stream":"data","record":[]}"#,
            "line 4: stream \"data\": \"record\" is not a JSON object",
        ),
        (r#"{"type":"STATE"}"#, "line 4: STATE has no \"value\""),
        (
            r#"{"type":"RECORD","stream":"click","record":{"id":2}}"#,
            "line 4: stream \"click\": a RECORD came before the SCHEMA of its stream",
        ),
        (
            r#"{"type":"RECORD","stream":"data","record":{"id":"two"}}"#,
            "line 4: stream \"data\": field \"id\" breaks the rule \"type\": it must be integer, and is \
             string",
        ),
        (
            r#"{"type":"RECORD","stream":"data","record":{"id":2,"note":[1]}}"#,
            "line 4: stream \"data\": field \"note\" breaks the rule \"type\": it must be null or string, \
             and is array",
        ),
        (
            r#"{"type":"RECORD","stream":"data","record":{"note":"x"}}"#,
            "line 4: stream \"data\": field \"id\" breaks the rule \"key_properties\": it is missing",
        ),
        (
            r#"{"type":"SCHEMA","stream":"click","schema":{"type":"object"},"key_properties":[]}"#,
            "line 4: stream \"click\": its schema has no \"properties\" object",
        ),
        (
            concat!(
                r#"{"type":"SCHEMA","stream":"click","schema":{"properties":{"id":{"type":"int"}}},"#,
                r#""key_properties":[]}"#
            ),
            "line 4: stream \"click\": its schema is not a valid JSON Schema: at /properties/id/type: ",
        ),
        (
            r#"{"type":"SCHEMA","stream":"../evil","schema":{"properties":{}},"key_properties":[]}"#,
            "line 4: stream \"../evil\": a file name cannot contain '/'; rename the stream in the tap",
        ),
        (
            r#"{"type":"SCHEMA","stream":"..","schema":{"properties":{}},"key_properties":[]}"#,
            "line 4: stream \"..\": a file name cannot begin with a dot",
        ),
        (
            r#"{"type":"BATCH","stream":"data","encoding":{},"manifest":[]}"#,
            "line 4: stream \"data\": BATCH messages are not supported",
        ),
    ];
    for (line, expected) in cases {
        let sandbox = Sandbox::new();
        let input = format!("{SCHEMA}\n{}{}{line}\n{}{}", record(1), state(1), record(3), state(3));
        let outcome = sandbox.run(json!({ "state_interval_seconds": 86_400 }), &input);
        assert!(outcome.error().starts_with(expected), "{}\nis not: {expected}", outcome.stderr);
        assert_eq!(outcome.stdout, "{\"data\":1}\n", "{line}");
        assert_eq!(sandbox.read("data.jsonl"), "{\"id\":1}\n", "{line}");
        assert_eq!(sandbox.files(), ["data.jsonl"], "{line}");
        assert!(!sandbox.path("evil.jsonl").exists());
    }
}

#[test]
fn input_that_is_not_utf_8_is_an_error() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(json!({}));
    let outcome = crate::harness::finish(&mut command, b"{\"type\":\"STATE\",\"value\":\"\xff\"}\n");
    assert!(outcome.error().starts_with("line 1: it is not UTF-8 text (column 26)"), "{}", outcome.stderr);
}

#[test]
fn a_last_line_without_a_line_ending_is_handled_if_it_is_whole() {
    let sandbox = Sandbox::new();
    let whole = format!("{SCHEMA}\n{}{}", record(1), state(1));
    let outcome = sandbox.run(json!({}), whole.trim_end());
    assert_eq!(outcome.success().stdout, "{\"data\":1}\n");

    let outcome = sandbox.run(json!({}), &format!("{whole}{}", &record(2)[..30]));
    assert!(
        outcome.error().starts_with("line 4: the input ends in the middle of a message"),
        "{}",
        outcome.stderr
    );
    assert_eq!(outcome.stdout, "{\"data\":1}\n");
}

#[test]
fn odd_but_harmless_input_is_ignored_or_warned_about_once() {
    let sandbox = Sandbox::new();
    let schema = SCHEMA.replace(r#","key_properties":["id"]"#, "");
    let odd =
        "{\"type\":\"ACTIVATE_VERSION\",\"stream\":\"data\",\"version\":1}\n{\"type\":\"NEWS\"}\n\n   \r\n";
    let input = format!("\n{schema}\n{odd}{odd}{}{schema}\n{odd}{}", record(1), state(1));
    let outcome = sandbox.run(json!({}), &input);
    assert_eq!(outcome.success().stdout, "{\"data\":1}\n");
    for warning in
        ["ACTIVATE_VERSION messages are ignored", "unknown type \"NEWS\"", "\"data\" has no key_properties"]
    {
        assert_eq!(outcome.stderr.matches(warning).count(), 1, "{warning}:\n{}", outcome.stderr);
    }
    assert_eq!(sandbox.read("data.jsonl"), "{\"id\":1}\n");
}

#[test]
fn without_validate_records_only_the_key_is_checked() {
    let sandbox = Sandbox::new();
    let input = format!("{SCHEMA}\n{}", record(1).replace(":1}", ":\"one\",\"note\":[]}"));
    sandbox.run(json!({ "validate_records": false }), &input).success();
    assert_eq!(sandbox.read("data.jsonl"), "{\"id\":\"one\",\"note\":[]}\n");
    let outcome = sandbox.run(json!({ "validate_records": false }), &input.replace("\"id\":\"one\",", ""));
    assert!(outcome.error().contains("\"key_properties\""), "{}", outcome.stderr);
}

#[test]
fn a_changed_schema_applies_to_the_records_after_it() {
    let sandbox = Sandbox::new();
    let text = SCHEMA.replace("integer", "string");
    let input =
        format!("{SCHEMA}\n{}{text}\n{}{}", record(1), record(2).replace(":2}", ":\"2\"}"), record(3));
    let outcome = sandbox.run(json!({}), &input);
    assert!(outcome.error().starts_with("line 5: stream \"data\": field \"id\""), "{}", outcome.stderr);
    assert_eq!(sandbox.read("data.jsonl"), "{\"id\":1}\n{\"id\":\"2\"}\n");
}

/// Streams like those that the Meltano SDK tests targets with, and how many rows each leaves. `None`: the
/// target must fail.
#[test]
fn the_test_streams_of_the_meltano_sdk_are_stored_or_refused() {
    let cases = [
        ("record_before_schema", None),
        ("record_missing_key_property", None),
        ("record_missing_required_property", None),
        ("invalid_schema", None),
        ("pk_updates", Some(2)),
        ("array_data", Some(2)),
        ("encoded_strings", Some(4)),
        ("camelcase_complex_schema", Some(2)),
        ("special_chars_in_attributes", Some(1)),
        ("user_location_data", Some(3)),
        ("optional_attributes", Some(2)),
        ("schema_no_properties", Some(1)),
        ("schema_updates", Some(2)),
        ("string_formats", Some(1)),
        ("duplicate_records", Some(2)),
        ("no_primary_keys", Some(2)),
        ("stream_name_parts", Some(1)),
    ];
    let streams = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/target/streams");
    for (name, rows) in cases {
        let input = fs::read_to_string(streams.join(name).with_extension("singer")).expect(name);
        let sandbox = Sandbox::new();
        let outcome = sandbox.run(json!({}), &input);
        let Some(rows) = rows else {
            outcome.error();
            continue;
        };
        assert_eq!(outcome.code, 0, "{name}: {}", outcome.stderr);
        let stored: usize = sandbox.files().iter().map(|file| sandbox.read(file).lines().count()).sum();
        assert_eq!(stored, rows, "{name}");
    }
}
