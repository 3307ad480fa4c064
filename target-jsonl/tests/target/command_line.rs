use std::fs;

use serde_json::{Value, json};

use crate::harness::{SCHEMA, Sandbox, bare_command, finish, record, state};

#[test]
fn the_target_runs_without_a_configuration() {
    let sandbox = Sandbox::new();
    let input = format!("{SCHEMA}\n{}{}", record(1), state(1));
    let directory = sandbox.path(".");
    let outcome = finish(&mut bare_command(&directory), input.as_bytes());
    assert_eq!(outcome.success().stdout, "{\"data\":1}\n");
    assert_eq!(fs::read_to_string(sandbox.path("data.jsonl")).expect("a file"), "{\"id\":1}\n");
}

#[test]
fn later_config_files_override_earlier_ones_and_the_environment_overrides_all() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path("a.json"), r#"{"destination_path": "a", "custom_name": "from-a"}"#)
        .expect("a file");
    fs::write(sandbox.path("b.json"), r#"{"destination_path": "b"}"#).expect("a file");
    let input = format!("{SCHEMA}\n{}", record(1));
    let mut command = bare_command(&sandbox.path("."));
    command.args(["--config", "a.json", "--config", "b.json"]);
    finish(&mut command, input.as_bytes()).success();
    assert!(sandbox.path("b/from-a.jsonl").exists());

    let mut command = bare_command(&sandbox.path("."));
    command.args(["--config", "ENV", "--config", "a.json"]).env("TARGET_JSONL_DESTINATION_PATH", "c");
    finish(&mut command, input.as_bytes()).success();
    assert!(sandbox.path("c/from-a.jsonl").exists());

    // Without the word ENV, the environment is ignored.
    let mut command = bare_command(&sandbox.path("."));
    command.args(["--config", "a.json"]).env("TARGET_JSONL_DESTINATION_PATH", "d");
    finish(&mut command, input.as_bytes()).success();
    assert!(!sandbox.path("d").exists());
}

#[test]
fn input_reads_the_messages_from_a_file() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path("input.singer"), format!("{SCHEMA}\n{}{}", record(1), state(1))).expect("a file");
    let mut command = sandbox.command(json!({}));
    command.args(["--input", "input.singer"]);
    assert_eq!(finish(&mut command, b"").success().stdout, "{\"data\":1}\n");
    assert_eq!(sandbox.read("data.jsonl"), "{\"id\":1}\n");

    let mut command = sandbox.command(json!({}));
    command.args(["--input", "missing.singer"]);
    let outcome = finish(&mut command, b"");
    assert!(
        outcome.error().starts_with("input file missing.singer cannot be opened: "),
        "{}",
        outcome.stderr
    );
}

#[test]
fn a_bad_configuration_is_an_error_in_one_line_and_exit_code_1() {
    let sandbox = Sandbox::new();
    let cases = [
        ("{", "is not JSON ("),
        ("[]", "it holds a list; a config file holds one JSON object"),
        (
            r#"{"validate_records": "maybe"}"#,
            "config key \"validate_records\" (from config.json) is \"maybe\": ",
        ),
        (r#"{"state_interval_seconds": -1}"#, "It takes a number of at least 0"),
        (
            r#"{"custom_name": "a/b"}"#,
            "is \"a/b\": a file name cannot contain '/'. It takes text: a file name without",
        ),
        (r#"{"log_level": "loud"}"#, "off, error, warning, info, debug or trace"),
        (r#"{"destination_path": "config.json"}"#, "config.json cannot be created: not a directory"),
    ];
    for (config, expected) in cases {
        fs::write(sandbox.path("config.json"), config).expect("a file");
        let outcome = finish(bare_command(&sandbox.path(".")).args(["--config", "config.json"]), b"");
        assert!(outcome.error().contains(expected), "{}\nlacks: {expected}", outcome.stderr);
    }
    let outcome = finish(bare_command(&sandbox.path(".")).args(["--config", "missing.json"]), b"");
    assert!(outcome.error().starts_with("config file missing.json cannot be read: "), "{}", outcome.stderr);
}

#[test]
fn an_unknown_key_is_a_warning() {
    let sandbox = Sandbox::new();
    let outcome = sandbox.run(json!({ "destinaton_path": "typo" }), "");
    assert!(outcome.success().stderr.contains("config key \"destinaton_path\""), "{}", outcome.stderr);
}

#[test]
fn wrong_usage_exits_with_code_2() {
    let sandbox = Sandbox::new();
    for arguments in [&["--bogus"][..], &["--config"], &["--about", "--format", "xml"], &["stray"]] {
        let outcome = finish(bare_command(&sandbox.path(".")).args(arguments), b"");
        assert_eq!((outcome.code, outcome.stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(outcome.stderr.contains("try '--help'"), "{}", outcome.stderr);
    }
}

#[test]
fn about_version_and_help_print_to_stdout_and_read_no_configuration() {
    let sandbox = Sandbox::new();
    let ask = |arguments: &[&str]| {
        let outcome =
            finish(bare_command(&sandbox.path(".")).args(["--config", "missing.json"]).args(arguments), b"");
        assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{arguments:?}");
        outcome.stdout
    };
    assert_eq!(ask(&["--version"]), format!("target-jsonl {}\n", env!("CARGO_PKG_VERSION")));
    assert!(ask(&["--help"]).contains("--config <FILE|ENV>"));
    assert!(ask(&["--about"]).contains("destination_path"));
    assert!(
        ask(&["--about", "--format", "markdown"])
            .contains("- `destination_path` (string, default `\".\"`): ")
    );
    let about: Value = serde_json::from_str(&ask(&["--about", "--format", "json"])).expect("JSON");
    assert_eq!(about["name"], "target-jsonl");
    assert_eq!(about["settings"]["properties"]["validate_records"]["default"], true);
}
