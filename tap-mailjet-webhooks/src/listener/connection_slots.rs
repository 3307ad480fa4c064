//! Connection slots: how many connections may be open, and which one makes room for a new one.
//!
//! When all slots are taken, a new connection gets the slot of the one that has been idle for longest. A
//! connection is idle from when it is opened, and from each answer, until it has sent a whole request header.
//! So clients that open connections and send nothing, send slowly or do not read their answers take slots
//! from each other, and not from clients that post webhooks. A connection whose webhook is being read or
//! stored is never closed for another.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tracing::warn;

use crate::os::log_throttle::LogThrottle;

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
    /// Counts the times at which a connection has become idle: a clock that never shows the same time twice.
    ticks: AtomicU64,
    /// Notified when a connection has become idle, and when one was busy when it was to be evicted.
    changed: Notify,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Activity {
    Busy,
    IdleSince(u64),
}

#[derive(Debug)]
struct SlotState {
    activity: Mutex<Activity>,
    evict: Notify,
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

    /// Takes a slot. If none is free, has an idle connection evicted and waits for its slot.
    pub(super) async fn take(&mut self) -> Slot {
        let permit = match Arc::clone(&self.free).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => self.wait_for_slot().await,
        };
        let number = self.shared.next_tick();
        let state =
            Arc::new(SlotState { activity: Mutex::new(Activity::IdleSince(number)), evict: Notify::new() });
        self.shared.taken.lock().insert(number, Arc::clone(&state));
        Slot { number, state, shared: Arc::clone(&self.shared), _permit: permit }
    }

    async fn wait_for_slot(&mut self) -> OwnedSemaphorePermit {
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
                evicted = self.shared.idle_for_longest();
                if let Some((state, _)) = &evicted {
                    state.evict.notify_one();
                }
            }
            tokio::select! {
                permit = Arc::clone(&self.free).acquire_owned() => return permit.expect("it is never closed"),
                () = self.shared.changed.notified() => {}
            }
        }
    }
}

impl Shared {
    fn next_tick(&self) -> u64 {
        self.ticks.fetch_add(1, Ordering::SeqCst)
    }

    /// Returns the slot that has been idle for longest, and its activity at this moment.
    fn idle_for_longest(&self) -> Option<(Arc<SlotState>, Activity)> {
        let taken = self.taken.lock();
        let idle = taken.values().filter_map(|state| match *state.activity.lock() {
            Activity::Busy => None,
            Activity::IdleSince(tick) => Some((state, tick)),
        });
        idle.min_by_key(|(_, tick)| *tick).map(|(state, tick)| (Arc::clone(state), Activity::IdleSince(tick)))
    }
}

impl Slot {
    /// Protects the connection from eviction for as long as the returned value lives.
    pub(super) fn mark_busy(&self) -> Busy<'_> {
        *self.state.activity.lock() = Activity::Busy;
        Busy(self)
    }

    /// Waits until the connection has to make room while it is idle.
    pub(super) async fn evicted(&self) {
        loop {
            self.state.evict.notified().await;
            if *self.state.activity.lock() != Activity::Busy {
                return;
            }
            self.shared.changed.notify_one();
        }
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let Slot { state, shared, .. } = self.0;
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

    fn take_free(slots: &mut ConnectionSlots) -> Slot {
        slots.take().now_or_never().expect("a slot is free")
    }

    #[test]
    fn only_the_connection_that_has_been_idle_for_longest_is_evicted() {
        let mut slots = ConnectionSlots::new(3);
        let (first, second, third) = (take_free(&mut slots), take_free(&mut slots), take_free(&mut slots));
        // The first has had a request since.
        drop(first.mark_busy());
        assert!(slots.take().now_or_never().is_none(), "a slot has to become free first");
        assert!(second.evicted().now_or_never().is_some());
        assert!([first, third].iter().all(|slot| slot.evicted().now_or_never().is_none()));
        drop(second);
        let _fourth = take_free(&mut slots);
    }

    #[test]
    fn a_busy_connection_is_evicted_only_once_it_is_idle() {
        let mut slots = ConnectionSlots::new(1);
        let only = take_free(&mut slots);
        let busy = only.mark_busy();
        let mut newcomer = pin!(slots.take());
        assert!(newcomer.as_mut().now_or_never().is_none());
        assert!(only.evicted().now_or_never().is_none());
        drop(busy);
        assert!(newcomer.as_mut().now_or_never().is_none(), "it has the connection evicted now");
        assert!(only.evicted().now_or_never().is_some());
        drop(only);
        assert!(newcomer.as_mut().now_or_never().is_some());
    }

    /// Even if the request is over before the new connection looks again.
    #[test]
    fn a_connection_that_was_busy_when_it_was_to_be_evicted_is_evicted_later() {
        let mut slots = ConnectionSlots::new(1);
        let only = take_free(&mut slots);
        let mut newcomer = pin!(slots.take());
        assert!(newcomer.as_mut().now_or_never().is_none());
        let busy = only.mark_busy();
        assert!(only.evicted().now_or_never().is_none());
        drop(busy);
        assert!(newcomer.as_mut().now_or_never().is_none());
        assert!(only.evicted().now_or_never().is_some());
    }

    /// A request that arrives just then is answered.
    #[test]
    fn if_a_connection_becomes_busy_before_it_is_evicted_another_one_is() {
        let mut slots = ConnectionSlots::new(2);
        let (first, second) = (take_free(&mut slots), take_free(&mut slots));
        let mut newcomer = pin!(slots.take());
        assert!(newcomer.as_mut().now_or_never().is_none());
        let _busy = first.mark_busy();
        assert!(first.evicted().now_or_never().is_none());
        assert!(newcomer.as_mut().now_or_never().is_none());
        assert!(second.evicted().now_or_never().is_some());
    }
}
