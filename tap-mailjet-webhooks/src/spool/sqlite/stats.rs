//! What the spool holds and how far everyone has got with it, read from the file alone: beside a running tap or without one.

use rusqlite::{Connection, OptionalExtension};

use super::database::Database;
use super::row_count::RowCount;
use super::{SqliteError, disk_usage, facts};
use crate::os::clock::UnixMillis;
use crate::spool::{ItemKind, Pending, Sequence, SpoolError, SpoolStats, StatsReader};

/// Looks at a spool, and remembers what it has counted.
#[derive(Debug)]
pub(super) struct SqliteStatsReader {
    database: Database,
    events: RowCount,
    rejected: RowCount,
}

impl SqliteStatsReader {
    /// Looks at `database`.
    pub(super) fn new(database: Database) -> Self {
        let (events, rejected) = (RowCount::new(ItemKind::Event), RowCount::new(ItemKind::Rejected));
        SqliteStatsReader { database, events, rejected }
    }

    fn read_facts_and_counts(&mut self) -> Result<SpoolStats, SqliteError> {
        let disk = disk_usage::measure(&self.database)?;
        let SqliteStatsReader { database, events, rejected } = self;
        let mut read = || {
            // All of it as of one moment.
            let snapshot = database.connection.unchecked_transaction()?;
            let (event_count, rejected_count) = (events.update(&snapshot)?, rejected.update(&snapshot)?);
            let confirmed_through = facts::read_sequence(&snapshot, facts::CONFIRMED_THROUGH)?;
            Ok(SpoolStats {
                events: event_count,
                rejected: rejected_count,
                oldest_event: arrival(&snapshot, "WHERE sequence > ?1 ORDER BY sequence", Sequence::START)?,
                newest_event: arrival(
                    &snapshot,
                    "WHERE sequence > ?1 ORDER BY sequence DESC",
                    Sequence::START,
                )?,
                disk,
                committed_through: facts::last_sequence(&snapshot)?,
                written_through: facts::read_sequence(&snapshot, facts::WRITTEN_THROUGH)?,
                confirmed_through,
                trimmed_through: facts::read_sequence(&snapshot, facts::TRIMMED_THROUGH)?,
                unconfirmed: pending(&snapshot, events, confirmed_through.unwrap_or(Sequence::START))?,
            })
        };
        read().map_err(database.failed("reading"))
    }
}

impl StatsReader for SqliteStatsReader {
    fn read(&mut self) -> Result<SpoolStats, SpoolError> {
        Ok(self.read_facts_and_counts()?)
    }

    fn pending_past(&mut self, position: Sequence) -> Result<Pending, SpoolError> {
        let pending = pending(&self.database.connection, &self.events, position);
        Ok(pending.map_err(self.database.failed("reading"))?)
    }
}

fn pending(connection: &Connection, events: &RowCount, position: Sequence) -> rusqlite::Result<Pending> {
    let oldest = arrival(connection, "WHERE sequence > ?1 ORDER BY sequence", position)?;
    Ok(Pending { events: events.past(connection, position)?, oldest })
}

/// Returns when the first event that `filter` finds arrived.
fn arrival(
    connection: &Connection,
    filter: &str,
    position: Sequence,
) -> rusqlite::Result<Option<UnixMillis>> {
    let query = format!("SELECT received_at FROM event {filter} LIMIT 1");
    let received_at =
        connection.prepare_cached(&query)?.query_row([position.get()], |row| row.get(0)).optional()?;
    Ok(received_at.map(UnixMillis::new))
}
