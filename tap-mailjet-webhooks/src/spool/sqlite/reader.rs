//! Reads the event log in the order of sequences.

use std::ops::ControlFlow;

use rusqlite::{Row, params};
use tracing::error;

use super::damage;
use super::database::Database;
use super::error::is_damage;
use crate::os::clock::UnixMillis;
use crate::os::log_throttle::LogThrottle;
use crate::spool::{Backlog, Damage, EventReader, ItemKind, Sequence, SpoolError, StoredItem};

#[derive(Debug)]
pub(super) struct SqliteReader {
    pub(super) database: Database,
    /// For the error that the rest of the spool cannot be read.
    pub(super) throttle: LogThrottle,
}

/// The columns of an item, in the order in which [`item_in`] reads them.
fn columns(kind: ItemKind) -> &'static str {
    match kind {
        ItemKind::Event => "sequence, received_at, NULL, body",
        ItemKind::Rejected => "sequence, received_at, reason, body",
    }
}

fn item_in<'r>(row: &'r Row<'_>) -> rusqlite::Result<StoredItem<'r>> {
    Ok(StoredItem {
        sequence: Sequence::new(row.get(0)?),
        received_at: UnixMillis::new(row.get(1)?),
        reason: row.get_ref(2)?.as_str_or_null()?,
        body: row.get_ref(3)?.as_bytes()?,
    })
}

impl SqliteReader {
    fn failed(&self, source: rusqlite::Error) -> SpoolError {
        self.database.failed("reading")(source).into()
    }
}

impl EventReader for SqliteReader {
    fn read_past(
        &mut self,
        kind: ItemKind,
        mut position: Sequence,
        limit: u32,
        visit: &mut dyn FnMut(Result<StoredItem<'_>, Damage>) -> ControlFlow<()>,
    ) -> Result<usize, SpoolError> {
        // The query asks for "at least position + 1" and not "past position": SQLite would look for the
        // position itself, which may be the end of a page that is damaged.
        let query = format!(
            "SELECT {} FROM {} WHERE sequence >= ?1 + 1 ORDER BY sequence LIMIT ?2",
            columns(kind),
            kind.table()
        );
        let mut seen = 0;
        loop {
            let mut read = || -> rusqlite::Result<()> {
                let mut statement = self.database.connection.prepare_cached(&query)?;
                let left = i64::from(limit) - i64::try_from(seen).unwrap_or(0);
                let mut rows = statement.query(params![position.get(), left])?;
                while let Some(row) = rows.next()? {
                    let item = item_in(row)?;
                    position = item.sequence;
                    seen += 1;
                    if visit(Ok(item)).is_break() {
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
            if visit(Err(damage)).is_break() || seen >= limit as usize {
                return Ok(seen);
            }
        }
    }

    fn read_newest(
        &mut self,
        kind: ItemKind,
        through: Sequence,
        limit: u32,
        visit: &mut dyn FnMut(StoredItem<'_>) -> ControlFlow<()>,
    ) -> Result<(), SpoolError> {
        let query = format!(
            "SELECT {} FROM {} WHERE sequence <= ?1 ORDER BY sequence DESC LIMIT ?2",
            columns(kind),
            kind.table()
        );
        let mut read = || -> rusqlite::Result<()> {
            let mut statement = self.database.connection.prepare_cached(&query)?;
            let mut rows = statement.query(params![through.get(), limit])?;
            while let Some(row) = rows.next()? {
                if visit(item_in(row)?).is_break() {
                    break;
                }
            }
            Ok(())
        };
        match read() {
            Err(error) if is_damage(&error) => Ok(()),
            other => other.map_err(|source| self.failed(source)),
        }
    }

    fn backlog_past(&mut self, kind: ItemKind, position: Sequence) -> Result<Backlog, SpoolError> {
        let limit = Backlog::MAX_EXACT + 1;
        let query =
            format!("SELECT count(*) FROM (SELECT 1 FROM {} WHERE sequence > ?1 LIMIT ?2)", kind.table());
        let count = self.database.connection.prepare_cached(&query).and_then(|mut query| {
            query.query_row(params![position.get(), limit], |row| row.get::<_, u32>(0))
        });
        let count = match count {
            Err(error) if is_damage(&error) => {
                let mut readable = 0;
                self.read_past(kind, position, limit, &mut |item| {
                    readable += u32::from(item.is_ok());
                    ControlFlow::Continue(())
                })?;
                readable
            }
            count => count.map_err(|source| self.failed(source))?,
        };
        Ok(if count < limit {
            Backlog::Exactly(count.into())
        } else {
            Backlog::MoreThan(Backlog::MAX_EXACT.into())
        })
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
