//! What a listener counts: connections, requests and events.
//!
//! Each is counted where it happens. Metrics, readiness and the live line read the counts.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::event_counts::EventCounts;
use super::refusal::Refusal;
use crate::spool::Receipt;

/// The labels of a request: the class of its status, and its outcome. A client chooses neither.
pub type RequestLabels = [(&'static str, &'static str); 2];
/// The label of an event: one of [`EventCounts::names`].
pub type EventLabels = [(&'static str, &'static str); 1];

/// The counts of a listener. Clones share them.
#[derive(Debug, Clone)]
pub struct Traffic {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    started: Instant,
    is_closed: AtomicBool,
    connections: AtomicUsize,
    /// Requests that are being answered, at most one for each connection.
    requests_in_progress: AtomicUsize,
    requests: Family<RequestLabels, Counter>,
    /// The counter in `requests` for the outcome of nearly every request, so that it need not be looked up.
    accepted: Counter,
    events: Family<EventLabels, Counter>,
    /// The counters in `events`, in the order of [`EventCounts::names`].
    events_by_type: [Counter; EventCounts::TYPES],
    rejected: Counter,
    /// When events were last acknowledged.
    last_event: LastTime,
    /// When anything was last stored, events or rejected items.
    last_stored: LastTime,
}

/// When something last happened, if it ever did.
#[derive(Debug, Default)]
struct LastTime(Mutex<Option<Instant>>);

impl LastTime {
    fn set(&self, time: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(time);
    }

    fn get(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Traffic {
    fn default() -> Self {
        let requests = Family::<RequestLabels, Counter>::default();
        let events = Family::<EventLabels, Counter>::default();
        let accepted = requests.get_or_create_owned(&[("class", "2xx"), ("outcome", "accepted")]);
        let events_by_type = EventCounts::names().map(|name| events.get_or_create_owned(&[("event", name)]));
        let shared = Shared {
            started: Instant::now(),
            is_closed: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            requests_in_progress: AtomicUsize::new(0),
            requests,
            accepted,
            events,
            events_by_type,
            rejected: Counter::default(),
            last_event: LastTime::default(),
            last_stored: LastTime::default(),
        };
        Traffic { shared: Arc::new(shared) }
    }
}

impl Traffic {
    /// Counts a request whose events have been stored.
    pub(super) fn note_accepted(&self, receipt: Receipt, event_counts: &EventCounts) {
        self.shared.accepted.inc();
        self.note_stored(receipt);
        if receipt.accepted == 0 {
            return;
        }
        for (counter, count) in self.shared.events_by_type.iter().zip(event_counts.iter()) {
            if count > 0 {
                counter.inc_by(count);
            }
        }
        self.shared.last_event.set(Instant::now());
    }

    /// Counts the rejected items of a request that has been stored.
    pub(super) fn note_stored(&self, receipt: Receipt) {
        self.shared.rejected.inc_by(receipt.rejected as u64);
        self.shared.last_stored.set(Instant::now());
    }

    /// Counts a request that was refused.
    pub(super) fn note_refused(&self, refusal: &Refusal) {
        let class = if refusal.status().is_server_error() { "5xx" } else { "4xx" };
        self.shared.requests.get_or_create(&[("class", class), ("outcome", refusal.tag())]).inc();
    }

    /// Notes that no more connections are accepted.
    pub(super) fn close(&self) {
        self.shared.is_closed.store(true, Ordering::Release);
    }

    /// Counts a connection as open for as long as the returned value lives.
    pub(super) fn connection_opened(&self) -> InProgress {
        self.start(|shared| &shared.connections)
    }

    /// Counts a request as being answered for as long as the returned value lives.
    pub(super) fn request_started(&self) -> InProgress {
        self.start(|shared| &shared.requests_in_progress)
    }

    fn start(&self, count: fn(&Shared) -> &AtomicUsize) -> InProgress {
        count(&self.shared).fetch_add(1, Ordering::Relaxed);
        InProgress { shared: Arc::clone(&self.shared), count }
    }

    /// Whether no more connections are accepted.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.is_closed.load(Ordering::Acquire)
    }

    /// The number of open connections.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// The number of connections on which a request is being answered, and which make no room for others.
    #[must_use]
    pub fn busy_connections(&self) -> usize {
        self.shared.requests_in_progress.load(Ordering::Relaxed)
    }

    /// Requests, by how they ended.
    #[must_use]
    pub fn requests(&self) -> &Family<RequestLabels, Counter> {
        &self.shared.requests
    }

    /// Acknowledged events, by type.
    #[must_use]
    pub fn events(&self) -> &Family<EventLabels, Counter> {
        &self.shared.events
    }

    /// Rejected items that were stored.
    #[must_use]
    pub fn rejected(&self) -> &Counter {
        &self.shared.rejected
    }

    /// The number of acknowledged events.
    #[must_use]
    pub fn total_events(&self) -> u64 {
        self.shared.events_by_type.iter().map(Counter::get).sum()
    }

    /// Returns how long ago an event was last acknowledged; `None` if none was.
    #[must_use]
    pub fn since_last_event(&self) -> Option<Duration> {
        self.shared.last_event.get().map(|time| time.elapsed())
    }

    /// Waits until nothing has been stored for `limit`.
    pub async fn idle_for(&self, limit: Duration) {
        loop {
            let idle = self.shared.last_stored.get().unwrap_or(self.shared.started).elapsed();
            match limit.checked_sub(idle) {
                Some(rest) if !rest.is_zero() => tokio::time::sleep(rest).await,
                _ => return,
            }
        }
    }
}

/// Something that is counted for as long as this lives.
#[derive(Debug)]
pub(super) struct InProgress {
    shared: Arc<Shared>,
    count: fn(&Shared) -> &AtomicUsize,
}

impl Drop for InProgress {
    fn drop(&mut self) {
        (self.count)(&self.shared).fetch_sub(1, Ordering::Relaxed);
    }
}
