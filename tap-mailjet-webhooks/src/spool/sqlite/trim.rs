//! Trimming: deletes from the front, in steps so short that commits do not wait for them.

use std::path::Path;
use std::thread;
use std::time::Duration;

use rusqlite::params;

use super::SqliteError;
use super::database::Database;
use super::{facts, table};
use crate::os::clock::{CappedClock, UnixMillis};
use crate::spool::{ItemKind, Sequence, SpoolError, Trimmer};

/// Items that one step looks at: it holds the write lock for about a millisecond.
const STEP_ITEMS: i64 = 1_000;
/// How long to leave the lock free after each step. A waiting writer tries it several times a millisecond.
const STEP_PAUSE: Duration = Duration::from_millis(1);
/// Pages that one step gives back to the disk: few, for the same reason.
const STEP_PAGES: i64 = 256;
/// Empty pages that are always kept (16 MiB), because the next events would ask for them again.
const SPARE_PAGES: i64 = 4_096;

#[derive(Debug)]
pub(super) struct SqliteTrimmer {
    database: Database,
    clock: CappedClock,
}

impl SqliteTrimmer {
    /// Opens the spool at `path`. `clock` decides what is old, but never runs ahead of the time that has
    /// really elapsed.
    pub(super) fn open(path: &Path, clock: fn() -> UnixMillis) -> Result<Self, SqliteError> {
        let database = Database::create_or_open(path)?;
        // A deletion that a power cut undoes is repeated; only additions need a sync of their own.
        let relaxed = database.connection.pragma_update(None, "synchronous", "NORMAL");
        relaxed.map_err(database.failed("trimming"))?;
        Ok(SqliteTrimmer { database, clock: CappedClock::start(clock) })
    }

    fn try_give_back(&self) -> rusqlite::Result<bool> {
        let connection = &self.database.connection;
        let (pages, free) = (self.database.pragma("page_count")?, self.database.pragma("freelist_count")?);
        let surplus = free - ((pages - free) / 2).max(SPARE_PAGES);
        if surplus <= 0 {
            return Ok(false);
        }
        // Each row of the answer is a page, which is given back when the row is read.
        connection.pragma(None, "incremental_vacuum", surplus.min(STEP_PAGES), |_| Ok(()))?;
        let is_more = surplus > STEP_PAGES;
        if !is_more {
            // Shortens the file itself; without it, that happens once the next few megabytes have arrived.
            connection.pragma(None, "wal_checkpoint", "PASSIVE", |_| Ok(()))?;
        }
        Ok(is_more)
    }
}

impl Trimmer for SqliteTrimmer {
    fn step(
        &mut self,
        kind: ItemKind,
        confirmed_through: Sequence,
        retention: Duration,
    ) -> Result<usize, SpoolError> {
        let table = table(kind);
        let received_before = self.clock.now().saturating_sub(retention).get();
        let trimmed = self.database.write("trimming", |transaction| {
            let mut last_to_go = None;
            let mut front = transaction.prepare_cached(&format!(
                "SELECT sequence, received_at FROM {table} WHERE sequence <= ?1 ORDER BY sequence LIMIT ?2"
            ))?;
            let mut rows = front.query(params![confirmed_through.get(), STEP_ITEMS])?;
            while let Some(row) = rows.next()? {
                if row.get::<_, i64>(1)? >= received_before {
                    break;
                }
                last_to_go = Some(row.get(0)?);
            }
            drop(rows);
            let Some(last_to_go) = last_to_go else { return Ok(0) };
            // A sequence is never assigned again, not even when its row is gone.
            facts::raise(transaction, facts::TRIMMED_THROUGH, Sequence::new(last_to_go))?;
            let delete = format!("DELETE FROM {table} WHERE sequence <= ?1");
            transaction.prepare_cached(&delete)?.execute([last_to_go])
        })?;
        if trimmed > 0 {
            thread::sleep(STEP_PAUSE);
        }
        Ok(trimmed)
    }

    fn give_back(&mut self) -> Result<bool, SpoolError> {
        let is_more = self.try_give_back().map_err(self.database.failed("trimming"))?;
        if is_more {
            thread::sleep(STEP_PAUSE);
        }
        Ok(is_more)
    }
}
