//! The time that decides what is old enough to be deleted.
//!
//! If the system's clock is set an hour forward, events must not be deleted an hour early: setting the clock
//! back does not bring them back. So the spool's time only advances as fast as time really passes, within a
//! process and from one process to the next, and the system's clock can only hold it back.

use std::time::{Duration, Instant};

use crate::os::clock::{Clock, UnixMillis};
use crate::os::uptime::Uptime;

/// If this machine was booted since the last note, or the spool has moved to another one, nobody knows how
/// long the spool was out of use. The system's clock is believed, unless it says that it was longer than
/// this: a clock that is ahead by a year is more likely.
const LONGEST_PAUSE: Duration = Duration::from_secs(31 * 24 * 3600);

/// What a spool keeps of its time for the next process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotedTime {
    pub(super) time: UnixMillis,
    /// When that was, by a clock that nobody can set.
    pub(super) uptime: Uptime,
}

#[derive(Debug)]
pub(super) struct SpoolClock {
    wall: fn() -> UnixMillis,
    started_at: UnixMillis,
    started: Instant,
    uptime_at_start: Option<Uptime>,
}

impl SpoolClock {
    /// Continues from the last note, if there is one.
    pub(super) fn start(clock: Clock, noted: Option<NotedTime>) -> Self {
        let Clock { wall, uptime } = clock;
        let uptime = uptime();
        let started_at = continued(noted, uptime, wall());
        SpoolClock { wall, started_at, started: Instant::now(), uptime_at_start: uptime }
    }

    /// Returns the spool's time. It says how much time has passed between two moments, even if it is years
    /// from what the system's clock says.
    pub(super) fn elapsed(&self) -> UnixMillis {
        self.started_at.saturating_add(self.started.elapsed())
    }

    /// Returns the spool's time or the system's, whichever is earlier. Times at which events arrived are
    /// compared with this.
    pub(super) fn now(&self) -> UnixMillis {
        (self.wall)().min(self.elapsed())
    }

    /// Returns what to keep for the next process; `None` on a machine whose uptime is not known.
    pub(super) fn note(&self) -> Option<NotedTime> {
        let Uptime { boot, since_boot } = self.uptime_at_start?;
        let elapsed = self.started.elapsed();
        let uptime = Uptime { boot, since_boot: since_boot.saturating_add(elapsed) };
        Some(NotedTime { time: self.started_at.saturating_add(elapsed), uptime })
    }
}

/// Returns the time at which a process starts.
fn continued(noted: Option<NotedTime>, uptime: Option<Uptime>, wall: UnixMillis) -> UnixMillis {
    let (Some(noted), Some(uptime)) = (noted, uptime) else { return wall };
    if uptime.boot == noted.uptime.boot {
        let elapsed = uptime.since_boot.saturating_sub(noted.uptime.since_boot);
        return noted.time.saturating_add(elapsed);
    }
    if wall.since(noted.time) > LONGEST_PAUSE { noted.time } else { wall.max(noted.time) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_advances_no_faster_than_it_passes() {
        const HOUR: i64 = 3_600_000;
        let hours = |hours: i64| UnixMillis::new(hours * HOUR);
        let uptime = |boot, hours: u64| Uptime { boot, since_boot: Duration::from_secs(3600 * hours) };
        let noted = NotedTime { time: hours(1_000), uptime: uptime(7, 10) };
        // The uptime at the start, what the system's clock says, and the time at the start.
        let cases = [
            (uptime(7, 10), 1_000, 1_000),
            (uptime(7, 12), 1_002, 1_002),
            // The system's clock is ahead or behind.
            (uptime(7, 12), 9_760, 1_002),
            (uptime(7, 12), 0, 1_002),
            // Another boot, or another machine.
            (uptime(8, 0), 1_005, 1_005),
            (uptime(8, 500), 1_005, 1_005),
            (uptime(8, 0), 1_000 + 31 * 24, 1_000 + 31 * 24),
            (uptime(8, 0), 1_001 + 31 * 24, 1_000),
            (uptime(8, 0), 0, 1_000),
        ];
        for (now, wall, expected) in cases {
            let started_at = continued(Some(noted), Some(now), hours(wall));
            assert_eq!(started_at, hours(expected), "{now:?}, the clock at {wall}");
        }
        // A new spool.
        assert_eq!(continued(None, Some(uptime(7, 10)), hours(50)), hours(50));
    }
}
