//! The bound on memory: everything that waits to be written holds a share of a fixed number of bytes.
//!
//! Once it has refused a reservation, the budget admits nothing new until half of it is free. Otherwise each
//! request that ends would let in another that is then cut off, and large ones would never get through.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::AppendError;

/// Semaphore permits are `u32`; a unit of 64 bytes lets the budget reach 256 GiB.
const UNIT: usize = 64;

/// A fixed number of bytes that may be in use at once. Clones share it.
#[derive(Debug, Clone)]
pub struct Budget {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    free: Arc<Semaphore>,
    total: usize,
    /// Set when a reservation is refused, and cleared once half of the budget is free.
    is_exhausted: AtomicBool,
}

/// A share of a [`Budget`], given back when it is dropped.
#[derive(Debug)]
pub struct Reservation {
    permit: OwnedSemaphorePermit,
    budget: Arc<Shared>,
}

impl Budget {
    /// A budget of `bytes`.
    pub fn new(bytes: usize) -> Self {
        let total = (bytes / UNIT).min(Semaphore::MAX_PERMITS);
        let free = Arc::new(Semaphore::new(total));
        Budget { shared: Arc::new(Shared { free, total, is_exhausted: AtomicBool::new(false) }) }
    }

    /// Reserves `bytes` for something new.
    pub fn reserve(&self, bytes: usize) -> Result<Reservation, AppendError> {
        if self.shared.is_exhausted.load(Ordering::Relaxed) {
            if self.shared.free.available_permits() < self.shared.total.div_ceil(2) {
                return Err(AppendError::Overloaded);
            }
            self.shared.is_exhausted.store(false, Ordering::Relaxed);
        }
        Ok(Reservation { permit: self.shared.take(bytes)?, budget: Arc::clone(&self.shared) })
    }

    /// Checks whether [`Budget::reserve`] would succeed now, and changes nothing.
    pub fn could_reserve(&self, bytes: usize) -> Result<(), AppendError> {
        let is_exhausted = self.shared.is_exhausted.load(Ordering::Relaxed);
        let least_free = if is_exhausted { self.shared.total.div_ceil(2) } else { 0 };
        let needed = usize::try_from(units(bytes)).unwrap_or(usize::MAX).max(least_free);
        if self.shared.free.available_permits() < needed { Err(AppendError::Overloaded) } else { Ok(()) }
    }
}

impl Shared {
    fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, AppendError> {
        Arc::clone(&self.free).try_acquire_many_owned(units(bytes)).map_err(|_| {
            self.is_exhausted.store(true, Ordering::Relaxed);
            AppendError::Overloaded
        })
    }
}

impl Reservation {
    /// Reserves `bytes` of the same budget for something that is needed for a shorter time.
    pub fn reserve_beside(&self, bytes: usize) -> Result<Reservation, AppendError> {
        Ok(Reservation { permit: self.budget.take(bytes)?, budget: Arc::clone(&self.budget) })
    }

    /// Reserves `bytes` more for something that has begun.
    pub fn grow(&mut self, bytes: usize) -> Result<(), AppendError> {
        let more = self.budget.take(bytes)?;
        self.permit.merge(more);
        Ok(())
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_reservations_are_given_back_and_the_budget_is_finite() {
        let budget = Budget::new(1024);
        let mut first = budget.reserve(512).expect("half is free");
        assert_eq!(budget.reserve(1024).expect_err("half is in use"), AppendError::Overloaded);
        first.grow(512).expect("the other half is free");
        assert_eq!(first.grow(1).expect_err("nothing is free"), AppendError::Overloaded);
        drop(first);
        budget.reserve(1024).expect("all of it is free again");
    }

    #[test]
    fn an_exhausted_budget_admits_nothing_new_until_half_of_it_is_free() {
        let budget = Budget::new(1024);
        let mut held: Vec<_> = (0..4).map(|_| budget.reserve(256).expect("it is free")).collect();
        drop(held.pop());
        held.push(budget.reserve(256).expect("no request has gone unmet yet"));
        assert_eq!(budget.reserve(1).expect_err("nothing is free"), AppendError::Overloaded);
        drop(held.pop());
        assert_eq!(budget.reserve(1).expect_err("a quarter is free"), AppendError::Overloaded);
        assert_eq!(budget.could_reserve(1), Err(AppendError::Overloaded));
        held[0].grow(64).expect("what has begun goes on");
        drop(held.pop());
        assert_eq!(budget.reserve(1).expect_err("less than half is free"), AppendError::Overloaded);
        drop(held.pop());
        assert_eq!(budget.could_reserve(512), Ok(()));
        budget.reserve(512).expect("more than half is free");
        assert_eq!(budget.could_reserve(2048), Err(AppendError::Overloaded));
        assert_eq!(budget.could_reserve(1), Ok(()), "asking uses nothing up");
    }
}
