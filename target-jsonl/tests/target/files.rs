use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;

use crate::harness::{SCHEMA, Sandbox, record, state};

#[test]
fn a_record_is_copied_byte_for_byte() {
    let records = [
        r#"{"MessageID":576460779645409236,"price":1.10,"big":123456789012345678901234567890,"tiny":1E-400}"#,
        r#"{"z":1,"a":2,"nested":{"z":[1.0,2.50],"a":{}}}"#,
        r#"{ "spaced" : [ 1 , 2 ] , "tab":	true }"#,
        r#"{"text":"chaîne 简单 😀 απλή","escaped":"\u006D\u0101 \"q\" \\ \/ \n\t \u0000 \ud83d\ude00"}"#,
        r#"{"twice":1,"twice":2}"#,
        "{}",
    ];
    let sandbox = Sandbox::new();
    let mut lines = vec![
        r#"{"type":"SCHEMA","stream":"data","schema":{"properties":{}},"key_properties":[]}"#.to_owned(),
    ];
    for (at, record) in records.iter().enumerate() {
        // Neither the record's position in its message nor the line ending matters.
        lines.push(match at % 3 {
            0 => format!(r#"{{"type":"RECORD","stream":"data","record":{record}}}"#),
            1 => format!("{{\"record\": {record} ,\"stream\":\"data\",\"type\":\"RECORD\"}}\r"),
            _ => format!(r#"  {{"type":"RECORD","version":1,"record":{record},"stream":"data"}}"#),
        });
    }
    let input = lines.join("\n");
    sandbox.run(json!({}), &input).success();
    assert_eq!(sandbox.read("data.jsonl"), records.join("\n") + "\n");
}

#[test]
fn a_record_larger_than_every_buffer_is_copied_whole() {
    let sandbox = Sandbox::new();
    let note = "é".repeat(12 << 20);
    let record = format!(r#"{{"id":1,"note":"{note}"}}"#);
    let input =
        format!("{SCHEMA}\n{{\"type\":\"RECORD\",\"stream\":\"data\",\"record\":{record}}}\n{}", state(1));
    assert_eq!(sandbox.run(json!({}), &input).success().stdout, "{\"data\":1}\n");
    assert!(sandbox.read("data.jsonl") == format!("{record}\n"));
}

#[test]
fn each_stream_has_its_own_file_and_each_run_appends() {
    let sandbox = Sandbox::new();
    let click = SCHEMA.replace("\"data\"", "\"click\"");
    let input = format!(
        "{SCHEMA}\n{click}\n{}{}{}",
        record(1),
        record(2).replace("\"data\"", "\"click\""),
        record(3)
    );
    let outcome = sandbox.run(json!({}), &input);
    assert!(outcome.success().stderr.contains("2 records of stream \"data\" stored"), "{}", outcome.stderr);
    sandbox.run(json!({}), &input).success();
    assert_eq!(sandbox.files(), ["click.jsonl", "data.jsonl"]);
    assert_eq!(sandbox.read("data.jsonl"), "{\"id\":1}\n{\"id\":3}\n{\"id\":1}\n{\"id\":3}\n");
    assert_eq!(sandbox.read("click.jsonl"), "{\"id\":2}\n{\"id\":2}\n");
}

#[test]
fn interleaved_streams_keep_their_order() {
    let sandbox = Sandbox::new();
    let mut input = String::new();
    let schema = |stream: usize| SCHEMA.replace("\"data\"", &format!("\"s{stream}\""));
    for stream in 0..50 {
        input += &(schema(stream) + "\n");
    }
    for id in 0..20_000 {
        input += &record(id).replace("\"data\"", &format!("\"s{}\"", id % 50));
    }
    sandbox.run(json!({}), &input).success();
    for stream in 0..50 {
        let expected: Vec<_> = (0..400).map(|n| format!("{{\"id\":{}}}", n * 50 + stream)).collect();
        assert_eq!(sandbox.read(&format!("s{stream}.jsonl")), expected.join("\n") + "\n");
    }
}

#[test]
fn missing_directories_are_created() {
    let sandbox = Sandbox::new();
    sandbox.run(json!({ "destination_path": "a/b/c" }), &format!("{SCHEMA}\n{}", record(1))).success();
    assert_eq!(fs::read_to_string(sandbox.path("a/b/c/data.jsonl")).expect("a file"), "{\"id\":1}\n");
}

#[test]
fn custom_name_puts_all_streams_into_one_file() {
    let sandbox = Sandbox::new();
    // Even a stream whose own name cannot be a file name.
    let click = SCHEMA.replace("\"data\"", "\"../click\"");
    let input = format!(
        "{SCHEMA}\n{}{click}\n{}{}",
        record(1),
        record(2).replace("\"data\"", "\"../click\""),
        record(3)
    );
    sandbox.run(json!({ "custom_name": "all" }), &input).success();
    assert_eq!(sandbox.files(), ["all.jsonl"]);
    assert_eq!(sandbox.read("all.jsonl"), "{\"id\":1}\n{\"id\":2}\n{\"id\":3}\n");
}

#[test]
fn do_timestamp_file_adds_the_start_time() {
    let sandbox = Sandbox::new();
    sandbox.run(json!({ "do_timestamp_file": true }), &format!("{SCHEMA}\n{}", record(1))).success();
    let files = sandbox.files();
    let [name] = &files[..] else { panic!("{files:?}") };
    let time = name.strip_prefix("data-").and_then(|rest| rest.strip_suffix(".jsonl")).expect("data-….jsonl");
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "00000000T000000", "{name}");
}

#[test]
fn a_torn_last_line_is_cut_off_before_appending() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("out")).expect("a directory");
    fs::write(sandbox.path("out/data.jsonl"), "{\"id\":1}\n{\"id\":2,\"no").expect("a file");
    let outcome = sandbox.run(json!({}), &format!("{SCHEMA}\n{}", record(2)));
    assert!(outcome.success().stderr.contains("its last 11 bytes are cut off"), "{}", outcome.stderr);
    assert_eq!(sandbox.read("data.jsonl"), "{\"id\":1}\n{\"id\":2}\n");
}

#[test]
fn a_file_has_one_writer_at_a_time() {
    let sandbox = Sandbox::new();
    let mut first = sandbox.start(json!({}));
    first.write(&format!("{SCHEMA}\n{}{}", record(1), state(1)));
    assert_eq!(first.line(), "{\"data\":1}\n");
    let second = sandbox.run(json!({}), &format!("{SCHEMA}\n{}{}", record(2), state(2)));
    assert!(
        second.error().contains("data.jsonl is being written by another process; wait until"),
        "{}",
        second.stderr
    );
    assert_eq!(second.stdout, "");
    drop(first.stdin.take());
    assert_eq!(first.wait().code, 0);
    assert_eq!(sandbox.read("data.jsonl"), "{\"id\":1}\n");
}

/// The file is a device: one that is always full, and one that can be written but not synced.
#[test]
fn a_state_does_not_cover_records_that_cannot_be_written_or_synced() {
    for (device, expected) in [
        ("/dev/full", "data.jsonl cannot be written: No space left"),
        ("/dev/null", "data.jsonl cannot be synced to disk: "),
    ] {
        let sandbox = Sandbox::new();
        fs::create_dir(sandbox.path("out")).expect("a directory");
        symlink(device, sandbox.path("out/data.jsonl")).expect("a link");
        let mut target = sandbox.start(json!({}));
        target.write(&format!("{SCHEMA}\n{}{}", record(1), state(1)));
        // The run ends at once, although the input is still open.
        let stdin = target.stdin.take();
        let outcome = target.wait();
        drop(stdin);
        assert!(outcome.error().contains(expected), "{}", outcome.stderr);
        assert_eq!(outcome.stdout, "", "{device}");
    }
}
