//! Connection slots: how many connections may be open, and which one makes room for a new one.
//!
//! When all slots are taken, a new connection gets the slot of the one that has been idle for longest. A
//! connection is idle from when it is opened, and from each answer, until it has sent a whole request header.
//! So clients that open connections and send nothing, send slowly or do not read their answers take slots
//! from each other, and not from clients that post webhooks.
//!
//! A connection whose body makes no progress gives way like an idle one. One whose body does make progress
//! gives way only if its peer has more than half of all slots, or of the memory for bodies, and another peer
//! needs room. A connection whose webhook is being stored is never closed for another.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tracing::warn;

use crate::os::log_throttle::LogThrottle;

/// A body of which nothing has arrived for this long makes no progress.
const STALLED_AFTER: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct ConnectionSlots {
    max_connections: usize,
    free: Arc<Semaphore>,
    shared: Arc<Shared>,
    log_throttle: LogThrottle,
}

#[derive(Debug, Default)]
struct Shared {
    /// The slots that are taken, by their numbers.
    taken: Mutex<HashMap<u64, Arc<SlotState>>>,
    /// Counts the times at which a connection has become idle or a body has made progress: a clock that never
    /// shows the same time twice.
    ticks: AtomicU64,
    /// Notified when a connection has become idle, and when one was busy when it was to be evicted.
    changed: Notify,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Activity {
    Busy,
    IdleSince(u64),
    /// The body is being read. Some of it arrived last at `tick`, or at `since` by the clock.
    Reading {
        tick: u64,
        since: Instant,
    },
}

#[derive(Debug)]
struct SlotState {
    peer: IpAddr,
    activity: Mutex<Activity>,
    evict: Notify,
    /// Whether the connection has to give way although its body makes progress.
    is_greedy: AtomicBool,
    /// How much of a body has arrived.
    body_bytes: AtomicUsize,
}

impl SlotState {
    /// Returns since when the connection gives way; `None` if it does not.
    fn gives_way_since(&self) -> Option<u64> {
        match *self.activity.lock() {
            Activity::Busy => None,
            Activity::IdleSince(tick) => Some(tick),
            Activity::Reading { tick, since } => {
                let is_stalled = since.elapsed() >= STALLED_AFTER || self.is_greedy.load(Ordering::SeqCst);
                is_stalled.then_some(tick)
            }
        }
    }

    fn is_reading(&self) -> bool {
        matches!(*self.activity.lock(), Activity::Reading { .. })
    }

    fn evict_as_greedy(&self) {
        self.is_greedy.store(true, Ordering::SeqCst);
        self.evict.notify_one();
    }
}

/// A connection's slot. It is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    number: u64,
    state: Arc<SlotState>,
    shared: Arc<Shared>,
    _permit: OwnedSemaphorePermit,
}

/// Protects a connection from eviction while its request is answered.
#[derive(Debug)]
pub(super) struct Busy<'a>(&'a Slot);

impl ConnectionSlots {
    pub(super) fn new(max_connections: usize) -> Self {
        ConnectionSlots {
            max_connections,
            free: Arc::new(Semaphore::new(max_connections)),
            shared: Arc::default(),
            log_throttle: LogThrottle::default(),
        }
    }

    /// Takes a slot for a connection of `peer`. If none is free, has another connection evicted and waits for
    /// its slot.
    pub(super) async fn take(&mut self, peer: IpAddr) -> Slot {
        let permit = match Arc::clone(&self.free).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => self.wait_for_slot(peer).await,
        };
        let number = self.shared.next_tick();
        let state = Arc::new(SlotState {
            peer,
            activity: Mutex::new(Activity::IdleSince(number)),
            evict: Notify::new(),
            is_greedy: AtomicBool::new(false),
            body_bytes: AtomicUsize::new(0),
        });
        self.shared.taken.lock().insert(number, Arc::clone(&state));
        Slot { number, state, shared: Arc::clone(&self.shared), _permit: permit }
    }

    async fn wait_for_slot(&mut self, peer: IpAddr) -> OwnedSemaphorePermit {
        if let Some(suppressed) = self.log_throttle.allow() {
            warn!(
                "all {} connections (max_connections) are taken: the one that has been idle for longest is \
                 closed for a new one{suppressed}",
                self.max_connections
            );
        }
        let mut evicted: Option<(Arc<SlotState>, Activity)> = None;
        loop {
            // One at a time. The next follows only if the last one has had a request since, and so may stay.
            if evicted.as_ref().is_none_or(|(state, idle)| *state.activity.lock() != *idle) {
                let victim = self
                    .shared
                    .first_to_give_way()
                    .or_else(|| self.shared.greedy(peer, self.max_connections));
                evicted = victim.map(|state| {
                    let activity = *state.activity.lock();
                    state.evict.notify_one();
                    (state, activity)
                });
            }
            tokio::select! {
                permit = Arc::clone(&self.free).acquire_owned() => return permit.expect("it is never closed"),
                () = self.shared.changed.notified() => {}
                // A body may have stalled in the meantime.
                () = tokio::time::sleep(STALLED_AFTER / 4) => {}
            }
        }
    }
}

impl Shared {
    fn next_tick(&self) -> u64 {
        self.ticks.fetch_add(1, Ordering::SeqCst)
    }

    /// Returns the slot that has been idle, or stalled, for longest.
    fn first_to_give_way(&self) -> Option<Arc<SlotState>> {
        let taken = self.taken.lock();
        let giving_way = taken.values().filter_map(|state| Some((state, state.gives_way_since()?)));
        giving_way.min_by_key(|(_, tick)| *tick).map(|(state, _)| Arc::clone(state))
    }

    /// Returns a connection that reads a body, of a peer that has more than half of `max_connections` and is
    /// not `newcomer`. It is marked to give way.
    fn greedy(&self, newcomer: IpAddr, max_connections: usize) -> Option<Arc<SlotState>> {
        let peer = self.peer_with_more_than(max_connections / 2, newcomer, |_| 1)?;
        self.evict_largest_of(peer)
    }

    /// Returns the peer whose connections weigh more than `limit` together, unless it is `newcomer`.
    fn peer_with_more_than(
        &self,
        limit: usize,
        newcomer: IpAddr,
        weight: impl Fn(&SlotState) -> usize,
    ) -> Option<IpAddr> {
        let mut weights: HashMap<IpAddr, usize> = HashMap::new();
        for state in self.taken.lock().values() {
            *weights.entry(state.peer).or_default() += weight(state);
        }
        let heaviest = weights.into_iter().filter(|(peer, _)| *peer != newcomer).max_by_key(|(_, all)| *all);
        heaviest.filter(|(_, all)| *all > limit).map(|(peer, _)| peer)
    }

    fn evict_largest_of(&self, peer: IpAddr) -> Option<Arc<SlotState>> {
        let taken = self.taken.lock();
        let reading = taken.values().filter(|state| state.peer == peer && state.is_reading());
        let largest = reading.max_by_key(|state| state.body_bytes.load(Ordering::SeqCst))?;
        largest.evict_as_greedy();
        Some(Arc::clone(largest))
    }
}

impl Slot {
    /// Protects the connection from eviction for as long as the returned value lives.
    pub(super) fn mark_busy(&self) -> Busy<'_> {
        *self.state.activity.lock() = Activity::Busy;
        Busy(self)
    }

    /// Notes that the body begins, or that it has made progress and has this many bytes now.
    pub(super) fn note_progress(&self, body_bytes: usize) {
        self.state.body_bytes.store(body_bytes, Ordering::SeqCst);
        *self.state.activity.lock() =
            Activity::Reading { tick: self.shared.next_tick(), since: Instant::now() };
    }

    /// Notes that the whole body has arrived, so that nothing closes the connection until it is answered.
    pub(super) fn note_whole_body(&self) {
        self.state.body_bytes.store(0, Ordering::SeqCst);
        *self.state.activity.lock() = Activity::Busy;
    }

    /// Has other connections make room in memory: those whose bodies have stalled or, if there are none, the
    /// largest body of a peer that has more than half of what has arrived. Returns whether any does.
    pub(super) fn make_room(&self) -> bool {
        let Slot { state: own, shared, .. } = self;
        let others: Vec<_> =
            shared.taken.lock().values().filter(|state| !Arc::ptr_eq(state, own)).cloned().collect();
        let bytes = |state: &SlotState| state.body_bytes.load(Ordering::SeqCst);
        let mut has_room = false;
        for stalled in others.iter().filter(|state| bytes(state) > 0 && state.is_reading()) {
            if stalled.gives_way_since().is_some() {
                stalled.evict.notify_one();
                has_room = true;
            }
        }
        let half = others.iter().map(|state| bytes(state)).sum::<usize>() / 2;
        has_room
            || shared
                .peer_with_more_than(half, own.peer, bytes)
                .is_some_and(|peer| shared.evict_largest_of(peer).is_some())
    }

    /// Waits until the connection has to give way.
    pub(super) async fn evicted(&self) {
        loop {
            self.state.evict.notified().await;
            if self.state.gives_way_since().is_some() {
                return;
            }
            self.shared.changed.notify_one();
        }
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let Slot { state, shared, .. } = self.0;
        state.body_bytes.store(0, Ordering::SeqCst);
        *state.activity.lock() = Activity::IdleSince(shared.next_tick());
        shared.changed.notify_one();
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.shared.taken.lock().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;

    use super::*;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn take_free(slots: &mut ConnectionSlots) -> Slot {
        slots.take(PEER).now_or_never().expect("a slot is free")
    }

    #[tokio::test]
    async fn only_the_connection_that_has_been_idle_for_longest_is_evicted() {
        let mut slots = ConnectionSlots::new(3);
        let (first, second, third) = (take_free(&mut slots), take_free(&mut slots), take_free(&mut slots));
        // The first has had a request since.
        drop(first.mark_busy());
        assert!(slots.take(PEER).now_or_never().is_none(), "a slot has to become free first");
        assert!(second.evicted().now_or_never().is_some());
        assert!([first, third].iter().all(|slot| slot.evicted().now_or_never().is_none()));
        drop(second);
        let _fourth = take_free(&mut slots);
    }

    #[tokio::test]
    async fn a_busy_connection_is_evicted_only_once_it_is_idle() {
        let mut slots = ConnectionSlots::new(1);
        let only = take_free(&mut slots);
        let busy = only.mark_busy();
        let mut newcomer = pin!(slots.take(PEER));
        assert!(newcomer.as_mut().now_or_never().is_none());
        assert!(only.evicted().now_or_never().is_none());
        drop(busy);
        assert!(newcomer.as_mut().now_or_never().is_none(), "it has the connection evicted now");
        assert!(only.evicted().now_or_never().is_some());
        drop(only);
        assert!(newcomer.as_mut().now_or_never().is_some());
    }

    /// Even if the request is over before the new connection looks again.
    #[tokio::test]
    async fn a_connection_that_was_busy_when_it_was_to_be_evicted_is_evicted_later() {
        let mut slots = ConnectionSlots::new(1);
        let only = take_free(&mut slots);
        let mut newcomer = pin!(slots.take(PEER));
        assert!(newcomer.as_mut().now_or_never().is_none());
        let busy = only.mark_busy();
        assert!(only.evicted().now_or_never().is_none());
        drop(busy);
        assert!(newcomer.as_mut().now_or_never().is_none());
        assert!(only.evicted().now_or_never().is_some());
    }

    /// A request that arrives just then is answered.
    #[tokio::test]
    async fn a_body_that_makes_progress_gives_way_only_to_another_peer_and_one_that_is_stored_never() {
        let other = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));
        let mut slots = ConnectionSlots::new(2);
        let (first, second) = (take_free(&mut slots), take_free(&mut slots));
        let _storing = second.mark_busy();
        let _reading = first.mark_busy();
        first.note_progress(0);
        assert!(slots.take(PEER).now_or_never().is_none());
        assert!(first.evicted().now_or_never().is_none());
        assert!(slots.take(other).now_or_never().is_none());
        assert!(first.evicted().now_or_never().is_some());
        assert!(second.evicted().now_or_never().is_none());
        first.note_whole_body();
        assert!(first.evicted().now_or_never().is_none());
    }

    #[tokio::test]
    async fn if_a_connection_becomes_busy_before_it_is_evicted_another_one_is() {
        let mut slots = ConnectionSlots::new(2);
        let (first, second) = (take_free(&mut slots), take_free(&mut slots));
        let mut newcomer = pin!(slots.take(PEER));
        assert!(newcomer.as_mut().now_or_never().is_none());
        let _busy = first.mark_busy();
        assert!(first.evicted().now_or_never().is_none());
        assert!(newcomer.as_mut().now_or_never().is_none());
        assert!(second.evicted().now_or_never().is_some());
    }
}
