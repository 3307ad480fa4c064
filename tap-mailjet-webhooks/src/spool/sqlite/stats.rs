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
    /// Counts only what is pending, for a caller that does not ask for everything: the spool may be large.
    pending: Option<RowCount>,
    has_counted_all: bool,
}

impl SqliteStatsReader {
    pub(super) fn new(database: Database) -> Self {
        let [events, rejected] = ItemKind::ALL.map(|kind| RowCount::new(kind, Sequence::START));
        SqliteStatsReader { database, events, rejected, pending: None, has_counted_all: false }
    }
}

impl StatsReader for SqliteStatsReader {
    fn read(&mut self) -> Result<SpoolStats, SpoolError> {
        let disk = disk_usage::measure(&self.database)?;
        let SqliteStatsReader { database, events, rejected, has_counted_all, .. } = self;
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
                confirmed_at: facts::read(&snapshot, facts::CONFIRMED_AT)?.map(UnixMillis::new),
                trimmed_through: facts::read_sequence(&snapshot, facts::TRIMMED_THROUGH)?,
                unconfirmed: pending_in(&snapshot, events, confirmed_through.unwrap_or(Sequence::START))?,
            })
        };
        let stats = read().map_err(database.failed("reading"))?;
        *has_counted_all = true;
        Ok(stats)
    }

    fn pending_past(&mut self, position: Sequence) -> Result<Pending, SpoolError> {
        let SqliteStatsReader { database, events, pending, has_counted_all, .. } = self;
        let connection = &database.connection;
        let mut read = || {
            if *has_counted_all {
                return pending_in(connection, events, position);
            }
            if !pending.as_ref().is_some_and(|pending| pending.reaches_back_to(position)) {
                *pending = None;
            }
            let counted = pending.get_or_insert_with(|| RowCount::new(ItemKind::Event, position));
            counted.update(connection)?;
            pending_in(connection, counted, position)
        };
        Ok(read().map_err(database.failed("reading"))?)
    }
}

fn pending_in(connection: &Connection, events: &RowCount, position: Sequence) -> rusqlite::Result<Pending> {
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
