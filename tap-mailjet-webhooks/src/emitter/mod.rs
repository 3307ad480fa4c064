//! The emitter: from the spool to Singer messages on stdout. It knows columns and Singer, and nothing of
//! HTTP.
//!
//! | file | contents |
//! | --- | --- |
//! | this one | the loop: what is written when |
//! | [`read_ahead`] | reading from the spool while something else is written |
//! | [`streams`] | which streams get an event, and how far each has got |
//! | [`record`] | from an event to the bytes of its RECORD messages |
//! | [`state`] | where a run starts, STATE messages, what the target has confirmed, and trimming |
//! | [`progress`] | how far the emitter has got, for display |
//! | [`stop`] | how a run is stopped, and how it ended |
//! | [`dry_run`] | messages without a spool: what `--test` prints |

mod dry_run;
pub mod progress;
mod read_ahead;
mod record;
mod state;
mod stop;
mod streams;

use std::io::Write;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use catalog::selection::{CatalogError, Selection};
use catalog::stream::{Stream, StreamId};

pub use dry_run::{DryRun, write_samples};
pub(crate) use record::stream_with_discovered_columns;
pub use record::{ColumnRules, ExtraColumn, UnknownFields};
pub use state::{
    Confirmation, StartError, StateFile, StateFileError, WithoutState, Written, follow_confirmations,
    last_state,
};
pub use stop::{EmitError, Ended, StopControl};

use crate::os::clock::UnixMillis;
use crate::spool::{
    Backlog, EventReader, ItemKind, Registry, SequenceUnit, Spool, SpoolError, Wakeup, Watermark,
};
use progress::EmitterProgress;
use read_ahead::{Item, ReadAhead};
use state::{Start, StateWriter};
use streams::Streams;

/// How many rejected items are read at once.
const BATCH_REJECTED: u32 = 1_000;
/// The messages collect up to this size before they are written.
const FULL_BYTES: usize = 1 << 20;
/// How long no event has to arrive before the spool counts as idle, and a STATE is written early. Without
/// this, each event of a trickle would be followed by a STATE, and a target that syncs for each STATE would
/// do nothing else.
const IDLE_AFTER: Duration = Duration::from_millis(100);

/// How often a STATE is repeated while a run that was asked to end waits for its last requests.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);

/// What a run writes: the selected streams, and how their columns are named and filled.
#[derive(Debug)]
pub struct OutputSpec {
    /// The selected streams and columns.
    pub selection: Selection,
    /// What the names of system columns start with.
    pub system_prefix: String,
    /// Which columns appear besides those that the catalog knows.
    pub columns: ColumnRules,
}

/// Why a run cannot write what its [`OutputSpec`] says.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The message of each variant says what it is.
pub enum OutputSpecError {
    #[error("catalog: {0}")]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// When a run writes a STATE, and when it ends.
#[derive(Debug, Clone)]
pub struct Pace {
    /// While the streams advance, a STATE is written at least this often,
    pub state_interval: Duration,
    /// and after at most this many records.
    pub state_interval_records: u64,
    /// The run ends if nothing has arrived for this long.
    pub idle_exit: Option<Duration>,
}

/// One run: writes what is past the bookmarks, then what arrives.
#[derive(Debug)]
pub struct Emitter<W> {
    spool: Arc<dyn Spool>,
    reader: Box<dyn EventReader>,
    registry: Box<dyn Registry>,
    streams: Streams,
    out: W,
    /// Messages that `out` has not taken yet, and the number of events in them.
    messages: Vec<u8>,
    events: u64,
    state_writer: StateWriter,
    /// What [`Registry::columns_forgotten`] returned last.
    columns_forgotten: i64,
    progress: EmitterProgress,
    idle: IdleTimer,
}

/// How long a run may be idle, and since when it is.
#[derive(Debug)]
struct IdleTimer {
    limit: Option<Duration>,
    since: Instant,
}

impl<W: Write> Emitter<W> {
    /// Prepares a run that writes what `spec` says to `out`. It starts at the beginning of the spool unless
    /// [`Emitter::start_from`] is called.
    pub fn new(
        spool: Arc<dyn Spool>,
        spec: &OutputSpec,
        out: W,
        pace: Pace,
        progress: EmitterProgress,
    ) -> Result<Self, OutputSpecError> {
        let (reader, mut registry) = (spool.reader()?, spool.registry()?);
        let columns_forgotten = registry.columns_forgotten()?;
        let streams = Streams::new(spec, StreamId::all(), &registry.discovered_columns()?)?;
        // It is the same in every stream.
        let replication_key = Stream::new(StreamId::Data, &spec.system_prefix).replication_key().to_owned();
        Ok(Emitter {
            spool,
            reader,
            streams,
            out,
            messages: Vec::new(),
            events: 0,
            idle: IdleTimer { limit: pace.idle_exit, since: Instant::now() },
            state_writer: StateWriter::new(pace, replication_key, registry.written_through()?),
            columns_forgotten,
            registry,
            progress,
        })
    }

    /// Makes the run start where `state_file` says. Returns how many events are past that.
    pub fn start_from(
        &mut self,
        state_file: Option<&mut StateFile>,
        unit: SequenceUnit,
    ) -> Result<Backlog, StartError> {
        let (reader, registry) = (&mut *self.reader, &mut *self.registry);
        let start =
            Start::determine(&self.streams.ids(), state_file, reader, registry, unit, UnixMillis::now())?;
        self.streams.start_at(&start.positions);
        self.state_writer.note_bookmarks(&start.positions, registry)?;
        self.state_writer.state = start.state;
        // Other threads need the positions before the run starts.
        self.publish();
        Ok(start.waiting)
    }

    /// What the run has written, to be compared with the states that come back.
    pub fn written(&self) -> &Written {
        &self.state_writer.written
    }

    /// Writes SCHEMA, then RECORD and STATE messages, until `watermark` is closed and all is written, or
    /// until `control` cuts it short. The last message is a STATE.
    pub fn run(mut self, watermark: &Watermark, control: &StopControl) -> Result<Ended, EmitError> {
        let mut read_ahead = match self.streams.positions().through(ItemKind::Event) {
            Some(position) => Some(ReadAhead::start(self.spool.reader()?, position)?),
            None => None,
        };
        self.streams.write_schemas(&mut self.messages);
        let ended = loop {
            if control.is_over() {
                let positions = self.streams.positions();
                break Ended::CutShort(positions.backlog(ItemKind::Event, &mut *self.reader)?);
            }
            // This is read before the spool, so that anything committed later ends the wait below at once.
            let committed = watermark.committed();
            if self.write_batch(read_ahead.as_mut())? {
                if self.state_writer.is_due() {
                    self.write_state_if_room()?;
                }
                self.flush()?;
                continue;
            }
            self.flush()?;
            if self.idle.limit.is_some_and(|limit| self.idle.since.elapsed() >= limit) {
                control.idle.notify_one();
            }
            match watermark.wait_past(committed, IDLE_AFTER) {
                Wakeup::Closed => break Ended::AllWritten,
                Wakeup::TimedOut if self.state_writer.has_news => self.write_state_if_room()?,
                // A target that was signalled as well must see that there is more to come.
                Wakeup::TimedOut if control.is_ending() && self.state_writer.is_silent_for(SIGN_OF_LIFE) => {
                    self.write_state_if_room()?;
                }
                Wakeup::TimedOut | Wakeup::Advanced => {}
            }
        };
        let positions = self.streams.positions();
        self.state_writer.write(&positions, &mut *self.registry, &mut self.messages)?;
        self.flush()?;
        self.streams.log_unwritten();
        Ok(ended)
    }

    /// Puts the next records into the buffer. Returns whether the spool had any items for that.
    fn write_batch(&mut self, read_ahead: Option<&mut ReadAhead>) -> Result<bool, EmitError> {
        self.forget_columns()?;
        let (events, event_records) = self.write_events(read_ahead)?;
        let (rejected, rejected_records) = self.write_rejected()?;
        let has_items = events > 0 || rejected > 0;
        if has_items {
            self.events += events;
            self.state_writer.note_advance(event_records + rejected_records);
            self.idle.since = Instant::now();
        }
        Ok(has_items)
    }

    /// Takes back columns that `columns forget` has removed since the last call.
    fn forget_columns(&mut self) -> Result<(), SpoolError> {
        let forgotten = self.registry.columns_forgotten()?;
        if forgotten != self.columns_forgotten {
            let discovered = self.registry.discovered_columns()?;
            self.streams.forget_columns(&discovered, &mut self.messages);
            self.columns_forgotten = forgotten;
        }
        Ok(())
    }

    /// Puts records of events into the buffer. Returns the numbers of events and of records.
    fn write_events(&mut self, read_ahead: Option<&mut ReadAhead>) -> Result<(u64, u64), SpoolError> {
        let Emitter { streams, registry, messages, state_writer, .. } = self;
        let Some(read_ahead) = read_ahead else { return Ok((0, 0)) };
        read_ahead.refill()?;
        let batched_at = UnixMillis::now();
        let max_records = state_writer.records_until_due();
        let (mut events, mut records) = (0, 0);
        // At least one: a SCHEMA may fill the buffer.
        while events == 0 || records < max_records && messages.len() < FULL_BYTES {
            records += match read_ahead.pop() {
                None => break,
                // If this fails, nothing of the batch is ever written.
                Some((Item::Event(event), following)) => {
                    streams.write_event(&event, following, batched_at, messages, |columns| {
                        registry.add_discovered_columns(columns)
                    })?
                }
                Some((Item::TooManyValues(item), _)) => {
                    streams.write_too_many_values(item, batched_at, messages)
                }
                Some((Item::Damage(damage), _)) => {
                    streams.write_damage(ItemKind::Event, damage, batched_at, messages)
                }
            };
            events += 1;
        }
        Ok((events, records))
    }

    /// Puts records of rejected items into the buffer. Returns the numbers of items and of records.
    fn write_rejected(&mut self) -> Result<(usize, u64), SpoolError> {
        let Emitter { streams, reader, messages, .. } = self;
        let Some(position) = streams.positions().through(ItemKind::Rejected) else { return Ok((0, 0)) };
        let (mut records, mut read_at) = (0, None);
        let items = reader.read_past(ItemKind::Rejected, position, BATCH_REJECTED, &mut |item| {
            let batched_at = *read_at.get_or_insert_with(UnixMillis::now);
            records += match item {
                Ok(item) => streams.write_rejected(item, batched_at, messages),
                Err(damage) => streams.write_damage(ItemKind::Rejected, &damage, batched_at, messages),
            };
            if messages.len() >= FULL_BYTES { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok((items, records))
    }

    fn write_state_if_room(&mut self) -> Result<(), SpoolError> {
        let positions = self.streams.positions();
        self.state_writer.write_if_room(&positions, &mut *self.registry, &mut self.messages)
    }

    fn flush(&mut self) -> Result<(), EmitError> {
        if !self.messages.is_empty() {
            self.out.write_all(&self.messages)?;
            self.out.flush()?;
            self.messages.clear();
            // A huge event takes memory only until it is written.
            self.messages.shrink_to(2 * FULL_BYTES);
        }
        self.publish();
        Ok(())
    }

    /// Tells other threads how far stdout has got.
    fn publish(&mut self) {
        let (events, positions) = (std::mem::take(&mut self.events), self.streams.positions());
        self.progress.note_written(events, self.streams.record_counts(), positions.through(ItemKind::Event));
        self.state_writer.written.set_positions(positions);
    }
}
