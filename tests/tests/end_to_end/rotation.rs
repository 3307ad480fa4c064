//! A webhook URL is changed for another, as Mailjet and its user live through it.

use std::collections::{BTreeMap, VecDeque};

use end_to_end::events::{SEVEN, numbered};
use end_to_end::http::{Endpoint, free_address};
use end_to_end::tap::Tap;
use end_to_end::wait;

/// Mailjet, as far as it posts webhooks: one URL for each type of event, and what was not answered with 200 is repeated,
/// the same bytes to the same URL. That it would go to the new one is not documented, so it is not relied on.
struct Mailjet {
    urls: BTreeMap<usize, Endpoint>,
    waiting: VecDeque<(Endpoint, String)>,
    happened: u64,
    /// What was answered instead of 200; none where nothing answered.
    refused: Vec<Option<u16>>,
}

impl Mailjet {
    fn with(url: &Endpoint) -> Self {
        let urls = (0..SEVEN.len()).map(|event_type| (event_type, url.clone())).collect();
        Mailjet { urls, waiting: VecDeque::new(), happened: 0, refused: Vec::new() }
    }

    /// What "Event notifications" in the account settings does, for one type.
    fn register(&mut self, event_type: usize, url: &Endpoint) {
        self.urls.insert(event_type, url.clone());
    }

    /// An event of each type happens.
    fn happen(&mut self) {
        for url in self.urls.values() {
            self.happened += 1;
            self.waiting.push_back((url.clone(), numbered(self.happened)));
        }
    }

    /// Half a minute goes by: what waits is sent.
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
fn a_url_is_changed_for_another_and_nothing_is_missed() {
    let tap = Tap::new().with_minted_urls().set("listen_address", free_address().to_string());
    let row = |id: usize| {
        let listed = tap.url(&["list"]).finish().stdout;
        listed.into_iter().find(|line| line.starts_with(&id.to_string())).expect("it is listed")
    };
    let first = tap.mint();
    let listener = tap.listen().start();
    let _ = listener.endpoint();
    let mut mailjet = Mailjet::with(&first);
    mailjet.happen();
    mailjet.deliver();

    // The second is made beside the first, and taken within a second.
    let second = tap.mint();
    let _ = listener.program.stderr().wait_for("webhook URL 2 was made");
    for event_type in 0..4 {
        mailjet.register(event_type, &second);
        mailjet.happen();
        mailjet.deliver();
    }
    assert_eq!(mailjet.refused, []);

    // Whatever else happens: what could not be delivered is repeated, to either.
    listener.stop().assert_code(0);
    for event_type in 4..SEVEN.len() {
        mailjet.happen();
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

    // `url list` shows when nobody uses the first any more.
    let (of_first, of_second) = (row(1), row(2));
    assert!(!of_first.contains("never") && !of_second.contains("never"), "{of_first}, {of_second}");
    let listener = tap.listen().start();
    let _ = listener.endpoint();
    mailjet.happen();
    mailjet.deliver();
    wait::until("the use of the second is listed", || (row(2) != of_second).then_some(()));
    assert_eq!(row(1), of_first);

    tap.url(&["revoke", "1"]).finish().assert_code(0);
    let _ = listener.program.stderr().wait_for("webhook URL 1 was revoked");
    assert_eq!(first.post(numbered(0)).status, 404);
    mailjet.happen();
    mailjet.deliver();
    // There is room for the next change.
    let _ = tap.mint();

    assert_eq!(mailjet.refused.len(), unreachable, "nothing was refused");
    assert_eq!(mailjet.waiting.len(), 0);
    let mut kept: Vec<_> = tap.spool().events().into_iter().map(|event| event.body).collect();
    let mut happened: Vec<_> = (1..=mailjet.happened).map(numbered).collect();
    kept.sort_unstable();
    happened.sort_unstable();
    assert_eq!(kept, happened, "each once");
}
