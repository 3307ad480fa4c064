//! `spool status`: the figures of the metrics for people, beside a running tap or without one.

use end_to_end::events::{SEVEN, numbered};
use end_to_end::message;
use end_to_end::metrics::Metrics;
use end_to_end::tap::Tap;
use serde_json::{Value, json};

fn status(tap: &Tap) -> Value {
    let finished = tap.launch(&["spool", "status", "--format", "json"]).finish();
    finished.assert_code(0);
    assert_eq!(finished.stderr, [""; 0]);
    message::value(&finished.stdout.join("\n"))
}

#[test]
fn without_a_spool_it_says_so_in_one_line_and_makes_none() {
    let tap = Tap::new();
    let finished = tap.launch(&["spool", "status"]).finish();
    assert!(finished.sole_error().contains("spool.db"), "{:?}", finished.stderr);
    assert_eq!(finished.stderr.len(), 1);
    assert!(!tap.spool().path.exists());
}

#[test]
fn it_tells_what_the_metrics_tell_beside_a_running_tap_and_without_one() {
    let tap = Tap::new().with_minted_urls().set("admin_address", "127.0.0.1:0");
    let endpoint_path = tap.mint().path;
    tap.append_state(0);
    let running = tap.run().state().start();
    let endpoint = running.endpoint().with_path(&endpoint_path);
    for number in 0..4 {
        endpoint.accept(numbered(number));
    }
    endpoint.accept("[1, 2]");
    let records = running.wait_records(4);
    let confirmed = records[1].sequence();
    tap.append_state(confirmed);
    let position = |value: f64| format!("{value}") == confirmed.to_string();
    let metrics = Metrics::wait(&running.admin(), "confirmed_position", position);

    let told = status(&tap);
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
        assert_eq!(told[key], metrics.count(series), "{key}: {told}");
    }
    assert_eq!(
        (&told["events"], &told["rejected"], &told["unconfirmed_events"]),
        (&json!(4), &json!(2), &json!(2))
    );
    let process = json!(running.program.id().to_string());
    assert_eq!((&told["listener"], &told["emitter"]), (&process, &process));
    assert_eq!(told["webhook_urls"], 1);
    assert!(told["written_through"].as_i64() >= Some(records[3].sequence()));
    assert!(told["oldest_unconfirmed_age_seconds"].as_f64() > Some(0.0));
    assert!(told["disk_free_bytes"].as_u64() > Some(0));

    running.stop().assert_code(0);
    let later = status(&tap);
    assert_eq!((&later["listener"], &later["emitter"]), (&Value::Null, &Value::Null));
    assert_eq!((&later["events"], &later["confirmed_through"]), (&json!(4), &json!(confirmed)));
    assert!(later["webhook_url_last_used_at"].is_string(), "{later}");
}

#[test]
fn for_people_each_figure_has_a_line() {
    let tap = Tap::new();
    tap.spool_bodies(SEVEN);
    let before = std::fs::read(tap.spool().path).expect("a file");
    let finished = tap.launch(&["spool", "status"]).finish();
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
    assert_eq!(std::fs::read(tap.spool().path).expect("a file"), before, "it writes nothing");
}

/// Whoever looks does not keep the others from their roles.
#[test]
fn looking_without_end_keeps_no_run_from_its_role() {
    let tap = Tap::new();
    tap.spool_bodies(SEVEN);
    let mut look = tap.launch(&["spool", "status"]).command();
    let looking = std::thread::spawn(move || {
        for _ in 0..50 {
            let output = look.output().expect("it starts");
            assert!(output.status.success(), "{output:?}");
        }
    });
    while !looking.is_finished() {
        tap.drain().finish().assert_code(0);
    }
    looking.join().expect("each look succeeds");
}
