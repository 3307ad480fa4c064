//! What can be done on the status page beside webhook URLs: registering with Mailjet, and sending a test.

use std::io::Write;
use std::net::TcpListener;
use std::thread;

use end_to_end::events::DOCUMENTED_EVENTS;
use end_to_end::http::{Endpoint, free_address};
use end_to_end::mailjet::{Api, Fault};
use end_to_end::page::PageClient;
use end_to_end::tap::{PASSWORD, Tap, USERNAME};
use end_to_end::tls::Certificate;
use end_to_end::wait;

use crate::mailjet::tap_of;

const FOREIGN: &str = "https://someone:hunter2@crm.example.com/hooks/hunter2hunter2hunter2";

fn with_page(tap: Tap) -> Tap {
    tap.set("admin_address", "127.0.0.1:0").set("admin_password", PASSWORD)
}

/// The text of a page, without its tags.
fn text_of(page: &str) -> String {
    let mut text = String::new();
    for piece in page.split('<') {
        text += piece.split_once('>').map_or(piece, |(_, after)| after);
        text.push(' ');
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The text of a section of the status page.
fn section(browser: &mut PageClient, id: &str) -> String {
    let page = browser.get("/").body;
    let (_, rest) = page.split_once(&format!("<section id=\"{id}\"")).expect("the section");
    text_of(rest.split_once("</section>").expect("its end").0)
}

#[test]
fn events_are_registered_after_a_look_at_what_changes_and_those_of_others_are_left_alone() {
    let api = Api::start();
    api.account.add("unsub", FOREIGN, false);
    let tap = with_page(tap_of(&api));
    let listener = tap.listen().start();
    let mut browser = PageClient::signed_in(&listener);
    let first = text_of(&browser.get("/").body);
    assert!(first.contains("Register with Mailjet. The tap makes a URL"), "{first}");
    let token = browser.form_token();

    let plan = browser.get("/mailjet/register");
    let text = text_of(&plan.body);
    assert!(text.contains("Register 6 events? This is what changes in Mailjet:"), "{text}");
    assert!(text.contains("open : not registered; it is added, with the new URL"), "{text}");
    assert!(text.contains("unsub : posts to another URL (https://crm.example.com/…) and is left alone"));
    assert!(!plan.body.contains("hunter2"), "{}", plan.body);
    assert_eq!((api.changes(), tap.url_ids().len()), (0, 0), "a look changes nothing");

    let registered = browser.post("/mailjet/register", &[("csrf", &token)]);
    assert_eq!((registered.status, registered.header("location")), (303, Some("/#mailjet")));
    let rows = api.account.rows();
    assert_eq!(rows.iter().filter(|row| row.url == FOREIGN).count(), 1);
    assert_eq!(rows.len(), 7);
    let shown = section(&mut browser, "mailjet");
    assert!(shown.contains("1 event is not as configured."), "{shown}");
    assert!(shown.contains("open this tap URL 1 alive grouped, primary"), "{shown}");
    assert!(
        shown.contains("unsub another URL https://crm.example.com/… alive, not ours single, primary"),
        "{shown}"
    );
    assert!(!shown.contains("hunter2"));
    assert!(text_of(&browser.get("/mailjet/register").body).contains("Nothing to register"));

    // What Mailjet posts arrives, and the token is shown to nobody.
    let path = Endpoint::parse(&api.account.url_of("open").expect("a URL")).path;
    listener.endpoint().with_path(&path).post_accepted(DOCUMENTED_EVENTS[0]);
    for page in ["/", "/mailjet/register"] {
        assert!(!browser.get(page).body.contains(path.rsplit('/').next().expect("a token")));
    }
    assert_eq!(browser.post("/mailjet/register", &[("csrf", "0")]).status, 403);
}

#[test]
fn a_suspended_event_is_seen_at_the_next_check_and_registered_again() {
    let api = Api::start();
    let tap = with_page(tap_of(&api));
    tap.command(&["mailjet", "register"]).finish().assert_code(0);
    let listener = tap.listen().start();
    let mut browser = PageClient::signed_in(&listener);
    let token = browser.form_token();
    assert!(section(&mut browser, "mailjet").contains("Not checked yet."));
    assert_eq!(browser.post("/mailjet/check", &[("csrf", &token)]).status, 303);
    let shown = section(&mut browser, "mailjet");
    assert!(shown.contains("Checked just now. Every event is registered as configured."), "{shown}");

    let row = &api.account.rows()[0];
    let path = Endpoint::parse(&row.url).path;
    listener.endpoint().with_path(&path).post_accepted(DOCUMENTED_EVENTS[0]);
    wait::until("the use is noted", || {
        browser.get("/").body.contains("Receiving, but nothing is confirmed.").then_some(())
    });
    api.account.change(row.id, |row| row.is_alive = false);
    let _ = browser.post("/mailjet/check", &[("csrf", &token)]);
    let page = text_of(&browser.get("/").body);
    let expected = format!("Receiving, but Mailjet has suspended the URL for {}.", row.event_type);
    assert!(page.contains(&expected), "{page}");
    let plan = text_of(&browser.get("/mailjet/register").body);
    assert!(plan.contains(&format!("{} : suspended; it gets the new URL", row.event_type)), "{plan}");
    assert_eq!(browser.post("/mailjet/register", &[("csrf", &token)]).status, 303);
    assert!(section(&mut browser, "mailjet").contains("Every event is registered as configured."));
    assert!(section(&mut browser, "urls").contains("retires after 1 day more without use"));
}

#[test]
fn a_failure_of_mailjet_is_said_and_nothing_is_lost() {
    let api = Api::start();
    let tap = with_page(tap_of(&api));
    let listener = tap.listen().start();
    let mut browser = PageClient::signed_in(&listener);
    let token = browser.form_token();
    api.fail_next("GET", [Fault::Answer(401, "")]);
    let _ = browser.post("/mailjet/check", &[("csrf", &token)]);
    let shown = section(&mut browser, "mailjet");
    assert!(shown.contains("The last check failed. Mailjet refuses the keys (401)"), "{shown}");
    let refusals = std::iter::repeat_n(Fault::Answer(400, "{}"), 30);
    api.fail_next("POST", std::iter::once(Fault::None).chain(refusals));
    let failed = browser.post("/mailjet/register", &[("csrf", &token)]);
    let text = text_of(&failed.body);
    assert_eq!(failed.status, 502);
    assert!(text.contains("Not everything is registered") && text.contains("Done: "), "{text}");
    // The same button finishes the work.
    api.clear_faults();
    assert_eq!(browser.post("/mailjet/register", &[("csrf", &token)]).status, 303);
    assert!(section(&mut browser, "mailjet").contains("Every event is registered as configured."));
}

#[test]
fn without_keys_or_an_address_the_page_says_what_is_missing() {
    let api = Api::start();
    let without_url = with_page(tap_of(&api)).set("public_url", serde_json::Value::Null);
    let listener = without_url.listen().start();
    let mut browser = PageClient::signed_in(&listener);
    assert!(section(&mut browser, "mailjet").contains("Set public_url to the address"));
    let token = browser.form_token();
    for reply in [browser.get("/mailjet/register"), browser.post("/mailjet/register", &[("csrf", &token)])] {
        assert_eq!(reply.status, 409);
    }
    let without_keys = with_page(Tap::new());
    let listener = without_keys.listen().start();
    let mut browser = PageClient::signed_in(&listener);
    assert!(section(&mut browser, "mailjet").contains("The tap has no Mailjet keys"));
    let token = browser.form_token();
    assert_eq!(browser.post("/mailjet/check", &[("csrf", &token)]).status, 409);
    assert_eq!(api.changes(), 0);
}

/// Sends a test, and returns what the page says about it.
fn send_test(browser: &mut PageClient) -> String {
    let token = browser.form_token();
    let sent = browser.post("/test", &[("csrf", &token), ("event", "bounce")]);
    assert_eq!((sent.status, sent.header("location")), (303, Some("/#test")), "{}", sent.body);
    section(browser, "test")
}

fn assert_accepted_and_stored(tap: &Tap, shown: &str) {
    assert!(shown.contains("bounce: 200 in ") && shown.contains("Accepted"), "{shown}");
    assert!(
        shown.contains("{&#34;accepted&#34;: 1}") && shown.contains("Show the item and its row"),
        "{shown}"
    );
    let stored = tap.spool().events();
    assert_eq!(stored.len(), 1);
    assert!(stored[0].body.contains("\"event\":\"bounce\"") && stored[0].body.contains("@example.com"));
}

#[test]
fn a_test_goes_through_the_public_url_with_its_credentials() {
    let address = free_address().to_string();
    let tap = with_page(Tap::new().with_created_urls())
        .set("listen_address", address.as_str())
        .set("public_url", format!("http://{address}"))
        .set("basic_auth_username", USERNAME)
        .set("basic_auth_password", PASSWORD);
    let running = tap.run().state().start();
    let mut browser = PageClient::signed_in(&running);
    let shown = send_test(&mut browser);
    assert_accepted_and_stored(&tap, &shown);
    assert!(!shown.contains("cannot be reached"), "{shown}");
    // The token of the test is worth nothing now, and a test is no post of Mailjet's.
    tap.url(&["new"]).finish().assert_code(0);
    wait::until("the headline", || {
        let page = browser.get("/").body;
        page.contains("Not receiving yet: Mailjet has not posted anything.").then_some(())
    });
    // How far the event has got is shown for as long as the result is.
    tap.append_state(tap.spool().events()[0].sequence);
    wait::until("it is confirmed", || {
        section(&mut browser, "test").contains("confirmed by the target").then_some(())
    });
    assert!(running.stop().stderr_contains("a test event (bounce) was sent on the status page"));
}

#[test]
fn a_test_goes_to_the_listen_address_if_the_public_url_cannot_be_reached() {
    let certificate = Certificate::new();
    let plain = with_page(Tap::new().with_created_urls());
    let with_tls = with_page(Tap::new().with_created_urls()).with_tls(&certificate);
    for tap in [plain, with_tls] {
        let unreachable = format!("http://{}", free_address());
        let listener = tap.listen().set("public_url", unreachable.as_str()).start();
        let mut browser = PageClient::signed_in(&listener);
        let shown = send_test(&mut browser);
        assert!(shown.contains(&format!("{unreachable} cannot be reached from here: ")), "{shown}");
        assert!(shown.contains("the same event was posted to the listen address"), "{shown}");
        assert_accepted_and_stored(&tap, &shown);
    }
}

#[test]
fn a_test_that_is_refused_says_why_and_what_answers_if_it_is_not_the_tap() {
    let full = with_page(Tap::new()).set("spool_max_bytes", 1);
    let listener = full.listen().start();
    let shown = send_test(&mut PageClient::signed_in(&listener));
    assert!(shown.contains("bounce: 503 in ") && shown.contains("Nothing was stored."), "{shown}");
    assert!(shown.contains("Refused: the spool is full"), "{shown}");

    let stranger = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", stranger.local_addr().expect("an address"));
    let answering = thread::spawn(move || {
        let (mut stream, _) = stranger.accept().expect("the post");
        // The whole request is read first, or closing the connection would be an error for its sender.
        let mut request = vec![0; 64 << 10];
        let mut length = 0;
        while !request[..length].ends_with(b"}") {
            length += std::io::Read::read(&mut stream, &mut request[length..]).expect("a request");
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n<b>hi\x07!\n").expect("an answer");
        String::from_utf8_lossy(&request[..length]).into_owned()
    });
    let tap = with_page(Tap::new());
    let listener = tap.listen().set("public_url", url.as_str()).start();
    let shown = send_test(&mut PageClient::signed_in(&listener));
    assert!(shown.contains(&format!("something else answers at {url}")), "{shown}");
    assert!(shown.contains("&#60;b&#62;hi U+0007 !"), "{shown}");
    // What the stranger has seen does not help it later.
    let request = answering.join().expect("it answers");
    let path = request.split_whitespace().nth(1).expect("a path").to_owned();
    assert_eq!(listener.endpoint().with_path(&path).post(DOCUMENTED_EVENTS[0]).status, 404);
    assert!(tap.spool().events().is_empty());
}
