//! Arguments, configuration and exit codes.

use end_to_end::events::{DOCUMENTED_EVENTS, numbered_event};
use end_to_end::tap::{FinishedTap, TOKEN, Tap};

const CATALOG: &str = include_str!("../../../catalog/catalog.json");

#[test]
fn version_and_help_need_no_configuration() {
    let tap = Tap::new();
    let version = tap.command(&["--version"]).without_config().finish();
    version.assert_code(0);
    assert_eq!(version.stdout, [format!("tap-mailjet-webhooks {}", env!("CARGO_PKG_VERSION"))]);

    let help = tap.command(&["--help"]).without_config().finish();
    help.assert_code(0);
    let text = help.stdout.join("\n");
    for word in ["listen", "url", "send-test", "--config", "--state", "--discover"] {
        assert!(text.contains(word), "{word} is missing:\n{text}");
    }
    for finished in [version, help] {
        assert_eq!(finished.stderr, [""; 0]);
    }
    assert!(!tap.spool().path.exists());
}

#[test]
fn about_prints_three_formats() {
    let tap = Tap::new();
    // It wins over every other argument and reads no file.
    let about = |format: &str| {
        tap.command(&["--about", "--format", format, "--discover", "--config", "missing.json"])
            .without_config()
            .finish()
    };
    for format in ["text", "json", "markdown"] {
        let finished = about(format);
        finished.assert_code(0);
        assert_eq!(finished.stderr, [""; 0]);
    }
    let json: serde_json::Value = serde_json::from_str(&about("json").stdout.join("\n")).expect("JSON");
    assert_eq!(json["name"], "tap-mailjet-webhooks");
    for secret in ["webhook_tokens", "basic_auth_username", "basic_auth_password"] {
        assert_eq!(json["settings"]["properties"][secret]["secret"], true, "{secret}");
    }
    assert_eq!(json["settings"]["properties"]["max_body_bytes"]["default"], 20_000_000);
    let capabilities: Vec<_> = json["capabilities"].as_array().expect("a list").iter().collect();
    for capability in ["about", "catalog", "discover", "state", "structured-logging", "test"] {
        assert!(capabilities.contains(&&serde_json::json!(capability)), "{capabilities:?}");
    }
    assert!(!tap.spool().path.exists());
}

/// As Meltano starts a plugin that declares structured logging.
#[test]
fn with_meltanos_logging_configuration_every_log_line_is_json() {
    let tap = Tap::new();
    tap.spool_bodies(DOCUMENTED_EVENTS);
    let config = tap.folder().join("logging.json");
    let text = r#"{"version": 1, "formatters": {"default": {"()": "singer_sdk.logging.StructuredFormatter"}},
        "root": {"level": "INFO", "handlers": ["console"]}}"#;
    std::fs::write(&config, text).expect("a file");
    let variable = ("SINGER_SDK_LOG_CONFIG", config.to_str().expect("text"));
    let lines = |finished: &FinishedTap| -> Vec<serde_json::Value> {
        finished.stderr.iter().map(|line| serde_json::from_str(line).expect(line)).collect()
    };
    let drained = tap.drain().env(variable.0, variable.1).finish();
    drained.assert_code(0);
    let metric = lines(&drained).into_iter().find(|line| line["message"] == "METRIC").expect("a measurement");
    assert_eq!(metric["metric_info"]["metric"], "record_count");
    assert_eq!((&metric["level"], &metric["app_name"]), (&"info".into(), &"tap-mailjet-webhooks".into()));

    std::fs::write(tap.state_file(), "not a state\n").expect("a file");
    let failed = tap.drain().state().env(variable.0, variable.1).finish();
    failed.assert_code(1);
    let last = lines(&failed).pop().expect("an error");
    assert_eq!(last["level"], "error");
    assert!(last["message"].as_str().is_some_and(|message| message.contains("state.json")), "{last}");
}

/// As Singer schedulers parse it.
#[test]
fn measurements_are_logged_in_singers_format() {
    let tap = Tap::new();
    tap.spool_bodies(DOCUMENTED_EVENTS);
    let drained = tap.drain().finish();
    let metrics: Vec<serde_json::Value> = drained
        .stderr
        .iter()
        .filter_map(|line| line.split_once("INFO METRIC: "))
        .map(|(_, point)| serde_json::from_str(point).expect(point))
        .collect();
    let [count, duration] = &metrics[..] else { panic!("{:?}", drained.stderr) };
    let expected = serde_json::json!({
        "type": "counter",
        "metric": "record_count",
        "value": DOCUMENTED_EVENTS.len(),
        "tags": {"endpoint": "data"},
    });
    assert_eq!(count, &expected);
    assert_eq!((&duration["type"], &duration["metric"]), (&"timer".into(), &"job_duration".into()));
    assert_eq!(duration["tags"], serde_json::json!({"job_type": "drain", "status": "succeeded"}));
}

#[test]
fn discover_prints_the_catalog_with_or_without_a_configuration() {
    let tap = Tap::new();
    let cases = [
        tap.command(&["--discover"]).without_config(),
        tap.command(&["--discover"]),
        tap.command(&["--discover"]).set("sequence_unit", "nanosecond").state(),
        tap.command(&["--state", "missing.json", "--discover"]),
    ];
    for command in cases {
        let finished = command.finish();
        finished.assert_code(0);
        assert_eq!(finished.stdout.join("\n") + "\n", CATALOG);
    }
    assert!(!tap.spool().path.exists(), "discovery creates no spool");
}

#[test]
fn discover_reports_an_unknown_key_and_a_foreign_database() {
    let tap = Tap::new();
    let discover = || tap.command(&["--discover"]).set("listen_adress", "127.0.0.1:1").finish();
    let odd_key = discover();
    odd_key.assert_code(0);
    assert!(odd_key.stderr_contains("listen_adress"), "{:?}", odd_key.stderr);
    let other = rusqlite::Connection::open(tap.spool().path).expect("a database");
    other.execute_batch("CREATE TABLE t (a)").expect("a table");
    let foreign = discover();
    assert!(foreign.only_error().contains("this file is not a spool"), "{:?}", foreign.stderr);
    assert_eq!(foreign.stdout, [""; 0]);
}

/// Meltano runs discovery before each run, even while a service uses the same spool.
#[test]
fn discover_and_version_work_beside_a_running_tap() {
    let tap = Tap::new();
    let running = tap.run().start();
    running.endpoint().post_accepted(DOCUMENTED_EVENTS[0]);
    let discovered = tap.command(&["--discover"]).finish();
    discovered.assert_code(0);
    assert_eq!(discovered.stdout.join("\n") + "\n", CATALOG);
    tap.command(&["--version"]).finish().assert_code(0);
    running.endpoint().post_accepted(DOCUMENTED_EVENTS[1]);
}

#[test]
fn config_env_reads_the_environment() {
    let tap = Tap::new();
    let spool = tap.folder().join("from-env.db");
    let running = tap
        .command(&["--config", "ENV"])
        .without_config()
        .env("TAP_MAILJET_WEBHOOKS_SPOOL_PATH", spool.to_str().expect("a temporary path is text"))
        .env("TAP_MAILJET_WEBHOOKS_LISTEN_ADDRESS", "127.0.0.1:0")
        .env("TAP_MAILJET_WEBHOOKS_ADMIN_ADDRESS", "off")
        .env("TAP_MAILJET_WEBHOOKS_WEBHOOK_TOKENS", TOKEN)
        .env("TAP_MAILJET_WEBHOOKS_MIN_FREE_BYTES", "0")
        .start();
    running.endpoint().post_accepted(DOCUMENTED_EVENTS[0]);
    running.stop().assert_code(0);
    assert!(spool.exists());

    // The environment wins over the files, wherever ENV stands.
    for arguments in [&["--config", "ENV"][..], &[]] {
        let drained =
            tap.drain().args(arguments).env("TAP_MAILJET_WEBHOOKS_SPOOL_PATH", spool.to_str().expect("text"));
        let drained = drained.finish();
        drained.assert_code(0);
        assert_eq!(drained.records().len(), usize::from(!arguments.is_empty()), "{arguments:?}");
    }
}

#[test]
fn later_config_files_win_key_by_key() {
    let tap = Tap::new();
    let first = tap.folder().join("first.json");
    std::fs::write(&first, r#"{"mode": "continuous", "listen_address": "nonsense"}"#).expect("a file");
    // The harness adds its own --config last: it sets the mode and another address.
    let finished = tap.command(&["--config", first.to_str().expect("text")]).set("mode", "drain").finish();
    finished.assert_code(0);
    let last = tap.folder().join("last.json");
    std::fs::write(&last, r#"{"sequence_unit": "nanosecond"}"#).expect("a file");
    tap.spool_bodies([numbered_event(1).as_str()]);
    tap.command(&["--config", last.to_str().expect("text")]).set("mode", "drain").finish().assert_code(0);
}

#[test]
fn an_unknown_key_is_a_warning() {
    let finished = Tap::new().drain().set("listen_adress", "127.0.0.1:1").finish();
    finished.assert_code(0);
    assert!(finished.stderr.iter().any(|line| line.contains("WARN") && line.contains("listen_adress")));
}

#[test]
fn a_bad_value_is_an_error_that_names_the_key_the_value_and_valid_ones() {
    let cases = [
        ("mode", "sideways", &["mode", "sideways", "continuous", "drain"][..]),
        ("listen_address", "nonsense", &["listen_address", "nonsense"]),
        ("admin_address", "8481", &["admin_address", "8481", "off"]),
        ("max_body_bytes", "many", &["max_body_bytes", "many", "integer"]),
        ("header_timeout_seconds", "1e30", &["header_timeout_seconds", "number", "86400"]),
        ("sequence_unit", "second", &["sequence_unit", "second", "millisecond", "nanosecond"]),
        ("log_level", "loud", &["log_level", "loud", "info"]),
        ("spool_path", "", &["spool_path", "does not name a file"]),
        ("spool_path", "/var/lib/", &["spool_path", "/var/lib/", "does not name a file"]),
    ];
    for (key, value, words) in cases {
        let finished = Tap::new().drain().set(key, value).finish();
        let error = finished.only_error();
        assert_eq!(finished.stderr.len(), 1, "{:?}", finished.stderr);
        for word in words {
            assert!(error.contains(word), "{word} is missing: {error}");
        }
        assert_eq!(finished.stdout, [""; 0]);
    }
}

#[test]
fn a_bad_token_is_an_error_that_does_not_show_it() {
    for tokens in [vec!["hunter2"], vec![TOKEN, "hunter2"], vec![TOKEN, TOKEN, TOKEN]] {
        let finished = Tap::new().drain().set("webhook_tokens", tokens).finish();
        let error = finished.only_error();
        assert!(error.contains("webhook_tokens") && !error.contains("hunter2"), "{error}");
    }
}

#[test]
fn an_unreadable_config_is_a_one_line_error() {
    let tap = Tap::new();
    std::fs::write(tap.folder().join("torn.json"), "{").expect("a file");
    for name in ["missing.json", "torn.json"] {
        let finished = tap.command(&["--config", name]).without_config().finish();
        assert!(finished.only_error().contains(name), "{:?}", finished.stderr);
        assert_eq!(finished.stderr.len(), 1, "{:?}", finished.stderr);
    }
}

#[test]
fn wrong_usage_exits_with_code_2() {
    let tap = Tap::new();
    let without_config: [&[&str]; 5] =
        [&[], &["listen"], &["url", "new"], &["url", "list"], &["spool", "status"]];
    let with_config: [&[&str]; 9] = [
        &["spool"],
        &["spool", "status", "--format", "xml"],
        &["--nonsense"],
        &["nonsense"],
        &["url"],
        &["url", "nonsense"],
        &["url", "revoke"],
        &["send-test", "--event", "nonsense", "--url", "http://127.0.0.1:1/"],
        &["--catalog"],
    ];
    let without_config = without_config.map(|arguments| tap.command(arguments).without_config().finish());
    let with_config = with_config.map(|arguments| tap.command(arguments).finish());
    let finished: Vec<FinishedTap> = without_config.into_iter().chain(with_config).collect();
    for finished in finished {
        finished.assert_code(2);
        assert_eq!(finished.stdout, [""; 0]);
        assert!(!finished.stderr.is_empty());
    }
    assert!(!tap.spool().path.exists());
}

#[test]
fn a_spool_that_cannot_be_created_is_a_one_line_error() {
    let tap = Tap::new();
    std::fs::write(tap.folder().join("file"), "").expect("a file");
    let path = tap.folder().join("file/spool.db");
    for command in [tap.drain(), tap.listen()] {
        let finished = command.set("spool_path", path.to_str()).finish();
        assert!(finished.only_error().contains("spool.db"), "{:?}", finished.stderr);
    }
}

#[test]
fn a_file_that_is_not_a_spool_is_refused_and_left_unchanged() {
    let tap = Tap::new();
    std::fs::write(tap.spool().path, "x".repeat(5000)).expect("a file");
    assert!(tap.drain().finish().only_error().contains("spool.db"));
    assert_eq!(std::fs::read(tap.spool().path).expect("it is still there"), "x".repeat(5000).as_bytes());
}

/// Those of Singer's reference argument parser.
#[test]
fn the_short_options_of_singer_work() {
    let tap = Tap::new();
    tap.spool_bodies([r#"{"event":"open"}"#]);
    let config = tap.folder().join("tap.json");
    std::fs::write(&config, serde_json::json!({"spool_path": "spool.db", "mode": "drain"}).to_string())
        .expect("a file");
    let run = |arguments: &[&str]| {
        let config = ["-c", config.to_str().expect("text")];
        tap.command(&[&config, arguments].concat()).without_config().finish()
    };
    let catalog = run(&["-d"]);
    catalog.assert_code(0);
    std::fs::write(tap.folder().join("catalog.json"), catalog.stdout.join("\n")).expect("a file");
    std::fs::write(tap.folder().join("none.json"), r#"{"streams":[]}"#).expect("a file");
    let drained = run(&["-s", "state.jsonl", "-p", "catalog.json"]);
    drained.assert_code(0);
    assert_eq!(drained.records().len(), 1);
    let both = run(&["--properties", "none.json", "--catalog", "catalog.json"]);
    both.assert_code(0);
    assert_eq!(both.records().len(), 1, "--catalog wins");
    assert!(both.stderr_contains("--properties none.json is ignored"), "{:?}", both.stderr);
}

/// As Meltano gives settings, and as people leave them.
#[test]
fn settings_may_be_text_or_empty() {
    let tap = Tap::new().set("max_connections", "8").set("idle_exit_seconds", "");
    let tap = tap.set("allowed_networks", "127.0.0.1, 192.0.2.0/24").set("confirm_without_state", "True");
    let listener = tap.listen().start();
    listener.endpoint().post_accepted("{}");
    listener.stop().assert_code(0);
    let wrong = tap.listen().set("max_connections", "many").finish();
    assert!(wrong.only_error().contains("\"max_connections\"") && wrong.only_error().contains("\"many\""));
}
