//! The places for connections: how many there are, and who makes room.
//!
//! When all are taken, a newcomer gets the place of the connection that has been idle for longest: one that has not sent a
//! whole request header since it was opened, or since its last answer. So strangers who open connections and say nothing, or
//! say it slowly, or do not read their answers, take places from each other, and not from those who post. A connection
//! whose webhook is being read or stored is never closed for another.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tracing::warn;

use crate::os::log_throttle::LogThrottle;

/// Instead of a turn: a request is being answered.
const BUSY: u64 = 0;

/// The places for connections.
#[derive(Debug)]
pub(super) struct ConnectionSlots {
    most: usize,
    free: Arc<Semaphore>,
    shared: Arc<Shared>,
    told: Mutex<LogThrottle>,
}

#[derive(Debug, Default)]
struct Shared {
    taken: Mutex<HashMap<u64, Arc<SlotState>>>,
    /// Counts whatever makes a connection idle, so that turns order them.
    turn: AtomicU64,
    /// How many newcomers wait.
    waiting: AtomicU64,
    /// Told, if a newcomer waits, that a connection has become idle or has not made room.
    changed: Notify,
}

#[derive(Debug)]
struct SlotState {
    /// The turn at which it became idle, or [`BUSY`].
    idle_since: AtomicU64,
    leave: Notify,
}

/// A connection's place. It is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    number: u64,
    seat: Arc<SlotState>,
    shared: Arc<Shared>,
    _permit: OwnedSemaphorePermit,
}

/// Keeps a connection's place while a request is answered.
#[derive(Debug)]
pub(super) struct Busy<'a>(&'a Slot);

impl ConnectionSlots {
    /// So many places.
    pub(super) fn new(most: usize) -> Self {
        ConnectionSlots {
            most,
            free: Arc::new(Semaphore::new(most)),
            shared: Arc::default(),
            told: Mutex::default(),
        }
    }

    /// Takes a place; if none is free, waits for one that is made.
    pub(super) async fn take(&self) -> Slot {
        let permit = match Arc::clone(&self.free).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => self.wait().await,
        };
        let number = self.shared.next_turn();
        let seat = Arc::new(SlotState { idle_since: AtomicU64::new(number), leave: Notify::new() });
        self.shared.taken().insert(number, Arc::clone(&seat));
        Slot { number, seat, shared: Arc::clone(&self.shared), _permit: permit }
    }

    async fn wait(&self) -> OwnedSemaphorePermit {
        if let Some(suppressed) = self.told.lock().unwrap_or_else(PoisonError::into_inner).allow() {
            warn!(
                "all {} connections (max_connections) are taken: for a new one, the one that has been idle for longest is \
                 closed{suppressed}",
                self.most
            );
        }
        let _waiting = Waiting::new(&self.shared.waiting);
        let mut asked: Option<(Arc<SlotState>, u64)> = None;
        loop {
            // One at a time is asked, and another only if that one has got a request meanwhile, which it may be done with.
            if asked.as_ref().is_none_or(|(seat, since)| seat.idle_since.load(Ordering::SeqCst) != *since) {
                asked = self.shared.idle_for_longest();
                if let Some((seat, _)) = &asked {
                    seat.leave.notify_one();
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
    fn taken(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<SlotState>>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_turn(&self) -> u64 {
        self.turn.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// The seat that has been idle for longest, and since which turn.
    fn idle_for_longest(&self) -> Option<(Arc<SlotState>, u64)> {
        let taken = self.taken();
        let since = taken.values().map(|seat| (seat, seat.idle_since.load(Ordering::SeqCst)));
        let idle = since.filter(|(_, since)| *since != BUSY);
        idle.min_by_key(|(_, since)| *since).map(|(seat, since)| (Arc::clone(seat), since))
    }

    fn tell_who_waits(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.changed.notify_one();
        }
    }
}

impl SlotState {
    fn is_busy(&self) -> bool {
        self.idle_since.load(Ordering::SeqCst) == BUSY
    }
}

impl Slot {
    /// The place is kept for as long as what is returned lives.
    pub(super) fn mark_busy(&self) -> Busy<'_> {
        self.seat.idle_since.store(BUSY, Ordering::SeqCst);
        Busy(self)
    }

    /// Waits until the connection, being idle, has to make room.
    pub(super) async fn evicted(&self) {
        loop {
            self.seat.leave.notified().await;
            if !self.seat.is_busy() {
                return;
            }
            self.shared.tell_who_waits();
        }
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let Slot { seat, shared, .. } = self.0;
        seat.idle_since.store(shared.next_turn(), Ordering::SeqCst);
        shared.tell_who_waits();
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.shared.taken().remove(&self.number);
    }
}

/// Counts a newcomer for as long as it waits, also if it is given up.
struct Waiting<'a>(&'a AtomicU64);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Waiting(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn is_ready<T>(future: impl Future<Output = T>) -> Option<T> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    fn taken(slots: &ConnectionSlots) -> Slot {
        is_ready(slots.take()).expect("a place is free")
    }

    #[test]
    fn who_has_been_idle_for_longest_makes_room_and_nobody_else() {
        let slots = ConnectionSlots::new(3);
        let (first, second, third) = (taken(&slots), taken(&slots), taken(&slots));
        // The first has had a request since.
        drop(first.mark_busy());
        assert!(is_ready(slots.take()).is_none(), "one has to go first");
        assert!(is_ready(second.evicted()).is_some());
        assert!(is_ready(first.evicted()).is_none());
        assert!(is_ready(third.evicted()).is_none());
        drop(second);
        let _fourth = taken(&slots);
    }

    #[test]
    fn who_is_busy_stays_and_makes_room_later() {
        let slots = ConnectionSlots::new(1);
        let only = taken(&slots);
        let busy = only.mark_busy();
        let mut newcomer = pin!(slots.take());
        assert!(is_ready(newcomer.as_mut()).is_none());
        assert!(is_ready(only.evicted()).is_none());
        drop(busy);
        assert!(is_ready(newcomer.as_mut()).is_none(), "it asks again");
        assert!(is_ready(only.evicted()).is_some());
        drop(only);
        assert!(is_ready(newcomer.as_mut()).is_some());
    }

    /// Also if that is over before the newcomer looks.
    #[test]
    fn who_was_busy_for_a_moment_when_it_was_asked_is_asked_again() {
        let slots = ConnectionSlots::new(1);
        let only = taken(&slots);
        let mut newcomer = pin!(slots.take());
        assert!(is_ready(newcomer.as_mut()).is_none());
        let busy = only.mark_busy();
        assert!(is_ready(only.evicted()).is_none());
        drop(busy);
        assert!(is_ready(newcomer.as_mut()).is_none());
        assert!(is_ready(only.evicted()).is_some());
    }

    /// A request that comes in between is answered.
    #[test]
    fn who_gets_a_request_after_it_was_asked_stays_and_another_is_asked() {
        let slots = ConnectionSlots::new(2);
        let (first, second) = (taken(&slots), taken(&slots));
        let mut newcomer = pin!(slots.take());
        assert!(is_ready(newcomer.as_mut()).is_none());
        let _busy = first.mark_busy();
        assert!(is_ready(first.evicted()).is_none());
        assert!(is_ready(newcomer.as_mut()).is_none());
        assert!(is_ready(second.evicted()).is_some());
    }
}
