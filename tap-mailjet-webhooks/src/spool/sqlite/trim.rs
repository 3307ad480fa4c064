//! Trimming: deletes from the front, in steps so short that commits do not wait for them.

use std::path::Path;
use std::thread;
use std::time::Duration;

use rusqlite::params;
use tracing::warn;

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
    /// Whether the log already says that the clock was or is wrong.
    has_warned: bool,
}

impl SqliteTrimmer {
    /// Opens the spool at `path`. `clock` decides what is old, but never runs ahead of the time that has
    /// really elapsed.
    pub(super) fn open(path: &Path, clock: fn() -> UnixMillis) -> Result<Self, SqliteError> {
        let database = Database::create_or_open(path)?;
        // A deletion that a power cut undoes is repeated; only additions need a sync of their own.
        let relaxed = database.connection.pragma_update(None, "synchronous", "NORMAL");
        relaxed.map_err(database.failed("trimming"))?;
        Ok(SqliteTrimmer { database, clock: CappedClock::start(clock), has_warned: false })
    }

    /// Returns the last confirmed item of those that are old enough; all before it are older.
    ///
    /// The clock was ahead when an item arrived that seems to come from the future, or is behind now. Its age
    /// is not known, but it is older than the items after it, so it goes with the next one that may go.
    fn last_to_go(
        &mut self,
        table: &str,
        confirmed_through: Sequence,
        retention: Duration,
    ) -> rusqlite::Result<Option<Sequence>> {
        let now = self.clock.now();
        let received_before = now.saturating_sub(retention);
        let mut front = self.database.connection.prepare_cached(&format!(
            "SELECT sequence, received_at FROM {table} WHERE sequence <= ?1 ORDER BY sequence"
        ))?;
        let mut rows = front.query([confirmed_through.get()])?;
        let (mut last_to_go, mut to_go) = (None, 0);
        let mut from_the_future = None;
        while to_go < STEP_ITEMS
            && let Some(row) = rows.next()?
        {
            let sequence = Sequence::new(row.get(0)?);
            // A clock that was behind makes an item look older than it is. Its sequence does not, because it
            // follows those before it.
            let known = [UnixMillis::new(row.get(1)?), sequence.assigned_at()].into_iter();
            match known.filter(|moment| *moment <= now).max() {
                Some(received_at) if received_at < received_before => {
                    last_to_go = Some(sequence);
                    to_go += 1;
                }
                Some(_) => break,
                None => from_the_future = from_the_future.or(Some(sequence)),
            }
        }
        if let Some(sequence) = from_the_future.filter(|_| !self.has_warned) {
            self.has_warned = true;
            warn!(
                "spool {}: by this machine's clock, the item with sequence {sequence} arrived in the future: \
                 the clock was ahead then, or is behind now. It is deleted together with the next confirmed \
                 item whose age is known",
                self.database.path.display()
            );
        }
        Ok(last_to_go)
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
        let found = self.last_to_go(table, confirmed_through, retention);
        let Some(last_to_go) = found.map_err(self.database.failed("trimming"))? else { return Ok(0) };
        let trimmed = self.database.write("trimming", |transaction| {
            let last_of_step = format!(
                "SELECT max(sequence) FROM \
                 (SELECT sequence FROM {table} WHERE sequence <= ?1 ORDER BY sequence LIMIT ?2)"
            );
            let last_to_go: i64 = transaction
                .prepare_cached(&last_of_step)?
                .query_row(params![last_to_go.get(), STEP_ITEMS], |row| row.get(0))?;
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
