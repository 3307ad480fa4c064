use std::fs;
use std::process::Command;

use serde_json::json;

use crate::harness::{SCHEMA, Sandbox, record, start, state};

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

/// The disk is full, or fails when the file is synced.
#[test]
fn a_state_does_not_cover_records_that_cannot_be_written_or_synced() {
    // Makes calls on one file fail; the end-to-end tests have it for the spool.
    let library = tempfile::tempdir().expect("a folder");
    let path = |name: &str| library.path().join(name);
    fs::write(path("faults.c"), include_str!("../../../tests/src/faults.c")).expect("a file");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(path("faults.so")).arg(path("faults.c"));
    if !compiler.status().is_ok_and(|status| status.success()) {
        eprintln!("skipped: cc cannot build the library that makes calls fail");
        return;
    }
    for (call, errno, expected) in [
        ("write", 28, "data.jsonl cannot be written: No space left"),
        ("sync", 5, "data.jsonl cannot be synced to disk: Input/output error"),
    ] {
        let sandbox = Sandbox::new();
        fs::create_dir(sandbox.path("out")).expect("a directory");
        fs::write(path("plan"), format!("{call} . {errno} 1000\n")).expect("a plan");
        let mut command = sandbox.command(json!({}));
        let file = sandbox.path("out").canonicalize().expect("a directory").join("data.jsonl");
        command
            .env("LD_PRELOAD", path("faults.so"))
            .env("FAULTS_FILES", file)
            .env("FAULTS_PLAN", path("plan"));
        let mut target = start(&mut command);
        target.write(&format!("{SCHEMA}\n{}{}", record(1), state(1)));
        // The run ends at once, although the input is still open.
        let stdin = target.stdin.take();
        let outcome = target.wait();
        drop(stdin);
        assert!(outcome.error().contains(expected), "{}", outcome.stderr);
        assert_eq!(outcome.stdout, "", "{call}");
    }
}

#[test]
fn a_last_line_that_only_lacks_its_line_ending_is_completed() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("out")).expect("a directory");
    fs::write(sandbox.path("out/data.jsonl"), "{\"id\":1}\n{\"id\":2}").expect("a file");
    let outcome = sandbox.run(json!({}), &format!("{SCHEMA}\n{}", record(3)));
    assert!(outcome.success().stderr.contains("lacked its line ending"), "{}", outcome.stderr);
    assert_eq!(sandbox.read("data.jsonl"), "{\"id\":1}\n{\"id\":2}\n{\"id\":3}\n");
}

/// Log rotation, or somebody who puts a file away.
#[test]
fn a_file_that_is_renamed_is_followed_by_a_new_one() {
    let sandbox = Sandbox::new();
    let mut target = sandbox.start(json!({ "state_interval_seconds": 0 }));
    target.write(&format!("{SCHEMA}\n{}{}", record(1), state(1)));
    assert_eq!(target.line(), "{\"data\":1}\n");
    fs::rename(sandbox.path("out/data.jsonl"), sandbox.path("out/old.jsonl")).expect("a rename");
    target.write(&(record(2) + &state(2)));
    assert_eq!(target.line(), "{\"data\":2}\n");
    drop(target.stdin.take());
    let outcome = target.wait();
    assert!(outcome.success().stderr.contains("was renamed or replaced"), "{}", outcome.stderr);
    assert_eq!(
        (sandbox.read("old.jsonl").as_str(), sandbox.read("data.jsonl").as_str()),
        ("{\"id\":1}\n", "{\"id\":2}\n")
    );
}

/// No STATE may cover rows that went with their file.
#[test]
fn a_file_that_is_deleted_with_rows_that_no_state_covers_ends_the_run() {
    let sandbox = Sandbox::new();
    let mut target = sandbox.start(json!({ "state_interval_seconds": 86_400 }));
    target.write(&format!("{SCHEMA}\n{}{}", record(1), state(1)));
    assert_eq!(target.line(), "{\"data\":1}\n");
    target.write(&record(2));
    crate::harness::wait_until(|| sandbox.read("data.jsonl").lines().count() == 2);
    fs::remove_file(sandbox.path("out/data.jsonl")).expect("the file");
    target.write(&state(2));
    drop(target.stdin.take());
    let outcome = target.wait();
    assert!(outcome.error().contains("was deleted while it was written"), "{}", outcome.stderr);
    assert_eq!(outcome.stdout, "");
}

/// Node, for one, makes the pipes that it hands to a program non-blocking.
#[test]
fn streams_that_do_not_block_are_waited_for() {
    use rustix::fs::{OFlags, fcntl_setfl};
    use std::io::Write as _;
    use std::process::Stdio;
    let sandbox = Sandbox::new();
    let (stdin, mut input) = std::io::pipe().expect("a pipe");
    let (mut output, stdout) = std::io::pipe().expect("a pipe");
    for end in [std::os::fd::AsFd::as_fd(&stdin), std::os::fd::AsFd::as_fd(&stdout)] {
        fcntl_setfl(end, OFlags::NONBLOCK).expect("a flag");
    }
    let mut command = sandbox.command(json!({ "state_interval_seconds": 0 }));
    let mut child =
        command.stdin(stdin).stdout(stdout).stderr(Stdio::null()).spawn().expect("the binary starts");
    drop(command);
    let long = "x".repeat(300_000);
    let line = |n: u32| format!("{{\"type\":\"STATE\",\"value\":{{\"n\":{n},\"x\":\"{long}\"}}}}\n");
    let states = [0, 1, 2].map(line).concat();
    let writing = std::thread::spawn(move || {
        writeln!(input, "{SCHEMA}").expect("the target reads");
        for id in 0..1000 {
            input.write_all(record(id).as_bytes()).expect("the target reads");
        }
        input.write_all(states.as_bytes()).expect("the target reads");
    });
    let mut printed = String::new();
    std::io::Read::read_to_string(&mut output, &mut printed).expect("text");
    writing.join().expect("everything is written");
    assert!(child.wait().expect("the run ends").success());
    assert!(printed.lines().last().is_some_and(|line| line.contains("\"n\":2") && line.len() > long.len()));
    assert_eq!(sandbox.read("data.jsonl").lines().count(), 1000);
}

#[test]
fn a_byte_order_mark_is_skipped_in_the_input_and_in_the_configuration() {
    let sandbox = Sandbox::new();
    let config = json!({ "destination_path": sandbox.path("out") });
    fs::write(sandbox.path("bom.json"), format!("\u{feff}{config}")).expect("a file");
    let mut command = crate::harness::bare_command(&sandbox.path("."));
    command.args(["-c", "bom.json"]);
    let outcome =
        crate::harness::finish(&mut command, format!("\u{feff}{SCHEMA}\r\n{}", record(1)).as_bytes());
    outcome.success();
    assert_eq!(sandbox.read("data.jsonl"), "{\"id\":1}\n");
}

/// Other taps' schemas.
#[test]
fn date_times_and_decimals_of_other_taps_are_accepted() {
    let sandbox = Sandbox::new();
    let schema = json!({"type": "SCHEMA", "stream": "s", "key_properties": [], "schema": {"properties": {
        "at": {"type": "string", "format": "date-time"}, "price": {"type": "number", "multipleOf": 0.01},
    }}});
    let row = |row: &str| format!("{{\"type\":\"RECORD\",\"stream\":\"s\",\"record\":{row}}}\n");
    let rows = [
        r#"{"at":"2024-01-02T03:04:05","price":19.99}"#,
        r#"{"at":"2024-01-02 03:04:05","price":0.30}"#,
        r#"{"at":"2024-01-02T03:04:05+0000","price":4.02}"#,
        r#"{"at":"2024-01-02","price":1e2}"#,
    ];
    let input = format!("{schema}\n{}", rows.map(row).concat());
    sandbox.run(json!({}), &input).success();
    assert_eq!(sandbox.read("s.jsonl"), rows.join("\n") + "\n");
    for (wrong, rule) in
        [(r#"{"at":"soon"}"#, "\"validate_records\" to false"), (r#"{"price":0.005}"#, "multiple")]
    {
        let outcome = sandbox.run(json!({}), &format!("{schema}\n{}", row(wrong)));
        assert!(outcome.error().contains(rule), "{}", outcome.stderr);
    }
}
