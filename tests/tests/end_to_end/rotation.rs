//! Replacing a webhook URL, including what Mailjet and the user do meanwhile.

use std::collections::{BTreeMap, VecDeque};

use end_to_end::events::{DOCUMENTED_EVENTS, numbered_event};
use end_to_end::http::{Endpoint, free_address};
use end_to_end::tap::Tap;
use end_to_end::wait;

/// The part of Mailjet that posts webhooks: one URL for each type of event. It retries what is not answered
/// with 200: the same bytes to the same URL. Mailjet does not document that retries go to a new URL, so the
/// test does not rely on it.
struct Mailjet {
    urls: BTreeMap<usize, Endpoint>,
    waiting: VecDeque<(Endpoint, String)>,
    /// How many events have happened so far.
    created: u64,
    /// The answers other than 200; `None` if there was no answer.
    refused: Vec<Option<u16>>,
}

impl Mailjet {
    fn new(url: &Endpoint) -> Self {
        let urls = (0..DOCUMENTED_EVENTS.len()).map(|event_type| (event_type, url.clone())).collect();
        Mailjet { urls, waiting: VecDeque::new(), created: 0, refused: Vec::new() }
    }

    /// What "Event notifications" in the account settings does, for one event type.
    fn register(&mut self, event_type: usize, url: &Endpoint) {
        self.urls.insert(event_type, url.clone());
    }

    /// Lets an event of each type happen.
    fn create_events(&mut self) {
        for url in self.urls.values() {
            self.created += 1;
            self.waiting.push_back((url.clone(), numbered_event(self.created)));
        }
    }

    /// Lets half a minute pass: Mailjet sends what is waiting.
    fn deliver(&mut self) {
        for (url, body) in std::mem::take(&mut self.waiting) {
            let mut connection = url.try_connect();
            let reply = connection.as_mut().map(|client| client.post(&url.path, &body));
            let status = reply.ok().and_then(Result::ok).map(|reply| reply.status);
            if status != Some(200) {
                self.refused.push(status);
                self.waiting.push_back((url, body));
            }
        }
    }
}

#[test]
fn a_webhook_url_can_be_replaced_without_missing_an_event() {
    let tap = Tap::new().with_created_urls().set("listen_address", free_address().to_string());
    let row = |id: usize| {
        let listed = tap.url(&["list"]).finish().stdout;
        listed.into_iter().find(|line| line.starts_with(&id.to_string())).expect("the URL is listed")
    };
    let first = tap.create_url();
    let listener = tap.listen().start();
    let _ = listener.endpoint();
    let mut mailjet = Mailjet::new(&first);
    mailjet.create_events();
    mailjet.deliver();

    // The second URL is created beside the first, and works within a second.
    let second = tap.create_url();
    let _ = listener.program.stderr().wait_for("webhook URL 2 was created");
    for event_type in 0..4 {
        mailjet.register(event_type, &second);
        mailjet.create_events();
        mailjet.deliver();
    }
    assert_eq!(mailjet.refused, []);

    // Even if the listener is down meanwhile, failed deliveries are retried at either URL.
    listener.stop().assert_code(0);
    for event_type in 4..DOCUMENTED_EVENTS.len() {
        mailjet.create_events();
        mailjet.deliver();
        mailjet.register(event_type, &second);
    }
    let unreachable = mailjet.refused.len();
    assert!(unreachable > 0 && mailjet.refused.iter().all(Option::is_none), "{:?}", mailjet.refused);
    let listener = tap.listen().start();
    let _ = listener.endpoint();
    mailjet.deliver();
    assert_eq!(mailjet.waiting.len(), 0);
    listener.stop().assert_code(0);

    // `url list` shows that the first URL is no longer used.
    let (of_first, of_second) = (row(1), row(2));
    assert!(!of_first.contains("never") && !of_second.contains("never"), "{of_first}, {of_second}");
    let listener = tap.listen().start();
    let _ = listener.endpoint();
    mailjet.create_events();
    mailjet.deliver();
    wait::until("the list shows the use of the second URL", || (row(2) != of_second).then_some(()));
    assert_eq!(row(1), of_first);

    tap.url(&["revoke", "1"]).finish().assert_code(0);
    let _ = listener.program.stderr().wait_for("webhook URL 1 was revoked");
    assert_eq!(first.post(numbered_event(0)).status, 404);
    mailjet.create_events();
    mailjet.deliver();
    // A further URL can be created now.
    let _ = tap.create_url();

    assert_eq!(mailjet.refused.len(), unreachable, "nothing was refused");
    assert_eq!(mailjet.waiting.len(), 0);
    let mut stored: Vec<_> = tap.spool().events().into_iter().map(|event| event.body).collect();
    let mut created: Vec<_> = (1..=mailjet.created).map(numbered_event).collect();
    stored.sort_unstable();
    created.sort_unstable();
    assert_eq!(stored, created, "each event exactly once");
}
