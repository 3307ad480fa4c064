//! Reading the spool in order of sequence.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, params};

use super::{SpoolError, sqlite};

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

/// What lies past a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// How many events.
    pub events: u64,
    /// When the first of them arrived: Unix milliseconds.
    pub oldest: Option<i64>,
}

/// Reads a spool. It never writes, and holds no lock between two calls.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    connection: Connection,
}

impl Reader {
    /// Opens the spool at `path`.
    pub fn open(path: &Path) -> Result<Self, SpoolError> {
        let reader = Reader { path: path.to_owned(), connection: sqlite::open(path)? };
        reader.connection.pragma_update(None, "query_only", true).map_err(|source| reader.failed(source))?;
        Ok(reader)
    }

    /// Shows `visit` up to `limit` events past `position`, in order, until it breaks. Says how many it saw.
    pub fn read_past(
        &self,
        position: i64,
        limit: u32,
        mut visit: impl FnMut(StoredEvent<'_>) -> ControlFlow<()>,
    ) -> Result<usize, SpoolError> {
        let mut read = || {
            let mut statement = self.connection.prepare_cached(
                "SELECT sequence, received_at, body FROM event WHERE sequence > ?1 ORDER BY sequence LIMIT ?2",
            )?;
            let mut rows = statement.query(params![position, limit])?;
            let mut seen = 0;
            while let Some(row) = rows.next()? {
                let body = row.get_ref(2)?.as_bytes()?;
                seen += 1;
                if visit(StoredEvent { sequence: row.get(0)?, received_at: row.get(1)?, body }).is_break() {
                    break;
                }
            }
            Ok(seen)
        };
        read().map_err(|source| self.failed(source))
    }

    /// Shows `visit` up to `limit` rejected items past `position`, in order, until it breaks. Says how many it saw.
    pub fn read_rejected_past(
        &self,
        position: i64,
        limit: u32,
        mut visit: impl FnMut(StoredRejection<'_>) -> ControlFlow<()>,
    ) -> Result<usize, SpoolError> {
        let mut read = || {
            let mut statement = self.connection.prepare_cached(
                "SELECT sequence, received_at, reason, body FROM rejected WHERE sequence > ?1 ORDER BY sequence LIMIT ?2",
            )?;
            let mut rows = statement.query(params![position, limit])?;
            let mut seen = 0;
            while let Some(row) = rows.next()? {
                seen += 1;
                let item = StoredRejection {
                    sequence: row.get(0)?,
                    received_at: row.get(1)?,
                    reason: row.get_ref(2)?.as_str()?,
                    body: row.get_ref(3)?.as_bytes()?,
                };
                if visit(item).is_break() {
                    break;
                }
            }
            Ok(seen)
        };
        read().map_err(|source| self.failed(source))
    }

    /// Counts the events past `position`.
    pub fn backlog(&self, position: i64) -> Result<Backlog, SpoolError> {
        let events = self.count("SELECT count(*) FROM event WHERE sequence > ?1", position)?;
        Ok(Backlog { events, oldest: self.oldest_past(position)? })
    }

    /// Counts the rejected items past `position`.
    pub fn rejected_past(&self, position: i64) -> Result<u64, SpoolError> {
        self.count("SELECT count(*) FROM rejected WHERE sequence > ?1", position)
    }

    fn count(&self, query: &str, position: i64) -> Result<u64, SpoolError> {
        let count =
            || self.connection.prepare_cached(query)?.query_row([position], |row| row.get::<_, i64>(0));
        count().map(i64::unsigned_abs).map_err(|source| self.failed(source))
    }

    /// When the first event past `position` arrived: Unix milliseconds.
    pub fn oldest_past(&self, position: i64) -> Result<Option<i64>, SpoolError> {
        let oldest = || {
            self.connection
                .prepare_cached(
                    "SELECT received_at FROM event WHERE sequence > ?1 ORDER BY sequence LIMIT 1",
                )?
                .query_row([position], |row| row.get(0))
                .optional()
        };
        oldest().map_err(|source| self.failed(source))
    }

    /// The smallest sequence in the spool, if there is anything in it.
    pub fn first_sequence(&self) -> Result<Option<i64>, SpoolError> {
        let first = "SELECT min(sequence) FROM (SELECT min(sequence) AS sequence FROM event UNION ALL SELECT min(sequence) FROM rejected)";
        self.connection.query_row(first, [], |row| row.get(0)).map_err(|source| self.failed(source))
    }

    /// The largest sequence that was ever handed out; 0 for a new spool.
    pub fn last_sequence(&self) -> Result<i64, SpoolError> {
        sqlite::last_sequence(&self.connection).map_err(|source| self.failed(source))
    }

    fn failed(&self, source: rusqlite::Error) -> SpoolError {
        SpoolError::sqlite(&self.path, "reading", source)
    }
}
