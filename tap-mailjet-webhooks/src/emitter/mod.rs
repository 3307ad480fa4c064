//! The emitter: from the spool to Singer messages on stdout. It knows columns and Singer, and nothing of HTTP.
//!
//! | module | what it decides |
//! | --- | --- |
//! | this one | the tail loop: what is written when |
//! | [`streams`] | which streams get an event, and how far each has got |
//! | [`ahead`] | what is read while something else is written |
//! | [`block`] | an event taken apart, for all of them |
//! | [`table`] | which column each field of an event goes into |
//! | [`shape`], [`template`] | what follows from an event's names alone, found out once |
//! | [`discovered`] | the columns that appeared, remembered in the spool |
//! | [`row`] | the bytes of a RECORD |
//! | [`primary_key`] | the key of an event |
//! | [`portable`] | what many targets stop at |
//! | [`start`] | where a run begins, and what is said about it |
//! | [`state_file`] | what `--state` says, also while the tap runs |
//! | [`sample`] | messages without a spool: what `--test` prints |
//! | [`confirmed`] | what the target has stored, and what may therefore be trimmed |

mod block;
mod dry_run;
pub mod progress;
mod read_ahead;
mod record;
mod state;
mod streams;

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use catalog::message::OutgoingMessage;
use catalog::selection::{CatalogError, Selection};
use catalog::state::State;
use catalog::stream::StreamId;
use tokio::sync::Notify;
use tracing::warn;

pub use dry_run::{DryRun, write_samples};
pub use record::discovered::columns_of;
pub use record::table::UnknownFields;
pub use state::confirmation::{Confirmation, follow};
pub use state::file::{StateFile, StateFileError, last_state};
pub use state::start::{Start, StartError};

use crate::os::clock::UnixMillis;
use crate::os::log_throttle::LogThrottle;
use crate::spool::{
    Backlog, EventReader, ItemKind, Registry, Sequence, Spool, SpoolError, SpoolErrorKind, Wakeup, Watermark,
};
use block::{Block, Read};
use progress::Counters;
use read_ahead::ReadAhead;
use streams::Streams;

/// Rejected items that are written at once.
const BATCH_REJECTED: u32 = 1_000;
/// Bytes of messages at which a batch is closed early.
const BATCH_BYTES: usize = 1 << 20;
/// How long nothing has to come before the spool counts as dry. Without it, a trickle of single events would make a
/// STATE for each, and a target that syncs for each STATE would do nothing else.
const DRY_AFTER: Duration = Duration::from_millis(100);

/// When a run writes a STATE, and when it ends.
#[derive(Debug, Clone)]
pub struct Pace {
    /// With news, a STATE is written at least this often.
    pub state_interval: Duration,
    /// With news, a STATE is written after this many records at the latest.
    pub state_interval_records: u64,
    /// End when nothing has come for so long.
    pub idle_exit: Option<Duration>,
}

/// Why the emitter ended, if nothing failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Everything in the spool has been written, and nothing more will come.
    Dry,
    /// The run was told to end, with this many events still in the spool.
    CutShort(Backlog),
}

/// What the rest of the process and a running emitter tell each other.
#[derive(Debug, Default)]
pub struct StopControl {
    deadline: OnceLock<Instant>,
    /// Nothing has come for [`Pace::idle_exit`].
    pub idle: Notify,
}

impl StopControl {
    /// Lets the emitter end at `deadline` even if there is more to write. The first deadline holds.
    pub fn cut_short_at(&self, deadline: Instant) {
        let _ = self.deadline.set(deadline);
    }

    fn is_over(&self) -> bool {
        self.deadline.get().is_some_and(|deadline| Instant::now() >= *deadline)
    }
}

/// Why the emitter failed.
#[derive(Debug, thiserror::Error)]
pub enum EmitError {
    /// Whoever read stdout has gone.
    #[error(
        "whoever was reading stdout has gone; what was not written stays in the spool and comes with the next run"
    )]
    ReaderGone,
    /// Stdout can't be written to.
    #[error(
        "stdout can't be written to: {0}; what was not written stays in the spool and comes with the next run"
    )]
    Output(io::Error),
    /// The spool can't be read.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The thread that reads ahead can't be started.
    #[error("a thread can't be started: {0}")]
    Thread(io::Error),
}

/// Why a run can't write what it is asked to.
#[derive(Debug, thiserror::Error)]
pub enum OutputSpecError {
    /// The catalog asks for something that there is not.
    #[error("catalog: {0}")]
    Catalog(#[from] CatalogError),
    /// The columns that appeared before can't be read.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

impl From<io::Error> for EmitError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            EmitError::ReaderGone
        } else {
            EmitError::Output(error)
        }
    }
}

/// What is written: the selected streams, and how their columns are named and found.
#[derive(Debug)]
pub struct OutputSpec {
    /// Which streams and columns.
    pub selection: Selection,
    /// What the names of system columns start with.
    pub system_prefix: String,
    /// What becomes of fields that are not documented.
    pub unknown_fields: UnknownFields,
}

/// One run: writes what lies past the bookmarks, then what arrives.
#[derive(Debug)]
pub struct Emitter<W> {
    spool: Arc<dyn Spool>,
    reader: Box<dyn EventReader>,
    /// What has been read, and how many of its items have been put into the buffer.
    block: Block,
    taken: usize,
    registry: Box<dyn Registry>,
    /// What the registry has noted: no STATE has a bookmark past this.
    written_through: Sequence,
    streams: Streams,
    out: W,
    pace: Pace,
    counters: Counters,
    /// Bookmarks as of the last STATE that was written.
    state: State,
    /// Messages that are not yet written.
    buffer: Vec<u8>,
    events_in_buffer: u64,
    records_since_state: u64,
    /// Whether the streams have got further since the last STATE, if only past events that none of them has.
    has_news: bool,
    last_state: Instant,
    last_news: Instant,
    /// When it was last told that there is no room for a STATE's note.
    told_full: LogThrottle,
}

impl<W: Write> Emitter<W> {
    /// A run that writes `spec` to `out`. It starts at the beginning unless [`Emitter::start_at`] is called.
    pub fn new(
        spool: Arc<dyn Spool>,
        spec: &OutputSpec,
        out: W,
        pace: Pace,
        counters: Counters,
    ) -> Result<Self, OutputSpecError> {
        let (reader, mut registry) = (spool.reader()?, spool.registry()?);
        let streams = Streams::new(spec, &registry.discovered_columns()?)?;
        let now = Instant::now();
        Ok(Emitter {
            spool,
            reader,
            block: Block::default(),
            taken: 0,
            written_through: registry.written_through()?.unwrap_or(Sequence::START),
            registry,
            streams,
            out,
            pace,
            counters,
            state: State::default(),
            buffer: Vec::new(),
            events_in_buffer: 0,
            records_since_state: 0,
            has_news: false,
            last_state: now,
            last_news: now,
            told_full: LogThrottle::default(),
        })
    }

    /// The streams that are selected.
    pub fn streams(&self) -> Vec<StreamId> {
        self.streams.ids()
    }

    /// The spool's event log and registry, for finding where the run starts.
    pub fn reader_and_registry(&mut self) -> (&mut dyn EventReader, &mut dyn Registry) {
        (&mut *self.reader, &mut *self.registry)
    }

    /// Lets the run begin at `start`. A new spool that goes on with another one's state notes that, so that its own sequences
    /// go on after it whatever the clock does.
    pub fn start_at(&mut self, start: Start) -> Result<(), SpoolError> {
        self.streams.start_at(&start.state);
        self.state = start.state;
        self.note_bookmark()?;
        // The position is known to other threads before the run begins.
        self.counters.written(0, self.streams.reached());
        Ok(())
    }

    /// Writes SCHEMA, then RECORD and STATE messages until `watermark` has ended and all is written, or until
    /// `control` cuts it short. The last message is a STATE.
    pub fn run(mut self, watermark: &Watermark, control: &StopControl) -> Result<Ended, EmitError> {
        let mut ahead = ReadAhead::start(self.spool.reader()?).map_err(EmitError::Thread)?;
        self.streams.write_schemas(&mut self.buffer);
        let ended = loop {
            if control.is_over() {
                let position = self.streams.reached().events;
                break Ended::CutShort(self.reader.backlog_past(ItemKind::Event, position)?);
            }
            // Taken before the spool is read: whatever is committed later lets the wait below end at once.
            let committed = watermark.committed();
            if self.write_batch(&mut ahead)? > 0 {
                if self.state_is_due() {
                    self.write_state_if_there_is_room()?;
                }
                self.flush()?;
                continue;
            }
            self.flush()?;
            if self.is_idle() {
                control.idle.notify_one();
            }
            match watermark.wait_past(committed, DRY_AFTER) {
                Wakeup::Closed => break Ended::Dry,
                Wakeup::TimedOut if self.has_news => self.write_state_if_there_is_room()?,
                Wakeup::TimedOut | Wakeup::Advanced => {}
            }
        };
        self.write_state()?;
        self.flush()?;
        self.streams.tell_unselected();
        self.streams.tell_damage();
        Ok(ended)
    }

    /// Puts the next records into the buffer, and says how many items of the spool were read for them.
    fn write_batch(&mut self, ahead: &mut ReadAhead) -> Result<usize, EmitError> {
        let Emitter { reader, block, taken, registry, streams, buffer, .. } = self;
        let until_state = self.pace.state_interval_records.saturating_sub(self.records_since_state).max(1);
        let batched_at = UnixMillis::now();
        if *taken == block.len() {
            ahead.next(streams.reached().events, block)?;
            *taken = 0;
        }
        let (before, mut records) = (*taken, 0);
        // One at least: a SCHEMA may be longer than all that should be written at once.
        let goes_on = |taken: usize, records: u64, buffer: &[u8]| {
            taken == before || records < until_state && buffer.len() < BATCH_BYTES
        };
        while *taken < block.len() && goes_on(*taken, records, buffer) {
            records += match block.get(*taken) {
                // Should this fail, nothing of the batch has been written yet, and nothing will be.
                Read::Event(event) => streams.write_event(&event, batched_at, buffer, |columns| {
                    registry.add_discovered_columns(columns)
                })?,
                Read::Damage(damage) => streams.write_damage(ItemKind::Event, damage, batched_at, buffer),
            };
            *taken += 1;
        }
        let events = *taken - before;
        let rejected =
            reader.read_rejected_past(streams.reached().rejected, BATCH_REJECTED, &mut |item| {
                records += match item {
                    Ok(item) => {
                        streams.write_rejected(item, batched_at, buffer);
                        1
                    }
                    Err(damage) => streams.write_damage(ItemKind::Rejected, &damage, batched_at, buffer),
                };
                until_full(buffer)
            })?;
        if events + rejected > 0 {
            self.events_in_buffer += events as u64;
            self.records_since_state += records;
            self.has_news = true;
            self.last_news = Instant::now();
        }
        Ok(events + rejected)
    }

    /// Notes how far a STATE goes before it is written: any state that says more is not one of this spool.
    fn note_bookmark(&mut self) -> Result<(), SpoolError> {
        let bookmark = self.streams.furthest_bookmark();
        if bookmark > self.written_through {
            self.registry.note_written_through(bookmark)?;
            self.written_through = bookmark;
        }
        self.counters.bookmark_written(self.written_through);
        Ok(())
    }

    fn state_is_due(&self) -> bool {
        self.records_since_state >= self.pace.state_interval_records
            || self.last_state.elapsed() >= self.pace.state_interval
    }

    /// Writes a STATE, or leaves it to a later time if the disk has no room for the note that has to come first.
    fn write_state_if_there_is_room(&mut self) -> Result<(), EmitError> {
        match self.write_state() {
            Err(EmitError::Spool(error)) if error.kind() == SpoolErrorKind::NoRoom => {
                if let Some(suppressed) = self.told_full.allow() {
                    warn!("{error}; no STATE is written until there is room{suppressed}");
                }
                self.records_since_state = 0;
                self.last_state = Instant::now();
                Ok(())
            }
            other => other,
        }
    }

    fn write_state(&mut self) -> Result<(), EmitError> {
        self.note_bookmark()?;
        self.streams.note_in(&mut self.state);
        OutgoingMessage::State { value: &self.state }.write_line(&mut self.buffer);
        self.records_since_state = 0;
        self.has_news = false;
        self.last_state = Instant::now();
        Ok(())
    }

    fn flush(&mut self) -> Result<(), EmitError> {
        if !self.buffer.is_empty() {
            self.out.write_all(&self.buffer)?;
            self.out.flush()?;
            self.buffer.clear();
            // A batch with one huge event must not keep its memory for ever.
            self.buffer.shrink_to(2 * BATCH_BYTES);
        }
        self.counters.written(std::mem::take(&mut self.events_in_buffer), self.streams.reached());
        Ok(())
    }

    fn is_idle(&self) -> bool {
        self.pace.idle_exit.is_some_and(|limit| self.last_news.elapsed() >= limit)
    }
}

fn until_full(buffer: &[u8]) -> ControlFlow<()> {
    if buffer.len() < BATCH_BYTES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}
