//! `spool status`: the same figures as the metrics, readable for people, with or without a running tap.

use end_to_end::events::{DOCUMENTED_EVENTS, numbered_event};
use end_to_end::message;
use end_to_end::metrics::Metrics;
use end_to_end::tap::Tap;
use serde_json::{Value, json};

fn status(tap: &Tap) -> Value {
    let finished = tap.command(&["spool", "status", "--format", "json"]).finish();
    finished.assert_code(0);
    assert_eq!(finished.stderr, [""; 0]);
    message::value(&finished.stdout.join("\n"))
}

#[test]
fn a_missing_spool_is_a_one_line_error_and_none_is_created() {
    let tap = Tap::new();
    let finished = tap.command(&["spool", "status"]).finish();
    assert!(finished.only_error().contains("spool.db"), "{:?}", finished.stderr);
    assert_eq!(finished.stderr.len(), 1);
    assert!(!tap.spool().path.exists());
}

#[test]
fn the_status_matches_the_metrics_with_and_without_a_running_tap() {
    let tap = Tap::new().with_created_urls().set("admin_address", "127.0.0.1:0");
    let endpoint_path = tap.create_url().path;
    tap.append_state(0);
    let running = tap.run().state().start();
    let endpoint = running.endpoint().with_path(&endpoint_path);
    for number in 0..4 {
        endpoint.post_accepted(numbered_event(number));
    }
    endpoint.post_accepted("[1, 2]");
    let records = running.wait_records(4);
    let confirmed = records[1].sequence();
    tap.append_state(confirmed);
    let position = |value: f64| format!("{value}") == confirmed.to_string();
    let metrics = Metrics::wait_until(&running.admin(), "confirmed_position", position);

    let shown = status(&tap);
    let same = [
        ("events", "spool_events"),
        ("rejected", "spool_rejected"),
        ("unconfirmed_events", "spool_unconfirmed_events"),
        ("used_bytes", "spool_used_bytes"),
        ("free_bytes", "spool_free_bytes"),
        ("committed_through", "committed_position"),
        ("confirmed_through", "confirmed_position"),
    ];
    for (key, series) in same {
        assert_eq!(shown[key], metrics.count(series), "{key}: {shown}");
    }
    assert_eq!(
        (&shown["events"], &shown["rejected"], &shown["unconfirmed_events"]),
        (&json!(4), &json!(1), &json!(2))
    );
    // A process on another machine is named with its machine.
    let process = running.program.id().to_string();
    for role in ["listener", "emitter"] {
        let holder = shown[role].as_str().and_then(|holder| holder.split_whitespace().next());
        assert_eq!(holder, Some(&*process), "{shown}");
    }
    assert_eq!(shown["webhook_urls"], 1);
    assert!(shown["written_through"].as_i64() >= Some(records[3].sequence()));
    assert!(shown["oldest_unconfirmed_age_seconds"].as_f64() > Some(0.0));
    assert_eq!(shown["disk_free_bytes"].as_u64() > Some(0), !tap.spool().is_in_postgres(), "{shown}");

    running.stop().assert_code(0);
    let later = status(&tap);
    assert_eq!((&later["listener"], &later["emitter"]), (&Value::Null, &Value::Null));
    assert_eq!((&later["events"], &later["confirmed_through"]), (&json!(4), &json!(confirmed)));
    assert!(later["webhook_url_last_used_at"].is_string(), "{later}");
}

#[test]
fn the_text_format_has_a_line_for_each_figure() {
    let tap = Tap::new();
    tap.spool_bodies(DOCUMENTED_EVENTS);
    let before = std::fs::read(tap.spool().path).expect("a file");
    let finished = tap.command(&["spool", "status"]).finish();
    finished.assert_code(0);
    let text = finished.stdout.join("\n");
    for line in [
        "events                7 (",
        "unconfirmed events    7 (",
        "rejected items        0",
        "emitter               none",
        "webhook URLs          1 (given by webhook_tokens)",
    ] {
        assert!(text.contains(line), "{line} is missing:\n{text}");
    }
    assert_eq!(std::fs::read(tap.spool().path).expect("a file"), before, "the spool is unchanged");
}

/// Reading the status must never prevent another process from taking its role.
#[test]
fn repeated_status_commands_do_not_prevent_a_drain() {
    let tap = Tap::new();
    tap.spool_bodies(DOCUMENTED_EVENTS);
    let mut status_command = tap.command(&["spool", "status"]).into_command();
    let statuses = std::thread::spawn(move || {
        for _ in 0..50 {
            let output = status_command.output().expect("the command starts");
            assert!(output.status.success(), "{output:?}");
        }
    });
    while !statuses.is_finished() {
        tap.drain().finish().assert_code(0);
    }
    statuses.join().expect("each command succeeds");
}
