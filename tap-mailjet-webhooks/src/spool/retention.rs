//! What is old enough to be trimmed, whatever the clock does.

use std::fmt;
use std::time::Duration;

use tracing::warn;

use super::Sequence;
use super::spool_clock::{NotedTime, SpoolClock};
use crate::os::clock::{Clock, UnixMillis};

/// How often the spool's time is noted. What passes after the last note does not count if the machine is
/// booted then.
const NOTE_INTERVAL: Duration = Duration::from_secs(600);

/// A moment of the spool's time, and the last sequence then.
pub(super) type Mark = (UnixMillis, Sequence);

/// The marks of a spool. Items are compared with the older one. The newer one replaces it as soon as it would
/// do, too.
#[derive(Debug, Clone, Copy)]
pub(super) struct Marks {
    pub(super) older: Option<Mark>,
    pub(super) newer: Option<Mark>,
}

/// Decides which items have been in the spool for long enough.
#[derive(Debug)]
pub(super) struct Retention {
    clock: SpoolClock,
    /// The spool's time when it was last noted.
    noted_at: Option<UnixMillis>,
    /// Whether the log already says that the clock was or is wrong.
    has_warned: bool,
}

/// What a trimmer has to note, so that later steps and runs know about time.
#[derive(Debug)]
pub(super) struct DueNotes {
    pub(super) time: Option<NotedTime>,
    pub(super) marks: Option<Marks>,
}

impl Retention {
    /// Continues from the time that was last noted, if there is one.
    pub(super) fn start(clock: Clock, noted: Option<NotedTime>) -> Self {
        let clock = SpoolClock::start(clock, noted);
        Retention { clock, noted_at: noted.map(|noted| noted.time), has_warned: false }
    }

    /// Returns the last of the items in `front` that is old enough, by the times at which they arrived.
    /// `front` is the start of the log. `spool` is for messages.
    ///
    /// The clock was ahead when an item arrived that seems to come from the future, or is behind now. Its age
    /// is not known, but it is older than the items after it, so it goes with the next one that may go.
    pub(super) fn last_by_time<E>(
        &mut self,
        front: impl IntoIterator<Item = Result<(Sequence, UnixMillis), E>>,
        retention: Duration,
        spool: &dyn fmt::Display,
    ) -> Result<Option<Sequence>, E> {
        let now = self.clock.now();
        let received_before = now.saturating_sub(retention);
        let (mut last_to_go, mut from_the_future) = (None, None);
        for item in front {
            let (sequence, received_at) = item?;
            // A clock that was behind makes an item look older than it is. Its sequence does not, because it
            // follows those before it.
            let received_at = received_at.max(sequence.assigned_at());
            if received_at > now {
                from_the_future = from_the_future.or(Some(sequence));
            } else if received_at < received_before {
                last_to_go = Some(sequence);
            } else {
                break;
            }
        }
        if let Some(sequence) = from_the_future.filter(|_| !self.has_warned) {
            self.has_warned = true;
            warn!(
                "spool {spool}: the item with sequence {sequence} seems to have arrived in the future: this \
                 machine's clock was ahead or behind then, or is now. A confirmed item whose age is not \
                 known is deleted after the spool has had it for retention_days, or twice as long"
            );
        }
        Ok(last_to_go)
    }

    /// Decides by how long the spool has had an item, whatever the clock said when it arrived: `retention`
    /// after a mark, everything is old enough that was there when it was set.
    pub(super) fn last_by_mark(&self, marks: Marks, retention: Duration) -> Option<Sequence> {
        let now = self.clock.elapsed();
        let marks = [marks.newer, marks.older].into_iter().flatten();
        let mut reached = marks.filter(|(time, _)| now.since(*time) >= retention);
        reached.next().map(|(_, sequence)| sequence)
    }

    /// Returns what has to be noted now. `last` is the last sequence that was assigned.
    pub(super) fn due_notes(&self, marks: Marks, last: Sequence, retention: Duration) -> DueNotes {
        let now = self.clock.elapsed();
        let is_due = self.noted_at.is_none_or(|noted_at| now.since(noted_at) >= NOTE_INTERVAL);
        let can_move = |(time, sequence): Mark| now.since(time) >= retention && sequence != last;
        let moved = || Marks { older: marks.newer.or(marks.older), newer: Some((now, last)) };
        DueNotes {
            time: self.clock.note().filter(|_| is_due),
            marks: marks.newer.is_none_or(can_move).then(moved),
        }
    }

    /// Remembers that the spool's time was noted.
    pub(super) fn note_noted(&mut self, noted: NotedTime) {
        self.noted_at = Some(noted.time);
    }
}
