//! When a STATE is written, and what the spool has to note first.

use std::time::{Duration, Instant};

use catalog::message::OutgoingMessage;
use catalog::state::State;
use tracing::warn;

use super::written::{Positions, Written};
use crate::emitter::Pace;
use crate::os::log_throttle::LogThrottle;
use crate::spool::{Registry, Sequence, SpoolError, SpoolErrorKind};

#[derive(Debug)]
pub(crate) struct StateWriter {
    pace: Pace,
    replication_key: String,
    /// The value of the last STATE. A run continues from the one that it is given.
    pub(crate) state: State,
    /// The registry has noted that no STATE has a bookmark past this.
    written_through: Sequence,
    /// What the STATEs are based on, to be compared with those that come back.
    pub(crate) written: Written,
    /// The records since the last STATE.
    records: u64,
    /// Whether a STATE would differ from the last one: the streams have advanced, even if only past events
    /// that none of them has.
    pub(crate) has_news: bool,
    last_written: Instant,
    no_room_throttle: LogThrottle,
}

impl StateWriter {
    /// Creates a writer whose STATEs add to an empty one. `written_through` is what the registry has noted.
    pub(crate) fn new(pace: Pace, replication_key: String, written_through: Option<Sequence>) -> Self {
        let written_through = written_through.unwrap_or(Sequence::START);
        StateWriter {
            pace,
            replication_key,
            state: State::default(),
            written_through,
            written: Written::new(written_through),
            records: 0,
            has_news: false,
            last_written: Instant::now(),
            no_room_throttle: LogThrottle::default(),
        }
    }

    /// Notes that the streams have advanced, with this many records.
    pub(crate) fn note_advance(&mut self, records: u64) {
        self.records += records;
        self.has_news = true;
    }

    /// Returns how many more records may be written before a STATE is due. At least one.
    pub(crate) fn records_until_due(&self) -> u64 {
        self.pace.state_interval_records.saturating_sub(self.records).max(1)
    }

    /// Whether a STATE has to be written, given that there is news.
    pub(crate) fn is_due(&self) -> bool {
        self.records >= self.pace.state_interval_records
            || self.last_written.elapsed() >= self.pace.state_interval
    }

    /// Whether the last STATE was written this long ago.
    pub(crate) fn is_silent_for(&self, duration: Duration) -> bool {
        self.last_written.elapsed() >= duration
    }

    /// Appends a STATE to `out`, or leaves it for later if the disk has no room for the note that has to come
    /// first.
    pub(crate) fn write_if_room(
        &mut self,
        positions: &Positions,
        registry: &mut dyn Registry,
        out: &mut Vec<u8>,
    ) -> Result<(), SpoolError> {
        match self.write(positions, registry, out) {
            Err(error) if error.kind() == SpoolErrorKind::NoRoom => {
                if let Some(suppressed) = self.no_room_throttle.allow() {
                    warn!("{error}; no STATE is written until there is room{suppressed}");
                }
                self.restart_interval();
                Ok(())
            }
            other => other,
        }
    }

    /// Appends a STATE to `out`.
    pub(crate) fn write(
        &mut self,
        positions: &Positions,
        registry: &mut dyn Registry,
        out: &mut Vec<u8>,
    ) -> Result<(), SpoolError> {
        if !self.note_bookmarks(positions, registry)? {
            // Nothing was written that would have noticed.
            registry.demand_emitter()?;
        }
        for position in positions.0.iter().filter(|position| position.bookmark > Sequence::START) {
            let (stream, bookmark) = (position.stream.name(), position.bookmark.get());
            self.state.set_bookmark(stream, &self.replication_key, bookmark);
        }
        OutgoingMessage::State { value: &self.state }.write_line(out);
        self.has_news = false;
        self.restart_interval();
        Ok(())
    }

    fn restart_interval(&mut self) {
        self.records = 0;
        self.last_written = Instant::now();
    }

    /// Notes how far a STATE goes before it is written: a state that goes further is another spool's. A new
    /// spool that continues another one's state notes that too, so that its own sequences come after it
    /// whatever the clock does. Returns whether there was anything to note.
    pub(crate) fn note_bookmarks(
        &mut self,
        positions: &Positions,
        registry: &mut dyn Registry,
    ) -> Result<bool, SpoolError> {
        let bookmark = positions.largest_bookmark().filter(|bookmark| *bookmark > self.written_through);
        if let Some(bookmark) = bookmark {
            registry.note_written_through(bookmark)?;
            self.written_through = bookmark;
        }
        self.written.note_bookmarks(positions);
        Ok(bookmark.is_some())
    }
}
