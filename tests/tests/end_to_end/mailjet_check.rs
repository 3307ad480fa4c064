//! The check that a listener with keys repeats: what it logs and measures, and that it disturbs nothing.

use std::time::Duration;

use end_to_end::events::DOCUMENTED_EVENTS;
use end_to_end::http::Endpoint;
use end_to_end::mailjet::{Api, Fault, Sender};
use end_to_end::metrics::Metrics;
use end_to_end::tap::{RunningTap, Tap};

use super::mailjet::tap_of;

/// A tap whose listener checks several times a second.
fn checking(api: &Api) -> Tap {
    tap_of(api).set("mailjet_check_interval_seconds", 0.2).set("admin_address", "127.0.0.1:0")
}

fn register(tap: &Tap) {
    tap.command(&["mailjet", "register"]).finish().assert_code(0);
}

/// How often the listener has logged something.
fn times(listener: &RunningTap, pattern: &str) -> usize {
    listener.program.stderr().so_far().iter().filter(|line| line.contains(pattern)).count()
}

/// Waits until `count` more checks have begun.
fn wait_checks(api: &Api, count: usize) {
    let before = api.calls().len();
    end_to_end::wait::until("more checks", || (api.calls().len() >= before + count).then_some(()));
}

#[test]
fn each_finding_is_logged_once_and_measured_until_it_is_gone() {
    let api = Api::start();
    let tap = checking(&api);
    let listener = tap.listen().start();
    let admin = listener.admin();
    let log = listener.program.stderr();
    let missing = log.wait_for("no URL is registered");
    assert!(missing.contains("ERROR") && missing.contains("mailjet register"), "{missing}");
    register(&tap);
    let _ = log.wait_for("Mailjet posts every event of mailjet_events here");
    let series = |name: &str, event: &str| format!("mailjet_webhook_{name}{{event=\"{event}\"}}");
    let metrics = Metrics::wait_until(&admin, &series("alive", "open"), |alive| alive > 0.5);
    assert_eq!(metrics.get(&series("registered", "spam")), Some(1.0));
    assert!(metrics.get("mailjet_webhook_last_check_seconds").is_some_and(|time| time > 1.7e9));

    let row = api.account.rows()[1].clone();
    api.account.change(row.id, |row| row.is_alive = false);
    let suspended = log.wait_for("has suspended");
    assert!(suspended.contains("Mailjet, open:") && suspended.contains("`mailjet register`"), "{suspended}");
    let metrics = Metrics::wait_until(&admin, &series("alive", "open"), |alive| alive < 0.5);
    assert_eq!(metrics.get(&series("registered", "open")), Some(1.0));
    assert_eq!(metrics.get(&series("alive", "spam")), Some(1.0));
    // Somebody else takes an event away.
    api.account.change(api.account.rows()[5].id, |row| "https://other.example.com/".clone_into(&mut row.url));
    let _ = log.wait_for("another URL is registered");
    Metrics::wait_until(&admin, &series("registered", "spam"), |registered| registered < 0.5);
    wait_checks(&api, 3);
    assert_eq!((times(&listener, "has suspended"), times(&listener, "another URL")), (1, 1));
    assert_eq!(admin.with_path("/readyz").request("GET").status, 200);

    tap.command(&["mailjet", "register", "--replace"]).finish().assert_code(0);
    Metrics::wait_until(&admin, &series("alive", "open"), |alive| alive > 0.5);
    listener.program.stderr().wait("the good news twice", |lines| {
        let good = lines.iter().filter(|line| line.contains("Mailjet posts every event"));
        (good.count() == 2).then_some(())
    });
    listener.stop().assert_code(0);
}

#[test]
fn a_check_that_fails_is_logged_once_and_disturbs_nothing() {
    let api = Api::start();
    let tap = checking(&api);
    register(&tap);
    let url = Endpoint::parse(&api.account.url_of("open").expect("a URL"));
    api.fail_next("GET", vec![Fault::Answer(401, ""); 1]);
    let listener = tap.listen().start();
    let failed = listener.program.stderr().wait_for("cannot check the registration");
    assert!(failed.contains("mailjet_secret_key"), "{failed}");
    url.post_accepted(DOCUMENTED_EVENTS[0]);
    let _ = listener.program.stderr().wait_for("can be checked again");

    // An API that never answers holds up neither webhooks nor the end.
    api.fail_next("GET", [Fault::Slow(Duration::from_secs(3600))]);
    wait_checks(&api, 1);
    let mut sender = Sender::new(&api.account);
    sender.happen();
    assert_eq!((sender.refused.len(), sender.waiting()), (0, 0));
    assert_eq!(listener.admin().with_path("/readyz").request("GET").status, 200);
    listener.stop().assert_code(0);
}

#[test]
fn without_keys_or_with_interval_0_nothing_is_checked() {
    let api = Api::start();
    let tap = tap_of(&api).set("admin_address", "127.0.0.1:0");
    register(&tap);
    let calls = api.calls().len();
    let listener = tap.listen().start();
    let metrics = Metrics::fetch(&listener.admin());
    assert!(!metrics.text.contains("mailjet_webhook_registered"));
    listener.stop().assert_code(0);
    assert_eq!(api.calls().len(), calls);
    let half = tap.listen().set("mailjet_secret_key", serde_json::Value::Null).finish();
    assert!(half.only_error().contains("mailjet_secret_key"));
}
