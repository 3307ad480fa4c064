//! `send-test`: what Mailjet's "Send a test" button does.

use std::collections::BTreeSet;

use end_to_end::events::{DOCUMENTED_EVENTS, event_type};
use end_to_end::http::Endpoint;
use end_to_end::tap::{FinishedTap, Tap};

/// Runs `send-test`, which needs no configuration.
fn send_test(tap: &Tap, endpoint: &Endpoint, arguments: &[&str]) -> FinishedTap {
    tap.command(&["send-test", "--url", &endpoint.url()]).args(arguments).without_config().finish()
}

fn event_types(tap: &Tap) -> Vec<String> {
    tap.spool().events().iter().map(|event| event_type(&event.body)).collect()
}

#[test]
fn send_test_sends_every_event_type_and_each_is_accepted() {
    let tap = Tap::new();
    let running = tap.run().start();
    send_test(&tap, &running.endpoint(), &[]).assert_code(0);
    let sent: BTreeSet<_> = event_types(&tap).into_iter().collect();
    assert_eq!(sent, DOCUMENTED_EVENTS.map(event_type).into());
    let count = event_types(&tap).len();
    assert_eq!(running.wait_records(count).len(), count);
}

#[test]
fn send_test_sends_one_event_type_as_often_as_asked() {
    let tap = Tap::new();
    let listener = tap.listen().start();
    send_test(&tap, &listener.endpoint(), &["--event", "bounce", "--count", "3"]).assert_code(0);
    assert_eq!(event_types(&tap), ["bounce"; 3]);
}

#[test]
fn a_revoked_url_is_a_one_line_error() {
    let tap = Tap::new().with_created_urls();
    let created = tap.create_url();
    tap.url(&["revoke", "1"]).finish().assert_code(0);
    let listener = tap.listen().start();
    let finished = send_test(&tap, &listener.endpoint().with_path(&created.path), &[]);
    assert!(!finished.only_error().is_empty());
    assert!(finished.stdout.iter().all(|line| line.contains("404")), "{:?}", finished.stdout);
}

#[test]
fn an_unreachable_server_is_a_one_line_error() {
    let tap = Tap::new();
    let listener = tap.listen().start();
    let endpoint = listener.endpoint();
    listener.stop().assert_code(0);
    let finished = send_test(&tap, &endpoint, &[]);
    assert!(!finished.only_error().is_empty());
}
