//! Repeatable random choices: a test prints its seed, and the same seed makes the same choices.

use std::thread;
use std::time::Duration;

/// A random number generator with a seed (`SplitMix64`).
#[derive(Debug, Clone)]
pub struct SeededRandom(u64);

impl SeededRandom {
    /// Creates the generator for a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        SeededRandom(seed)
    }

    /// Returns a random seed.
    #[must_use]
    pub fn random_seed() -> u64 {
        getrandom::u64().expect("the system has random numbers")
    }

    /// Returns the next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next_u64() % end
    }

    /// Returns true once in `times` times, on average.
    pub fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// Returns one of `choices`.
    pub fn choose<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.below(choices.len() as u64)).expect("an index")]
    }

    /// Returns all of `choices` in a random order.
    pub fn shuffled<T: Copy>(&mut self, choices: &[T]) -> Vec<T> {
        let mut shuffled = choices.to_vec();
        for place in (1..shuffled.len()).rev() {
            shuffled.swap(place, usize::try_from(self.below(place as u64 + 1)).expect("an index"));
        }
        shuffled
    }

    /// Sleeps for a random time, up to `longest`. Only here does a test wait for time instead of an event:
    /// the next step must happen at an arbitrary moment.
    pub fn sleep_up_to(&mut self, longest: Duration) {
        let longest = u64::try_from(longest.as_micros()).expect("a short time");
        thread::sleep(Duration::from_micros(self.below(longest.max(1))));
    }
}
