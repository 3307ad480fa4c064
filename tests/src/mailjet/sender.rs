//! The servers that post webhooks, on a virtual clock.

use std::collections::BTreeMap;

use super::{Account, EVENT_TYPES, Row};
use crate::http::Endpoint;

/// Seconds between two attempts.
const REPEAT_AFTER: u64 = 30;
/// Seconds after the first failure when Mailjet gives up.
const GIVE_UP_AFTER: u64 = 24 * 3600;

/// Posts the events that happen to the URLs of an account.
#[derive(Debug)]
pub struct Sender {
    account: Account,
    /// Seconds on the virtual clock.
    now: u64,
    waiting: Vec<Delivery>,
    /// Events that have happened and were not posted yet, by their type.
    new: Vec<(&'static str, u64)>,
    happened: u64,
    /// The bodies that were answered with 200.
    pub delivered: Vec<String>,
    /// The numbers of the events that nothing will post any more.
    pub lost: Vec<u64>,
    /// The answers other than 200; `None` if there was no answer.
    pub refused: Vec<Option<u16>>,
}

/// A request that has to be repeated until it is answered with 200.
#[derive(Debug)]
struct Delivery {
    url: String,
    body: String,
    events: Vec<(&'static str, u64)>,
    failing_since: Option<u64>,
    next_at: u64,
}

impl Sender {
    /// A sender for an account.
    #[must_use]
    pub fn new(account: &Account) -> Self {
        Sender {
            account: account.clone(),
            now: 1_795_000_000,
            waiting: Vec::new(),
            new: Vec::new(),
            happened: 0,
            delivered: Vec::new(),
            lost: Vec::new(),
            refused: Vec::new(),
        }
    }

    /// Lets an event of each type happen, and posts what is due.
    pub fn happen(&mut self) {
        for (event_type, _) in EVENT_TYPES {
            self.happened += 1;
            self.new.push((event_type, self.happened));
        }
        self.post_due();
    }

    /// Lets time pass, and posts what becomes due.
    pub fn pass(&mut self, seconds: u64) {
        let end = self.now + seconds;
        while self.now < end {
            self.now = (self.now + REPEAT_AFTER).min(end);
            self.post_due();
        }
    }

    /// How many requests wait to be repeated.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The numbers of all events that have happened.
    #[must_use]
    pub fn happened(&self) -> Vec<u64> {
        (1..=self.happened).collect()
    }

    /// The number of an event that was posted.
    #[must_use]
    pub fn number_of(body: &str) -> Option<u64> {
        let (_, rest) = body.split_once("\"CustomID\":\"n-")?;
        rest.split('"').next()?.parse().ok()
    }

    fn body(&self, event_type: &str, number: u64) -> String {
        let time = self.now;
        format!(
            r#"{{"event":"{event_type}","time":{time},"MessageID":{},"CustomID":"n-{number}"}}"#,
            576_460_779_645_400_000 + number
        )
    }

    /// Makes requests of the new events: one each, or one for all that go to the same URL in a group.
    fn enqueue(&mut self) {
        let mut groups: BTreeMap<String, Vec<(&'static str, u64)>> = BTreeMap::new();
        for (event_type, number) in std::mem::take(&mut self.new) {
            let Some(row) = self.row_for(event_type) else {
                self.lost.push(number);
                continue;
            };
            if row.version == 2 {
                groups.entry(row.url).or_default().push((event_type, number));
            } else {
                let body = self.body(event_type, number);
                self.enqueue_one(row.url, body, vec![(event_type, number)]);
            }
        }
        for (url, events) in groups {
            let bodies: Vec<_> = events.iter().map(|(name, number)| self.body(name, *number)).collect();
            self.enqueue_one(url, format!("[{}]", bodies.join(",")), events);
        }
    }

    fn enqueue_one(&mut self, url: String, body: String, events: Vec<(&'static str, u64)>) {
        self.waiting.push(Delivery { url, body, events, failing_since: None, next_at: self.now });
    }

    /// The primary row of a type or, if that is suspended, the backup.
    fn row_for(&self, event_type: &str) -> Option<Row> {
        let rows = self.account.rows();
        let mut alive = rows.into_iter().filter(|row| row.event_type == event_type && row.is_alive);
        let first = alive.next()?;
        let second = alive.next();
        if first.is_backup { second.or(Some(first)) } else { Some(first) }
    }

    fn post_due(&mut self) {
        self.enqueue();
        // The last ones first: order is not promised.
        for mut delivery in std::mem::take(&mut self.waiting).into_iter().rev() {
            if delivery.next_at > self.now {
                self.waiting.push(delivery);
                continue;
            }
            let status = post(&delivery.url, &delivery.body);
            if status == Some(200) {
                self.delivered.push(delivery.body);
                continue;
            }
            self.refused.push(status);
            let since = *delivery.failing_since.get_or_insert(self.now);
            if self.now - since < GIVE_UP_AFTER {
                delivery.next_at = self.now + REPEAT_AFTER;
                self.waiting.push(delivery);
            } else {
                self.suspend(&delivery);
            }
        }
    }

    /// Gives up on a request, and suspends its URL for the types of its events.
    fn suspend(&mut self, delivery: &Delivery) {
        for (event_type, number) in &delivery.events {
            self.lost.push(*number);
            let rows = self.account.rows();
            let is_it = |row: &&Row| row.event_type == *event_type && row.url == delivery.url;
            for row in rows.iter().filter(is_it) {
                self.account.change(row.id, |row| row.is_alive = false);
            }
        }
    }
}

/// Posts a body with HTTP/1.1. Returns the status; `None` if there is no answer.
fn post(url: &str, body: &str) -> Option<u16> {
    let (scheme, rest) = url.split_once("://").expect("a URL");
    let (credentials, rest) = match rest.split_once('@') {
        Some((credentials, rest)) => (Some(credentials), rest),
        None => (None, rest),
    };
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.parse::<std::net::SocketAddr>().is_err() {
        // A name of the documentation, at which nobody listens.
        return None;
    }
    let endpoint = Endpoint::parse(&format!("{}://{rest}", scheme.to_lowercase()));
    let mut client = endpoint.try_connect().ok()?;
    let authorization = match credentials {
        Some(_) => format!("Authorization: {}\r\n", crate::tap::BASIC_AUTHORIZATION),
        None => String::new(),
    };
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: Go-http-client/2.0\r\nContent-Type: \
         application/json\r\n{authorization}Content-Length: {}\r\n\r\n",
        endpoint.path,
        body.len()
    );
    client.try_send(head + body).ok()?;
    client.try_reply().ok().map(|reply| reply.status)
}
