//! `send-test`: what Mailjet's "Send a test" button does.

use std::collections::BTreeSet;
use std::io::Read;
use std::net::TcpListener;

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

/// A proxy or firewall in front of the tap sees what it will see of Mailjet.
#[test]
fn with_like_mailjet_the_posts_look_like_those_of_mailjet() {
    let tap = Tap::new();
    let server = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/v1/mailjet/x", server.local_addr().expect("an address"));
    let arguments = ["send-test", "--like-mailjet", "--event", "open", "--url", &url];
    let sending = tap.command(&arguments).without_config().start();
    let (mut connection, _) = server.accept().expect("a connection");
    let mut request = Vec::new();
    while !request.ends_with(b"}") {
        let mut bytes = [0; 4096];
        let length = connection.read(&mut bytes).expect("a request");
        request.extend_from_slice(&bytes[..length]);
    }
    let request = String::from_utf8(request).expect("text");
    let (head, body) = request.split_once("\r\n\r\n").expect("a body");
    let head = head.to_lowercase();
    assert!(head.contains("\r\nuser-agent: go-http-client/2.0"), "{head}");
    assert!(head.contains("\r\ncontent-type: application/json"), "{head}");
    assert!(!head.contains("\r\naccept: ") && !head.contains("ureq"), "{head}");
    assert!(
        body.contains(r#""event":"open""#) && body.contains(r#""MessageID":19421777396190490,"#),
        "{body}"
    );
    drop(connection);
    drop(server);
    sending.finish().assert_code(1);
}

#[test]
fn with_like_mailjet_every_event_is_accepted_singly_and_in_a_group() {
    let tap = Tap::new();
    let running = tap.run().start();
    let sent = send_test(&tap, &running.endpoint(), &["--like-mailjet"]);
    sent.assert_code(0);
    let last = sent.stdout.last().expect("a line");
    assert!(last.starts_with("group") && last.contains(r#"{"accepted": 7}"#), "{last}");
    let types: BTreeSet<_> = event_types(&tap).into_iter().collect();
    assert_eq!((event_types(&tap).len(), types), (14, DOCUMENTED_EVENTS.map(event_type).into()));
    assert_eq!(running.wait_records(14).len(), 14);
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
