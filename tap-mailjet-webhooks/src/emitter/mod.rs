//! The emitter: from the spool to Singer messages on stdout. It knows columns and Singer, and nothing of HTTP.
//!
//! | module | what it decides |
//! | --- | --- |
//! | this one | the tail loop: what is written when |
//! | [`row`] | which column each field of an event goes into |
//! | [`primary_key`] | the key of an event |
//! | [`members`] | how an event is taken apart without a tree |
//! | [`start`] | where a run begins, and what is said about it |
//! | [`state_file`] | what `--state` says, also while the tap runs |
//! | [`confirmed`] | what the target has stored, and what may therefore be trimmed |

mod confirmed;
mod members;
mod primary_key;
mod row;
mod start;
mod state_file;

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use catalog::message::Outgoing;
use catalog::state::State;
use catalog::stream::{SEQUENCE, Stream};
use tokio::sync::Notify;

pub use confirmed::{Confirmation, Confirmed};
pub use start::{Start, StartError};
pub use state_file::{StateFile, StateFileError};

use crate::clock;
use crate::progress::Counters;
use crate::spool::{Reader, SpoolError, Tide, Watermark};
use row::RowWriter;

/// Rows that are written at once.
const BATCH_ROWS: u32 = 1_000;
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
    CutShort(u64),
}

/// What the rest of the process and a running emitter tell each other.
#[derive(Debug, Default)]
pub struct Control {
    deadline: OnceLock<Instant>,
    /// Nothing has come for [`Pace::idle_exit`].
    pub idle: Notify,
}

impl Control {
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

/// One run: writes what lies past the bookmark, then what arrives.
pub struct Emitter<W> {
    reader: Reader,
    out: W,
    pace: Pace,
    counters: Counters,
    stream: Stream,
    rows: RowWriter,
    /// Bookmarks as of the last record that was written.
    state: State,
    /// Sequence of that record.
    position: i64,
    /// Messages that are not yet written.
    buffer: Vec<u8>,
    records_in_buffer: u64,
    records_since_state: u64,
    last_state: Instant,
    last_news: Instant,
}

impl<W: Write> Emitter<W> {
    /// A run that begins at `start` and writes to `out`.
    pub fn new(reader: Reader, start: Start, out: W, pace: Pace, counters: Counters) -> Self {
        let stream = Stream::data();
        let now = Instant::now();
        Emitter {
            rows: RowWriter::new(&stream),
            stream,
            reader,
            out,
            pace,
            counters,
            position: start.position,
            state: start.state,
            buffer: Vec::new(),
            records_in_buffer: 0,
            records_since_state: 0,
            last_state: now,
            last_news: now,
        }
    }

    /// Writes SCHEMA, then RECORD and STATE messages until `watermark` has ended and all is written, or until
    /// `control` cuts it short. The last message is a STATE.
    pub fn run(mut self, watermark: &Watermark, control: &Control) -> Result<Ended, EmitError> {
        self.write_schema();
        let ended = loop {
            if control.is_over() {
                break Ended::CutShort(self.reader.backlog(self.position)?.events);
            }
            // Taken before the spool is read: whatever is committed later lets the wait below end at once. It may be
            // past every event, since rejected items have sequences too.
            let committed = watermark.committed();
            if self.write_batch()? > 0 {
                if self.state_is_due() {
                    self.write_state();
                }
                self.flush()?;
                continue;
            }
            self.flush()?;
            if self.is_idle() {
                control.idle.notify_one();
            }
            match watermark.wait_past(committed, DRY_AFTER) {
                Tide::Ended => break Ended::Dry,
                Tide::Still if self.records_since_state > 0 => self.write_state(),
                Tide::Still | Tide::Risen => {}
            }
        };
        self.write_state();
        self.flush()?;
        Ok(ended)
    }

    fn write_schema(&mut self) {
        let schema = self.stream.json_schema();
        let message = Outgoing::Schema {
            stream: self.stream.name,
            schema: &schema,
            key_properties: &self.stream.key_properties(),
            bookmark_properties: &[SEQUENCE],
        };
        message.write_line(&mut self.buffer);
    }

    /// Puts the next records into the buffer, and says how many.
    fn write_batch(&mut self) -> Result<usize, EmitError> {
        let Emitter { reader, rows, buffer, position, .. } = self;
        let until_state = self.pace.state_interval_records.saturating_sub(self.records_since_state).max(1);
        let limit = u32::try_from(until_state).unwrap_or(u32::MAX).min(BATCH_ROWS);
        let batched_at = clock::unix_millis();
        let written = reader.read_past(*position, limit, |event| {
            rows.write(event, batched_at, buffer);
            *position = event.sequence;
            if buffer.len() < BATCH_BYTES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        if written > 0 {
            self.state.set_bookmark(self.stream.name, self.position);
            self.records_in_buffer += written as u64;
            self.records_since_state += written as u64;
            self.last_news = Instant::now();
        }
        Ok(written)
    }

    fn state_is_due(&self) -> bool {
        self.records_since_state >= self.pace.state_interval_records
            || self.last_state.elapsed() >= self.pace.state_interval
    }

    fn write_state(&mut self) {
        Outgoing::State { value: &self.state }.write_line(&mut self.buffer);
        self.records_since_state = 0;
        self.last_state = Instant::now();
    }

    fn flush(&mut self) -> Result<(), EmitError> {
        if !self.buffer.is_empty() {
            self.out.write_all(&self.buffer)?;
            self.out.flush()?;
            self.buffer.clear();
            // A batch with one huge event must not keep its memory for ever.
            self.buffer.shrink_to(2 * BATCH_BYTES);
        }
        self.counters.written(std::mem::take(&mut self.records_in_buffer), self.position);
        Ok(())
    }

    fn is_idle(&self) -> bool {
        self.pace.idle_exit.is_some_and(|limit| self.last_news.elapsed() >= limit)
    }
}
