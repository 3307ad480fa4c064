//! Random choices that can be made again: a test shows its seed, and the same seed makes the same choices.

use std::thread;
use std::time::Duration;

/// A series of random numbers (`SplitMix64`).
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// The series of `seed`.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        Chance(seed)
    }

    /// A seed that nobody has chosen.
    #[must_use]
    pub fn fresh_seed() -> u64 {
        getrandom::u64().expect("the system has random numbers")
    }

    /// The next number.
    pub fn next_number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next_number() % end
    }

    /// True once in so many times.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of them.
    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.below(choices.len() as u64)).expect("an index")]
    }

    /// All of them, in a random order.
    pub fn shuffled<T: Copy>(&mut self, choices: &[T]) -> Vec<T> {
        let mut shuffled = choices.to_vec();
        for place in (1..shuffled.len()).rev() {
            shuffled.swap(place, usize::try_from(self.below(place as u64 + 1)).expect("an index"));
        }
        shuffled
    }

    /// Lets a random time pass, up to `longest`. The one place where a test waits for time and not for what happens: what
    /// follows is to come at a moment that nobody has chosen.
    pub fn moment(&mut self, longest: Duration) {
        let longest = u64::try_from(longest.as_micros()).expect("a short time");
        thread::sleep(Duration::from_micros(self.below(longest.max(1))));
    }
}
