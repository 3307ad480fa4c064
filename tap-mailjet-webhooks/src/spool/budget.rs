//! The bound on memory: what waits to be written holds a share of a fixed number of bytes.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Refused;

/// Semaphore permits are `u32`; a unit of 64 bytes lets the budget reach 256 GiB.
const UNIT: usize = 64;

/// A number of bytes that may be held at any time.
#[derive(Debug, Clone)]
pub struct Budget {
    units: Arc<Semaphore>,
}

/// A share of a [`Budget`], given back when dropped.
#[derive(Debug)]
pub struct Reservation {
    permit: OwnedSemaphorePermit,
    units: Arc<Semaphore>,
}

impl Budget {
    /// A budget of `bytes`.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Budget { units: Arc::new(Semaphore::new((bytes / UNIT).min(Semaphore::MAX_PERMITS))) }
    }

    /// Takes `bytes` from the budget.
    pub fn reserve(&self, bytes: usize) -> Result<Reservation, Refused> {
        let permit =
            Arc::clone(&self.units).try_acquire_many_owned(units(bytes)).map_err(|_| Refused::Overloaded)?;
        Ok(Reservation { permit, units: Arc::clone(&self.units) })
    }
}

impl Reservation {
    /// Takes `bytes` more from the budget.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Refused> {
        let more =
            Arc::clone(&self.units).try_acquire_many_owned(units(bytes)).map_err(|_| Refused::Overloaded)?;
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
        assert_eq!(budget.reserve(1024).expect_err("half is taken"), Refused::Overloaded);
        first.grow(512).expect("the other half is free");
        assert_eq!(first.grow(1).expect_err("nothing is free"), Refused::Overloaded);
        drop(first);
        budget.reserve(1024).expect("all is free again");
    }
}
