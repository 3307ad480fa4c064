//! What a spool holds and how far everybody has got with it: one look, for the metrics and for people.
//!
//! It is taken from the file alone, beside a running tap or without one. It takes no role and writes nothing.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension};

use super::disk_usage::DiskUsage;
use super::row_count::RowCount;
use crate::os::clock;
use crate::spool::sqlite::{self, CONFIRMED_THROUGH, TRIMMED_THROUGH, WRITTEN_THROUGH};
use crate::spool::{ItemKind, SpoolError};

/// What a spool holds, and how far everybody has got with it, at one moment. Moments are Unix milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolStats {
    /// Events that are kept.
    pub events: u64,
    /// Items that are kept although they are no events.
    pub rejected: u64,
    /// When the first of the events arrived.
    pub oldest_event: Option<i64>,
    /// When the last of them did.
    pub newest_event: Option<i64>,
    /// How large it is, and how much room there is.
    pub space: DiskUsage,
    /// The largest sequence that was ever handed out; 0 for a new spool.
    pub committed_through: i64,
    /// A sequence that no STATE of this spool is past; none if there was no STATE.
    pub written_through: Option<i64>,
    /// The sequence up to which all events were ever confirmed; none if none were.
    pub confirmed_through: Option<i64>,
    /// The largest sequence that was ever trimmed; none if none was.
    pub trimmed_through: Option<i64>,
    /// Events that nobody has confirmed.
    pub unconfirmed: Pending,
}

/// Events past a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    /// How many.
    pub events: u64,
    /// When the first of them arrived: Unix milliseconds.
    pub oldest: Option<i64>,
}

impl Pending {
    /// How long the oldest has been pending; 0 if there is none.
    #[must_use]
    pub fn age_seconds(&self, unix_millis: i64) -> f64 {
        self.oldest.map_or(0.0, |oldest| clock::seconds_between(oldest, unix_millis))
    }
}

/// Looks at a spool, more than once at little cost: only what has come and gone since the last time is counted.
#[derive(Debug)]
pub struct StatsReader {
    path: PathBuf,
    connection: Connection,
    events: RowCount,
    rejected: RowCount,
}

impl StatsReader {
    /// Opens the spool at `path` for reading; none if there is no spool.
    pub fn open(path: &Path) -> Result<Option<Self>, SpoolError> {
        let Some(connection) = sqlite::look(path)? else { return Ok(None) };
        let (events, rejected) = (RowCount::of(ItemKind::Events), RowCount::of(ItemKind::Rejected));
        Ok(Some(StatsReader { path: path.to_owned(), connection, events, rejected }))
    }

    /// Looks at the spool. Besides: which events are past `position`.
    pub fn survey(&mut self, position: i64) -> Result<(SpoolStats, Pending), SpoolError> {
        let StatsReader { path, connection, events, rejected } = self;
        let failed = |source| SpoolError::sqlite(path, "reading", source);
        // All of it as of one moment.
        let look = connection.transaction().map_err(failed)?;
        let space = DiskUsage::look(path, &look)?;
        let mut rest = || {
            let fact = |name| sqlite::fact(&look, name);
            let (counted_events, counted_rejected) = (events.look(&look)?, rejected.look(&look)?);
            let confirmed_through = fact(CONFIRMED_THROUGH)?;
            let survey = SpoolStats {
                events: counted_events,
                rejected: counted_rejected,
                oldest_event: arrival(&look, "WHERE sequence > ?1 ORDER BY sequence", 0)?,
                newest_event: arrival(&look, "WHERE sequence > ?1 ORDER BY sequence DESC", 0)?,
                space,
                committed_through: sqlite::last_sequence(&look)?,
                written_through: fact(WRITTEN_THROUGH)?,
                confirmed_through,
                trimmed_through: fact(TRIMMED_THROUGH)?,
                unconfirmed: pending(&look, events, confirmed_through.unwrap_or(0))?,
            };
            Ok((survey, pending(&look, events, position)?))
        };
        rest().map_err(failed)
    }
}

fn pending(look: &Connection, events: &RowCount, position: i64) -> rusqlite::Result<Pending> {
    let oldest = arrival(look, "WHERE sequence > ?1 ORDER BY sequence", position)?;
    Ok(Pending { events: events.past(look, position)?, oldest })
}

/// When the first event that `which` finds arrived.
fn arrival(look: &Connection, which: &str, position: i64) -> rusqlite::Result<Option<i64>> {
    look.prepare_cached(&format!("SELECT received_at FROM event {which} LIMIT 1"))?
        .query_row([position], |row| row.get(0))
        .optional()
}
