//! Replacing a webhook URL by hand, including what Mailjet does meanwhile.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use end_to_end::events::DOCUMENTED_EVENTS;
use end_to_end::http::free_address;
use end_to_end::mailjet::{Account, EVENT_TYPES, Sender};
use end_to_end::program::Signal;
use end_to_end::tap::Tap;
use end_to_end::wait;

#[test]
fn a_webhook_url_can_be_replaced_by_hand_without_missing_an_event() {
    let tap = Tap::new().with_created_urls().set("listen_address", free_address().to_string());
    let row = |id: usize| {
        let listed = tap.url(&["list"]).finish().stdout;
        listed.into_iter().find(|line| line.starts_with(&id.to_string())).expect("the URL is listed")
    };
    let first = tap.create_url();
    let listener = tap.listen().start();
    let _ = listener.endpoint();
    let account = Account::default();
    let rows = EVENT_TYPES.map(|(event_type, _)| account.add(event_type, &first.url(), false));
    let mut sender = Sender::new(&account);
    sender.happen();

    // The second URL is created beside the first, and works within a second.
    let second = tap.create_url();
    let enter = |id| account.change(id, |row| row.url = second.url());
    for id in &rows[..4] {
        enter(*id);
        sender.happen();
    }
    assert_eq!(sender.refused, []);

    // Even if the listener is down meanwhile, what fails is repeated at either URL.
    listener.stop().assert_code(0);
    for id in &rows[4..] {
        sender.happen();
        enter(*id);
    }
    let unreachable = sender.refused.len();
    assert!(unreachable > 0 && sender.refused.iter().all(Option::is_none), "{:?}", sender.refused);
    let listener = tap.listen().start();
    let _ = listener.endpoint();
    sender.pass(30);
    assert_eq!(sender.waiting(), 0);
    listener.stop().assert_code(0);

    // `url list` shows that the first URL is no longer used.
    let (of_first, of_second) = (row(1), row(2));
    assert!(!of_first.contains("never") && !of_second.contains("never"), "{of_first}, {of_second}");
    let listener = tap.listen().start();
    let _ = listener.endpoint();
    sender.happen();
    wait::until("the list shows the use of the second URL", || (row(2) != of_second).then_some(()));
    assert_eq!(row(1), of_first);

    tap.url(&["revoke", "1"]).finish().assert_code(0);
    let _ = listener.program.stderr().wait_for("webhook URL 1 was revoked");
    assert_eq!(first.post(DOCUMENTED_EVENTS[0]).status, 404);
    sender.happen();
    // A further URL can be created now.
    let _ = tap.create_url();

    assert_eq!((sender.refused.len(), sender.waiting()), (unreachable, 0), "nothing was refused");
    let stored: Vec<_> =
        tap.spool().events().iter().filter_map(|event| Sender::number_of(&event.body)).collect();
    assert_eq!(stored.len(), sender.happened().len(), "each event exactly once");
    assert_eq!(stored.into_iter().collect::<BTreeSet<_>>(), sender.happened().into_iter().collect());
}

/// With `--when-unused`, the operator need not come back.
#[test]
fn a_url_that_is_to_be_revoked_when_unused_works_until_then() {
    let tap = Tap::new().with_created_urls().set("listen_address", free_address().to_string());
    let url = tap.create_url();
    let listener = tap.listen().start();
    let _ = listener.endpoint();
    tap.url(&["revoke", "1", "--when-unused", "0.0003"]).finish().assert_code(0);
    url.post_accepted(DOCUMENTED_EVENTS[0]);
    let _ = listener.program.stderr().wait_for("so it is now retired");
    wait::until("it is refused", || (url.post(DOCUMENTED_EVENTS[0]).status == 404).then_some(()));
    let unknown = tap.url(&["revoke", "1", "--when-unused", "1"]).finish();
    assert!(unknown.only_error().contains("no active webhook URL with id 1"));
    for wrong in ["-1", "x", "9999", "NaN"] {
        tap.url(&["revoke", "1", "--when-unused", wrong]).finish().assert_code(2);
    }
}

/// Mailjet repeats what is refused. Its URL must not retire meanwhile, whatever the reason was.
#[test]
fn a_refused_webhook_keeps_its_url_from_retiring() {
    let tap = Tap::new().with_created_urls().set("max_body_bytes", 10);
    let url = tap.create_url();
    let listener = tap.listen().start();
    let url = listener.endpoint().with_path(&url.path);
    tap.url(&["revoke", "1", "--when-unused", "0.0003"]).finish().assert_code(0);
    // The whole time is more than twice as long.
    let end = Instant::now() + Duration::from_secs(3);
    while Instant::now() < end {
        assert_eq!(url.post(DOCUMENTED_EVENTS[0]).status, 413);
    }
    assert_eq!(tap.url_ids(), ["1"]);
    let _ = listener.program.stderr().wait_for("so it is now retired");
}

/// A frozen process could not have accepted anything.
#[test]
fn time_in_which_the_process_was_stopped_does_not_count() {
    let tap = Tap::new().with_created_urls();
    let url = tap.create_url();
    let mut listener = tap.listen().start();
    let url = listener.endpoint().with_path(&url.path);
    tap.url(&["revoke", "1", "--when-unused", "0.0009"]).finish().assert_code(0);
    listener.program.signal(Signal::STOP);
    std::thread::sleep(Duration::from_secs(4));
    listener.program.signal(Signal::CONT);
    url.post_accepted("{}");
    let _ = listener.program.stderr().wait_for("so it is now retired");
}
