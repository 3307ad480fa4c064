//! Reading the spool in order of sequence.

use std::cell::RefCell;
use std::fmt;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, Row, params};
use tracing::error;

use super::damage::{self, Damage};
use crate::os::log_throttle::LogThrottle;
use crate::spool::{ItemKind, SpoolError, sqlite};

/// An event as it stands in the spool.
#[derive(Debug, Clone, Copy)]
pub struct StoredEvent<'a> {
    /// The event's sequence.
    pub sequence: i64,
    /// When its webhook arrived: Unix milliseconds.
    pub received_at: i64,
    /// Its JSON text, as received.
    pub body: &'a [u8],
}

/// An item that is no event, as it stands in the spool.
#[derive(Debug, Clone, Copy)]
pub struct StoredRejection<'a> {
    /// Its sequence, of the same series as those of events.
    pub sequence: i64,
    /// When it arrived: Unix milliseconds.
    pub received_at: i64,
    /// Why it is no event.
    pub reason: &'a str,
    /// What was received, up to 64 KiB.
    pub body: &'a [u8],
}

/// How much waits, as far as a glance tells: SQLite counts by reading, and a spool may have gigabytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backlog {
    /// So much.
    Exactly(u64),
    /// More than this.
    MoreThan(u64),
}

impl Backlog {
    /// What is seen at a glance.
    const GLANCE: u64 = 10_000;

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Backlog::Exactly(0)
    }
}

impl fmt::Display for Backlog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Backlog::Exactly(number) => write!(f, "{number}"),
            Backlog::MoreThan(number) => write!(f, "more than {number}"),
        }
    }
}

/// Reads a spool. It never writes, and holds no lock between two calls.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    connection: Connection,
    /// When it was last told that the end of the spool can't be read.
    told: RefCell<LogThrottle>,
}

impl Reader {
    /// Opens the spool at `path`.
    pub fn open(path: &Path) -> Result<Self, SpoolError> {
        let reader = Reader::of(sqlite::open(path)?, path);
        reader.connection.pragma_update(None, "query_only", true).map_err(|source| reader.failed(source))?;
        Ok(reader)
    }

    /// Another reader of the same spool.
    pub fn again(&self) -> Result<Self, SpoolError> {
        Reader::open(&self.path)
    }

    /// Reads what `connection` leads to.
    pub(super) fn of(connection: Connection, path: &Path) -> Self {
        Reader { path: path.to_owned(), connection, told: RefCell::default() }
    }

    /// Shows `visit` up to `limit` events past `position`, in order, until it breaks. Says how many it saw. What can't be
    /// read is shown as [`Damage`], and got past.
    pub fn read_past(
        &self,
        position: i64,
        limit: u32,
        mut visit: impl FnMut(Result<StoredEvent<'_>, Damage>) -> ControlFlow<()>,
    ) -> Result<usize, SpoolError> {
        const QUERY: &str = "SELECT sequence, received_at, body FROM event WHERE sequence >= ?1 + 1 ORDER BY sequence LIMIT ?2";
        self.read(ItemKind::Events, QUERY, position, limit, |read| {
            Ok(match read {
                Ok(row) => {
                    let body = row.get_ref(2)?.as_bytes()?;
                    visit(Ok(StoredEvent { sequence: row.get(0)?, received_at: row.get(1)?, body }))
                }
                Err(damage) => visit(Err(damage)),
            })
        })
    }

    /// Shows `visit` up to `limit` rejected items past `position`, in order, until it breaks. Says how many it saw. What
    /// can't be read is shown as [`Damage`], and got past.
    pub fn read_rejected_past(
        &self,
        position: i64,
        limit: u32,
        mut visit: impl FnMut(Result<StoredRejection<'_>, Damage>) -> ControlFlow<()>,
    ) -> Result<usize, SpoolError> {
        const QUERY: &str = "SELECT sequence, received_at, reason, body FROM rejected WHERE sequence >= ?1 + 1 \
                             ORDER BY sequence LIMIT ?2";
        self.read(ItemKind::Rejected, QUERY, position, limit, |read| {
            Ok(match read {
                Ok(row) => visit(Ok(StoredRejection {
                    sequence: row.get(0)?,
                    received_at: row.get(1)?,
                    reason: row.get_ref(2)?.as_str()?,
                    body: row.get_ref(3)?.as_bytes()?,
                })),
                Err(damage) => visit(Err(damage)),
            })
        })
    }

    // "At least position + 1" and not "past position": SQLite looks for a sequence on the page that ends with it, and the
    // position may be the end of a page that is damaged.

    /// Shows `visit` the rows of a query and the damage between them, in order. Says how many there were.
    fn read(
        &self,
        kept: ItemKind,
        query: &str,
        position: i64,
        limit: u32,
        mut visit: impl FnMut(Result<&Row<'_>, Damage>) -> rusqlite::Result<ControlFlow<()>>,
    ) -> Result<usize, SpoolError> {
        let (mut position, mut seen) = (position, 0);
        loop {
            let mut read = || -> rusqlite::Result<()> {
                let mut statement = self.connection.prepare_cached(query)?;
                let mut rows = statement
                    .query(params![position, i64::from(limit) - i64::try_from(seen).unwrap_or(0)])?;
                while let Some(row) = rows.next()? {
                    let flow = visit(Ok(row))?;
                    position = row.get(0)?;
                    seen += 1;
                    if flow.is_break() {
                        break;
                    }
                }
                Ok(())
            };
            let error = match read() {
                Ok(()) => return Ok(seen),
                Err(error) if damage::is_damage(&error) => error,
                Err(error) => return Err(self.failed(error)),
            };
            let Some(damage) = damage::skip(&self.connection, &self.path, kept, position, &error) else {
                if let Some(suppressed) = self.told.borrow_mut().allow() {
                    error!("{}{suppressed}", self.failed(error));
                }
                return Ok(seen);
            };
            position = damage.through;
            seen += 1;
            if visit(Err(damage)).map_err(|source| self.failed(source))?.is_break() || seen >= limit as usize
            {
                return Ok(seen);
            }
        }
    }

    /// How many events, or rejected items, there are past `position`, at a glance.
    pub fn backlog_past(&self, kept: ItemKind, position: i64) -> Result<Backlog, SpoolError> {
        let seen = self.count_past_up_to(kept, position, Backlog::GLANCE + 1)?;
        Ok(if seen > Backlog::GLANCE { Backlog::MoreThan(Backlog::GLANCE) } else { Backlog::Exactly(seen) })
    }

    /// Counts the events, or the rejected items, past `position`. That takes seconds where there are gigabytes.
    pub fn count_past(&self, kept: ItemKind, position: i64) -> Result<u64, SpoolError> {
        self.count_past_up_to(kept, position, u32::MAX.into())
    }

    fn count_past_up_to(&self, kept: ItemKind, position: i64, limit: u64) -> Result<u64, SpoolError> {
        let table = kept.table();
        let query = format!("SELECT count(*) FROM (SELECT 1 FROM {table} WHERE sequence > ?1 LIMIT {limit})");
        let count =
            || self.connection.prepare_cached(&query)?.query_row([position], |row| row.get::<_, i64>(0));
        match count() {
            Err(error) if damage::is_damage(&error) => {
                // One by one, and past what can't be read, which is not counted.
                let each = format!(
                    "SELECT sequence FROM {table} WHERE sequence >= ?1 + 1 ORDER BY sequence LIMIT ?2"
                );
                let mut readable = 0;
                let limit = u32::try_from(limit).unwrap_or(u32::MAX);
                self.read(kept, &each, position, limit, |read| {
                    readable += u64::from(read.is_ok());
                    Ok(ControlFlow::Continue(()))
                })?;
                Ok(readable)
            }
            count => count.map(i64::unsigned_abs).map_err(|source| self.failed(source)),
        }
    }

    /// When the first event past `position` arrived, if that can be read: Unix milliseconds.
    pub fn oldest_past(&self, position: i64) -> Result<Option<i64>, SpoolError> {
        let oldest = || {
            self.connection
                .prepare_cached(
                    "SELECT received_at FROM event WHERE sequence > ?1 ORDER BY sequence LIMIT 1",
                )?
                .query_row([position], |row| row.get(0))
                .optional()
        };
        match oldest() {
            Err(error) if damage::is_damage(&error) => Ok(None),
            oldest => oldest.map_err(|source| self.failed(source)),
        }
    }

    /// The smallest sequence in the spool, if there is anything in it; 1 if it can't be read.
    pub fn first_sequence(&self) -> Result<Option<i64>, SpoolError> {
        let first = "SELECT min(sequence) FROM (SELECT min(sequence) AS sequence FROM event UNION ALL SELECT min(sequence) FROM rejected)";
        match self.connection.query_row(first, [], |row| row.get(0)) {
            Err(error) if damage::is_damage(&error) => Ok(Some(1)),
            first => first.map_err(|source| self.failed(source)),
        }
    }

    fn failed(&self, source: rusqlite::Error) -> SpoolError {
        SpoolError::sqlite(&self.path, "reading", source)
    }
}
