//! The bound on memory: what waits to be written holds a share of a fixed number of bytes.
//!
//! Once it has been used up, nothing new is begun before half of it is free again. Otherwise requests would be taken and
//! broken off in turn, each time one is done, and large ones never get through.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::AppendError;

/// Semaphore permits are `u32`; a unit of 64 bytes lets the budget reach 256 GiB.
const UNIT: usize = 64;

/// A number of bytes that may be held at any time.
#[derive(Debug, Clone)]
pub struct Budget {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    free: Arc<Semaphore>,
    total: usize,
    /// Whether it has been used up, and not been half free since.
    exhausted: AtomicBool,
}

/// A share of a [`Budget`], given back when dropped.
#[derive(Debug)]
pub struct Reservation {
    permit: OwnedSemaphorePermit,
    budget: Arc<Shared>,
}

impl Budget {
    /// A budget of `bytes`.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let total = (bytes / UNIT).min(Semaphore::MAX_PERMITS);
        let free = Arc::new(Semaphore::new(total));
        Budget { shared: Arc::new(Shared { free, total, exhausted: AtomicBool::new(false) }) }
    }

    /// Takes `bytes` from the budget, for something new.
    pub fn reserve(&self, bytes: usize) -> Result<Reservation, AppendError> {
        if self.shared.exhausted.load(Ordering::Relaxed) {
            if self.shared.free.available_permits() < self.shared.total.div_ceil(2) {
                return Err(AppendError::Overloaded);
            }
            self.shared.exhausted.store(false, Ordering::Relaxed);
        }
        Ok(Reservation { permit: self.shared.take(bytes)?, budget: Arc::clone(&self.shared) })
    }

    /// Whether [`Budget::reserve`] would give `bytes` now. Nothing is taken, and nobody else's answer changes by it.
    pub fn could_reserve(&self, bytes: usize) -> Result<(), AppendError> {
        let half =
            if self.shared.exhausted.load(Ordering::Relaxed) { self.shared.total.div_ceil(2) } else { 0 };
        let needed = usize::try_from(units(bytes)).unwrap_or(usize::MAX).max(half);
        if self.shared.free.available_permits() < needed { Err(AppendError::Overloaded) } else { Ok(()) }
    }
}

impl Shared {
    fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, AppendError> {
        Arc::clone(&self.free).try_acquire_many_owned(units(bytes)).map_err(|_| {
            self.exhausted.store(true, Ordering::Relaxed);
            AppendError::Overloaded
        })
    }
}

impl Reservation {
    /// Takes `bytes` more from the budget, for what was begun.
    pub fn grow(&mut self, bytes: usize) -> Result<(), AppendError> {
        let more = self.budget.take(bytes)?;
        self.permit.merge(more);
        Ok(())
    }
}

/// More than the budget can ever hold becomes a number that it never has.
fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_is_given_back_and_the_end_is_the_end() {
        let budget = Budget::new(1024);
        let mut first = budget.reserve(512).expect("half is free");
        assert_eq!(budget.reserve(1024).expect_err("half is taken"), AppendError::Overloaded);
        first.grow(512).expect("the other half is free");
        assert_eq!(first.grow(1).expect_err("nothing is free"), AppendError::Overloaded);
        drop(first);
        budget.reserve(1024).expect("all is free again");
    }

    #[test]
    fn once_it_is_used_up_nothing_new_begins_before_half_is_free() {
        let budget = Budget::new(1024);
        let mut held: Vec<_> = (0..4).map(|_| budget.reserve(256).expect("it is free")).collect();
        drop(held.pop());
        held.push(budget.reserve(256).expect("it was never asked for more than there is"));
        assert_eq!(budget.reserve(1).expect_err("nothing is free"), AppendError::Overloaded);
        drop(held.pop());
        assert_eq!(budget.reserve(1).expect_err("a quarter is free"), AppendError::Overloaded);
        assert_eq!(budget.could_reserve(1), Err(AppendError::Overloaded));
        held[0].grow(64).expect("what was begun goes on");
        drop(held.pop());
        assert_eq!(budget.reserve(1).expect_err("less than half is free"), AppendError::Overloaded);
        drop(held.pop());
        assert_eq!(budget.could_reserve(512), Ok(()));
        budget.reserve(512).expect("more than half is free");
        assert_eq!(budget.could_reserve(2048), Err(AppendError::Overloaded));
        assert_eq!(budget.could_reserve(1), Ok(()), "asking uses nothing up");
    }
}
