//! What the spool holds, and how far each component has got with it. The file alone says so, with or without
//! a running tap.

use rusqlite::{Connection, OptionalExtension};

use super::database::Database;
use super::row_count::RowCount;
use super::{disk_usage, facts};
use crate::os::clock::UnixMillis;
use crate::spool::{ItemKind, Pending, Sequence, SpoolError, SpoolStats, StatsReader};

#[derive(Debug)]
pub(super) struct SqliteStatsReader {
    database: Database,
    events: RowCount,
    rejected: RowCount,
}

impl SqliteStatsReader {
    pub(super) fn new(database: Database) -> Self {
        let (events, rejected) = (RowCount::new(ItemKind::Event), RowCount::new(ItemKind::Rejected));
        SqliteStatsReader { database, events, rejected }
    }
}

impl StatsReader for SqliteStatsReader {
    fn read(&mut self) -> Result<SpoolStats, SpoolError> {
        let disk = disk_usage::measure(&self.database)?;
        let SqliteStatsReader { database, events, rejected } = self;
        let mut read = || {
            // A transaction, so that all of it is as of one moment.
            let snapshot = database.connection.unchecked_transaction()?;
            let (event_count, rejected_count) = (events.update(&snapshot)?, rejected.update(&snapshot)?);
            let confirmed_through = facts::read_sequence(&snapshot, facts::CONFIRMED_THROUGH)?;
            Ok(SpoolStats {
                events: event_count,
                rejected: rejected_count,
                oldest_event: arrival(&snapshot, Sequence::START, "ASC")?,
                newest_event: arrival(&snapshot, Sequence::START, "DESC")?,
                disk,
                committed_through: facts::last_sequence(&snapshot)?,
                written_through: facts::read_sequence(&snapshot, facts::WRITTEN_THROUGH)?,
                confirmed_through,
                trimmed_through: facts::read_sequence(&snapshot, facts::TRIMMED_THROUGH)?,
                unconfirmed: pending(&snapshot, events, confirmed_through.unwrap_or(Sequence::START))?,
            })
        };
        Ok(read().map_err(database.failed("reading"))?)
    }

    fn pending_past(&mut self, position: Sequence) -> Result<Pending, SpoolError> {
        let pending = pending(&self.database.connection, &self.events, position);
        Ok(pending.map_err(self.database.failed("reading"))?)
    }
}

fn pending(connection: &Connection, events: &RowCount, position: Sequence) -> rusqlite::Result<Pending> {
    Ok(Pending { events: events.past(connection, position)?, oldest: arrival(connection, position, "ASC")? })
}

/// Returns when the first event past `position` arrived or, if `order` is `DESC`, the last.
fn arrival(connection: &Connection, position: Sequence, order: &str) -> rusqlite::Result<Option<UnixMillis>> {
    let query =
        format!("SELECT received_at FROM event WHERE sequence > ?1 ORDER BY sequence {order} LIMIT 1");
    let received_at =
        connection.prepare_cached(&query)?.query_row([position.get()], |row| row.get(0)).optional()?;
    Ok(received_at.map(UnixMillis::new))
}
