//! What a listener counts: connections, requests and events.
//!
//! Each is counted where it happens. Metrics, readiness and the live line read the counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
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
    /// Requests, by how they ended.
    pub requests: Family<RequestLabels, Counter>,
    /// Acknowledged events, by type.
    pub events: Family<EventLabels, Counter>,
    /// Rejected items that were stored.
    pub rejected: Counter,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    is_closed: AtomicBool,
    connections: InProgress,
    /// Requests that are being answered, at most one for each connection.
    requests_in_progress: InProgress,
    /// The counter in [`Traffic::requests`] for the outcome of nearly every request, so that it need not be
    /// looked up.
    accepted: Counter,
    /// The counters in [`Traffic::events`], in the order of [`EventCounts::names`].
    events_by_type: [Counter; EventCounts::TYPES],
    times: Mutex<Times>,
}

#[derive(Debug, Clone, Copy)]
struct Times {
    last_event: Option<Instant>,
    /// When anything was last stored, events or rejected items; at first, when the listener started.
    last_stored: Instant,
}

impl Default for Traffic {
    fn default() -> Self {
        let requests = Family::<RequestLabels, Counter>::default();
        let events = Family::<EventLabels, Counter>::default();
        let shared = Shared {
            is_closed: AtomicBool::new(false),
            connections: InProgress::default(),
            requests_in_progress: InProgress::default(),
            accepted: requests.get_or_create_owned(&[("class", "2xx"), ("outcome", "accepted")]),
            events_by_type: EventCounts::names().map(|name| events.get_or_create_owned(&[("event", name)])),
            times: Mutex::new(Times { last_event: None, last_stored: Instant::now() }),
        };
        Traffic { requests, events, rejected: Counter::default(), shared: Arc::new(shared) }
    }
}

impl Traffic {
    /// Counts a request that has been stored.
    pub(super) fn note_stored(&self, receipt: Receipt, event_counts: &EventCounts) {
        match receipt {
            Receipt { rejected: 0, .. } => drop(self.shared.accepted.inc()),
            Receipt { accepted, .. } => {
                let outcome = if accepted > 0 { "accepted_in_part" } else { "not_events" };
                self.requests.get_or_create(&[("class", "2xx"), ("outcome", outcome)]).inc();
            }
        }
        for (counter, count) in self.shared.events_by_type.iter().zip(event_counts.0) {
            if count > 0 {
                counter.inc_by(count);
            }
        }
        self.rejected.inc_by(receipt.rejected as u64);
        let mut times = self.shared.times.lock();
        times.last_stored = Instant::now();
        if receipt.accepted > 0 {
            times.last_event = Some(times.last_stored);
        }
    }

    /// Returns how many events of each type were stored, in the order of [`EventCounts::names`].
    pub fn event_totals(&self) -> [u64; EventCounts::TYPES] {
        std::array::from_fn(|index| self.shared.events_by_type[index].get())
    }

    /// Counts a request that was refused.
    pub(super) fn note_refused(&self, refusal: &Refusal) {
        let (status, tag, _) = refusal.classify();
        let class = if status.is_server_error() { "5xx" } else { "4xx" };
        self.requests.get_or_create(&[("class", class), ("outcome", tag)]).inc();
    }

    /// Notes that no more connections are accepted.
    pub(super) fn close(&self) {
        self.shared.is_closed.store(true, Ordering::Release);
    }

    /// Counts a connection as open for as long as the returned value lives.
    pub(super) fn connection_opened(&self) -> InProgress {
        self.shared.connections.clone()
    }

    /// Counts a request as being answered for as long as the returned value lives.
    pub(super) fn request_started(&self) -> InProgress {
        self.shared.requests_in_progress.clone()
    }

    /// Whether no more connections are accepted.
    pub(crate) fn is_closed(&self) -> bool {
        self.shared.is_closed.load(Ordering::Acquire)
    }

    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.count()
    }

    /// The number of connections on which a request is being answered. They are never closed for others.
    pub(crate) fn busy_connections(&self) -> usize {
        self.shared.requests_in_progress.count()
    }

    /// The number of acknowledged events.
    pub(crate) fn total_events(&self) -> u64 {
        self.shared.events_by_type.iter().map(Counter::get).sum()
    }

    /// Returns how long ago an event was last acknowledged; `None` if none was.
    pub(crate) fn since_last_event(&self) -> Option<Duration> {
        self.shared.times.lock().last_event.map(|time| time.elapsed())
    }

    /// How long ago anything was stored or, before the first webhook, the listener started.
    pub(crate) fn since_last_stored(&self) -> Duration {
        self.shared.times.lock().last_stored.elapsed()
    }

    /// Waits until nothing has been stored for `limit`.
    pub async fn idle_for(&self, limit: Duration) {
        loop {
            let idle = self.shared.times.lock().last_stored.elapsed();
            match limit.checked_sub(idle) {
                Some(rest) if !rest.is_zero() => tokio::time::sleep(rest).await,
                _ => return,
            }
        }
    }
}

/// Something that is counted for as long as this lives. The original in [`Shared`] counts its clones.
#[derive(Debug, Clone, Default)]
pub(super) struct InProgress(Arc<()>);

impl InProgress {
    fn count(&self) -> usize {
        Arc::strong_count(&self.0) - 1
    }
}
