//! Trimming: deletes from the front, in steps so short that commits do not wait for them.

use std::path::Path;
use std::thread;
use std::time::Duration;

use rusqlite::params;

use super::SqliteError;
use super::database::Database;
use super::{facts, row_count};
use crate::os::clock::{Clock, UnixMillis};
use crate::spool::retention::Retention;
use crate::spool::spool_clock::SpoolClock;
use crate::spool::{ItemKind, Sequence, SpoolError, Trimmer};

/// Items that one step looks at: it holds the write lock for about a millisecond.
const STEP_ITEMS: i64 = 1_000;
/// How long to leave the lock free after each step. A waiting writer tries it several times a millisecond.
const STEP_PAUSE: Duration = Duration::from_millis(1);
/// Pages that one step gives back to the disk: few, for the same reason.
const STEP_PAGES: i64 = 256;
/// Empty pages that are always kept (16 MiB), because the next events would ask for them again.
const SPARE_PAGES: i64 = 4_096;

/// Notes the time of a spool that has none yet, so that the first run that deletes something knows it.
pub(super) fn note_first_time(database: &mut Database, clock: Clock) -> Result<(), SqliteError> {
    let noted = facts::read_time(&database.connection).map_err(database.failed("reading"))?;
    if let (None, Some(first)) = (noted, SpoolClock::start(clock, None).note()) {
        database.write("noting the time", |transaction| facts::set_time(transaction, first))?;
    }
    Ok(())
}

#[derive(Debug)]
pub(super) struct SqliteTrimmer {
    database: Database,
    retention: Retention,
}

impl SqliteTrimmer {
    /// Opens the spool at `path`.
    pub(super) fn open(path: &Path, clock: Clock) -> Result<Self, SqliteError> {
        let database = Database::create_or_open(path)?;
        // A deletion that a power cut undoes is repeated; only additions need a sync of their own.
        let relaxed = database.connection.pragma_update(None, "synchronous", "NORMAL");
        relaxed.map_err(database.failed("trimming"))?;
        let noted = facts::read_time(&database.connection).map_err(database.failed("trimming"))?;
        Ok(SqliteTrimmer { database, retention: Retention::start(clock, noted) })
    }

    /// Returns the last item that is old enough; all before it are older.
    fn last_to_go(
        &mut self,
        table: &str,
        confirmed_through: Sequence,
        retention: Duration,
    ) -> rusqlite::Result<Option<Sequence>> {
        let connection = &self.database.connection;
        let mut front = connection.prepare_cached(&format!(
            "SELECT sequence, received_at FROM {table} WHERE sequence <= ?1 ORDER BY sequence LIMIT ?2"
        ))?;
        let front = front.query_map(params![confirmed_through.get(), STEP_ITEMS], |row| {
            Ok((Sequence::new(row.get(0)?), UnixMillis::new(row.get(1)?)))
        })?;
        let by_time = self.retention.last_by_time(front, retention, &self.database.path.display())?;
        let by_mark = self.retention.last_by_mark(facts::read_marks(connection)?, retention);
        Ok(by_time.max(by_mark.map(|sequence| sequence.min(confirmed_through))))
    }

    /// Notes what later steps and runs need to know about time.
    fn note_time(&mut self, retention: Duration) -> Result<(), SqliteError> {
        let read = |connection| Ok((facts::read_marks(connection)?, facts::last_sequence(connection)?));
        let (marks, last) =
            read(&self.database.connection).map_err(self.database.failed("noting the time"))?;
        let due = self.retention.due_notes(marks, last, retention);
        if let Some(noted) = due.time {
            self.database.write("noting the time", |transaction| facts::set_time(transaction, noted))?;
            self.retention.note_noted(noted);
        }
        if let Some(marks) = due.marks {
            self.database.write("noting the time", |transaction| facts::set_marks(transaction, marks))?;
        }
        Ok(())
    }

    /// Returns the last item up to `last_to_go` that one step deletes; `None` if there are no items.
    fn last_of_step(&self, table: &str, last_to_go: Sequence) -> rusqlite::Result<Option<i64>> {
        let last_of_step = format!(
            "SELECT max(sequence) FROM \
             (SELECT sequence FROM {table} WHERE sequence <= ?1 ORDER BY sequence LIMIT ?2)"
        );
        let mut statement = self.database.connection.prepare_cached(&last_of_step)?;
        statement.query_row(params![last_to_go.get(), STEP_ITEMS], |row| row.get(0))
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
        let table = kind.table();
        let found = self.last_to_go(table, confirmed_through, retention).and_then(|last| match last {
            Some(last_to_go) => self.last_of_step(table, last_to_go),
            None => Ok(None),
        });
        let trimmed = match found.map_err(self.database.failed("trimming"))? {
            None => 0,
            Some(last_of_step) => self.database.write("trimming", |transaction| {
                // A sequence is never assigned again, not even when its row is gone.
                facts::raise(transaction, facts::TRIMMED_THROUGH, Sequence::new(last_of_step))?;
                row_count::forget_blocks(transaction, kind, last_of_step)?;
                let delete = format!("DELETE FROM {table} WHERE sequence <= ?1");
                transaction.prepare_cached(&delete)?.execute([last_of_step])
            })?,
        };
        if trimmed == 0 {
            // Not before: on a full disk, room is worth more.
            self.note_time(retention)?;
        } else {
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
