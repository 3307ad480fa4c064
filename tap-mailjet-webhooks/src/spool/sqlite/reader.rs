//! Reading the event log in the order of sequences.

use std::ops::ControlFlow;

use rusqlite::{OptionalExtension, Row, params};
use tracing::error;

use super::database::Database;
use super::error::is_damage;
use super::{damage, table};
use crate::os::clock::UnixMillis;
use crate::os::log_throttle::LogThrottle;
use crate::spool::{
    Backlog, Damage, EventReader, ItemKind, Sequence, SpoolError, StoredEvent, StoredRejection,
};

// The queries ask for "at least position + 1" and not "past position": SQLite looks for a sequence on the page that ends with
// it, and the position may be the end of a page that is damaged.
const EVENTS: &str =
    "SELECT sequence, received_at, body FROM event WHERE sequence >= ?1 + 1 ORDER BY sequence LIMIT ?2";
const REJECTED: &str = "SELECT sequence, received_at, reason, body FROM rejected WHERE sequence >= ?1 + 1 \
                        ORDER BY sequence LIMIT ?2";

/// Reads a spool.
#[derive(Debug)]
pub(super) struct SqliteReader {
    database: Database,
    /// For the warning that the end of the spool cannot be read.
    throttle: LogThrottle,
}

impl SqliteReader {
    /// Reads from `database`.
    pub(super) fn new(database: Database) -> Self {
        SqliteReader { database, throttle: LogThrottle::default() }
    }

    /// Shows `visit` the rows of a query and the damage between them, in order. Returns how many it has shown.
    fn read(
        &mut self,
        kind: ItemKind,
        query: &str,
        position: Sequence,
        limit: u32,
        mut visit: impl FnMut(Result<&Row<'_>, Damage>) -> rusqlite::Result<ControlFlow<()>>,
    ) -> Result<usize, SpoolError> {
        let (mut position, mut seen) = (position, 0);
        loop {
            let mut read = || -> rusqlite::Result<()> {
                let mut statement = self.database.connection.prepare_cached(query)?;
                let left = i64::from(limit) - i64::try_from(seen).unwrap_or(0);
                let mut rows = statement.query(params![position.get(), left])?;
                while let Some(row) = rows.next()? {
                    let flow = visit(Ok(row))?;
                    position = Sequence::new(row.get(0)?);
                    seen += 1;
                    if flow.is_break() {
                        break;
                    }
                }
                Ok(())
            };
            let error = match read() {
                Ok(()) => return Ok(seen),
                Err(error) if is_damage(&error) => error,
                Err(error) => return Err(self.failed(error)),
            };
            let Some(damage) = damage::skip(&self.database, kind, position, &error) else {
                if let Some(suppressed) = self.throttle.allow() {
                    error!("{}{suppressed}", self.failed(error));
                }
                return Ok(seen);
            };
            position = damage.through;
            seen += 1;
            let flow = visit(Err(damage)).map_err(|source| self.failed(source))?;
            if flow.is_break() || seen >= limit as usize {
                return Ok(seen);
            }
        }
    }

    fn count_past_up_to(
        &mut self,
        kind: ItemKind,
        position: Sequence,
        limit: u64,
    ) -> Result<u64, SpoolError> {
        let table = table(kind);
        let query = format!("SELECT count(*) FROM (SELECT 1 FROM {table} WHERE sequence > ?1 LIMIT {limit})");
        let count = self
            .database
            .connection
            .prepare_cached(&query)
            .and_then(|mut query| query.query_row([position.get()], |row| row.get::<_, i64>(0)));
        match count {
            Err(error) if is_damage(&error) => {
                // One by one, past what cannot be read, which is not counted.
                let each = format!(
                    "SELECT sequence FROM {table} WHERE sequence >= ?1 + 1 ORDER BY sequence LIMIT ?2"
                );
                let mut readable = 0;
                let limit = u32::try_from(limit).unwrap_or(u32::MAX);
                self.read(kind, &each, position, limit, |read| {
                    readable += u64::from(read.is_ok());
                    Ok(ControlFlow::Continue(()))
                })?;
                Ok(readable)
            }
            count => count.map(i64::unsigned_abs).map_err(|source| self.failed(source)),
        }
    }

    fn failed(&self, source: rusqlite::Error) -> SpoolError {
        self.database.failed("reading")(source).into()
    }
}

impl EventReader for SqliteReader {
    fn read_past(
        &mut self,
        position: Sequence,
        limit: u32,
        visit: &mut dyn FnMut(Result<StoredEvent<'_>, Damage>) -> ControlFlow<()>,
    ) -> Result<usize, SpoolError> {
        self.read(ItemKind::Event, EVENTS, position, limit, |read| {
            Ok(match read {
                Ok(row) => visit(Ok(StoredEvent {
                    sequence: Sequence::new(row.get(0)?),
                    received_at: UnixMillis::new(row.get(1)?),
                    body: row.get_ref(2)?.as_bytes()?,
                })),
                Err(damage) => visit(Err(damage)),
            })
        })
    }

    fn read_rejected_past(
        &mut self,
        position: Sequence,
        limit: u32,
        visit: &mut dyn FnMut(Result<StoredRejection<'_>, Damage>) -> ControlFlow<()>,
    ) -> Result<usize, SpoolError> {
        self.read(ItemKind::Rejected, REJECTED, position, limit, |read| {
            Ok(match read {
                Ok(row) => visit(Ok(StoredRejection {
                    sequence: Sequence::new(row.get(0)?),
                    received_at: UnixMillis::new(row.get(1)?),
                    reason: row.get_ref(2)?.as_str()?,
                    body: row.get_ref(3)?.as_bytes()?,
                })),
                Err(damage) => visit(Err(damage)),
            })
        })
    }

    fn backlog_past(&mut self, kind: ItemKind, position: Sequence) -> Result<Backlog, SpoolError> {
        let seen = self.count_past_up_to(kind, position, Backlog::QUICK_LOOK + 1)?;
        Ok(if seen > Backlog::QUICK_LOOK {
            Backlog::MoreThan(Backlog::QUICK_LOOK)
        } else {
            Backlog::Exactly(seen)
        })
    }

    fn count_past(&mut self, kind: ItemKind, position: Sequence) -> Result<u64, SpoolError> {
        self.count_past_up_to(kind, position, u32::MAX.into())
    }

    fn oldest_past(&mut self, position: Sequence) -> Result<Option<UnixMillis>, SpoolError> {
        let query = "SELECT received_at FROM event WHERE sequence > ?1 ORDER BY sequence LIMIT 1";
        let oldest = self
            .database
            .connection
            .prepare_cached(query)
            .and_then(|mut query| query.query_row([position.get()], |row| row.get(0)).optional());
        match oldest {
            Err(error) if is_damage(&error) => Ok(None),
            oldest => Ok(oldest.map_err(|source| self.failed(source))?.map(UnixMillis::new)),
        }
    }

    fn first_sequence(&mut self) -> Result<Option<Sequence>, SpoolError> {
        let query = "SELECT min(sequence) FROM (SELECT min(sequence) AS sequence FROM event \
                     UNION ALL SELECT min(sequence) FROM rejected)";
        match self.database.connection.query_row(query, [], |row| row.get::<_, Option<i64>>(0)) {
            Err(error) if is_damage(&error) => Ok(Some(Sequence::START.next())),
            first => Ok(first.map_err(|source| self.failed(source))?.map(Sequence::new)),
        }
    }
}
