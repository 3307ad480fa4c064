//! What comes and goes: counted where it happens, with atomics, and told elsewhere (metrics, readiness, the live line).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::event_type::Tally;
use super::refusal::Refusal;
use crate::spool::Receipt;

/// How a request ended: the class of its status, and what it came to. No part of it is a client's to choose.
pub type Answer = [(&'static str, &'static str); 2];
/// One of [`Tally::names`].
pub type TypeLabel = [(&'static str, &'static str); 1];

/// What a listener has seen. Clones count together.
#[derive(Debug, Clone)]
pub struct Traffic {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Whether the listener has been closed.
    is_closed: AtomicBool,
    connections: AtomicUsize,
    /// Requests that are being answered: at most one of each connection.
    requests: AtomicUsize,
    answers: Family<Answer, Counter>,
    /// The one answer of nearly every request, found once.
    accepted: Counter,
    events: Family<TypeLabel, Counter>,
    /// The same counters, in the order of [`Tally::names`].
    by_type: [Counter; Tally::TYPES],
    rejected: Counter,
    started: Instant,
    /// When an event was last acknowledged.
    last_event: Last,
    /// When anything was, events or not.
    last_arrival: Last,
}

/// When something last happened: milliseconds since the start, plus one; 0 if it never did.
#[derive(Debug, Default)]
struct Last(AtomicU64);

impl Last {
    fn is_now(&self, started: Instant) {
        let millis = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.0.store(millis + 1, Ordering::Relaxed);
    }

    fn ago(&self, started: Instant) -> Option<Duration> {
        let millis = self.0.load(Ordering::Relaxed).checked_sub(1)?;
        Some(started.elapsed().saturating_sub(Duration::from_millis(millis)))
    }
}

impl Default for Traffic {
    fn default() -> Self {
        let (answers, events) =
            (Family::<Answer, Counter>::default(), Family::<TypeLabel, Counter>::default());
        let accepted = answers.get_or_create_owned(&[("class", "2xx"), ("outcome", "accepted")]);
        let by_type = Tally::names().map(|name| events.get_or_create_owned(&[("event", name)]));
        let shared = Shared {
            is_closed: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            answers,
            accepted,
            events,
            by_type,
            rejected: Counter::default(),
            started: Instant::now(),
            last_event: Last::default(),
            last_arrival: Last::default(),
        };
        Traffic { shared: Arc::new(shared) }
    }
}

impl Traffic {
    /// Counts a request whose events, as `tally` has them, are on disk.
    pub(super) fn accepted(&self, receipt: Receipt, tally: &Tally) {
        self.shared.accepted.inc();
        self.kept(receipt);
        if receipt.accepted == 0 {
            return;
        }
        for (counter, count) in self.shared.by_type.iter().zip(tally.counts()).filter(|(_, count)| *count > 0)
        {
            counter.inc_by(count);
        }
        self.shared.last_event.is_now(self.shared.started);
    }

    /// Counts what is on disk and is no event.
    pub(super) fn kept(&self, receipt: Receipt) {
        self.shared.rejected.inc_by(receipt.rejected as u64);
        self.shared.last_arrival.is_now(self.shared.started);
    }

    /// Counts a request that was refused.
    pub(super) fn refused(&self, refusal: &Refusal) {
        let class = match refusal.status().as_u16() {
            500.. => "5xx",
            _ => "4xx",
        };
        self.shared.answers.get_or_create(&[("class", class), ("outcome", refusal.tag())]).inc();
    }

    /// Says that no further connection is taken.
    pub(super) fn close(&self) {
        self.shared.is_closed.store(true, Ordering::Release);
    }

    /// Counts a connection as open for as long as what is returned lives.
    pub(super) fn connection(&self) -> Counted {
        self.count(|shared| &shared.connections)
    }

    /// Counts a request as being answered for as long as what is returned lives.
    pub(super) fn request(&self) -> Counted {
        self.count(|shared| &shared.requests)
    }

    fn count(&self, counter: fn(&Shared) -> &AtomicUsize) -> Counted {
        counter(&self.shared).fetch_add(1, Ordering::Relaxed);
        Counted { shared: Arc::clone(&self.shared), counter }
    }

    /// Whether no further connection is taken.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.is_closed.load(Ordering::Acquire)
    }

    /// Connections that are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Connections on which a request is being answered: those that make no room for others.
    #[must_use]
    pub fn busy_connections(&self) -> usize {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// Requests, by how they ended.
    #[must_use]
    pub fn answers(&self) -> &Family<Answer, Counter> {
        &self.shared.answers
    }

    /// Events that were acknowledged, by type.
    #[must_use]
    pub fn events(&self) -> &Family<TypeLabel, Counter> {
        &self.shared.events
    }

    /// Items that are kept although they are no events.
    #[must_use]
    pub fn rejected(&self) -> &Counter {
        &self.shared.rejected
    }

    /// Events that were acknowledged.
    #[must_use]
    pub fn total_events(&self) -> u64 {
        self.shared.by_type.iter().map(Counter::get).sum()
    }

    /// How long ago an event was last acknowledged, if one was.
    #[must_use]
    pub fn since_last_event(&self) -> Option<Duration> {
        self.shared.last_event.ago(self.shared.started)
    }

    /// Waits until nothing has been acknowledged for `limit`.
    pub async fn nothing_for(&self, limit: Duration) {
        loop {
            let last = self.shared.last_arrival.ago(self.shared.started);
            let idle = last.unwrap_or_else(|| self.shared.started.elapsed());
            match limit.checked_sub(idle) {
                Some(rest) if !rest.is_zero() => tokio::time::sleep(rest).await,
                _ => return,
            }
        }
    }
}

/// What counts as one for as long as it lives.
#[derive(Debug)]
pub(super) struct Counted {
    shared: Arc<Shared>,
    counter: fn(&Shared) -> &AtomicUsize,
}

impl Drop for Counted {
    fn drop(&mut self) {
        (self.counter)(&self.shared).fetch_sub(1, Ordering::Relaxed);
    }
}
