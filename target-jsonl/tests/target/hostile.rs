//! Input that somebody wrote to do harm, and files that somebody put in the way.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::harness::{SCHEMA, Sandbox, record, state};

/// Each of thirty definitions refers to the next one twice.
#[test]
fn a_schema_whose_references_multiply_is_refused_and_what_came_before_is_stored() {
    let mut definitions = serde_json::Map::new();
    for level in 0..30 {
        let next = json!({"$ref": format!("#/definitions/d{}", level + 1)});
        definitions.insert(format!("d{level}"), json!({"allOf": [next, next]}));
    }
    definitions.insert("d30".to_owned(), json!({}));
    let schema: Value = json!({"type": "SCHEMA", "stream": "other", "key_properties": [], "schema": {
        "properties": {"a": {"$ref": "#/definitions/d0"}}, "definitions": definitions}});
    let sandbox = Sandbox::new();
    let outcome = sandbox.run(json!({}), &format!("{SCHEMA}\n{}{}{schema}\n", record(1), state(1)));
    assert!(outcome.error().contains("more than 1000000 parts once its references"), "{}", outcome.stderr);
    assert_eq!(
        (outcome.stdout.as_str(), sandbox.read("data.jsonl").as_str()),
        ("{\"data\":1}\n", "{\"id\":1}\n")
    );
}

/// Readers that end a line at a carriage return would see a row or a state that nobody wrote.
#[test]
fn a_carriage_return_between_the_parts_of_a_value_becomes_a_space() {
    let sandbox = Sandbox::new();
    let record =
        "{\"type\":\"RECORD\",\"stream\":\"data\",\"record\":{\"id\":\r1,\r\r\"x\":{\"id\":666}\r}}\r\n";
    let state = "{\"type\":\"STATE\",\"value\":{\"a\":\r{\"data\":1}}}\n";
    let outcome = sandbox.run(json!({}), &format!("{SCHEMA}\n{record}{state}"));
    assert_eq!(outcome.success().stdout, "{\"a\": {\"data\":1}}\n");
    assert_eq!(sandbox.read("data.jsonl"), "{\"id\": 1,  \"x\":{\"id\":666} }\n");
}

#[test]
fn messages_of_unknown_types_leave_a_bounded_log() {
    let sandbox = Sandbox::new();
    let long = format!("{{\"type\":\"{}\"}}\n", "t".repeat(5_000_000));
    let many: Vec<_> = (0..10_000).map(|number| format!("{{\"type\":\"t{number}\"}}\n")).collect();
    let outcome = sandbox.run(json!({}), &(long + &many.concat()));
    let log = &outcome.success().stderr;
    assert!(log.len() < 50_000 && log.contains("there are more warnings like these"), "{} bytes", log.len());
}

/// The tap wrote the name of the stream, and somebody else the link.
#[test]
fn a_link_at_the_destination_is_refused_and_not_touched() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("out")).expect("a directory");
    fs::write(sandbox.path("victim"), "somebody's unfinished line").expect("a file");
    symlink(sandbox.path("victim"), sandbox.path("out/data.jsonl")).expect("a link");
    let outcome = sandbox.run(json!({}), &format!("{SCHEMA}\n{}{}", record(1), state(1)));
    assert!(outcome.error().contains("data.jsonl is a symbolic link, to which"), "{}", outcome.stderr);
    assert_eq!(outcome.stdout, "");
    assert_eq!(fs::read_to_string(sandbox.path("victim")).expect("a file"), "somebody's unfinished line");
}
