//! Trimming: deletes from the front, in steps so short that commits do not wait for them.

use std::path::Path;
use std::thread;
use std::time::Duration;

use rusqlite::params;
use tracing::warn;

use super::SqliteError;
use super::database::Database;
use super::{facts, row_count, table};
use crate::os::clock::{Clock, UnixMillis};
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

/// How often the spool's time is noted. What passes after the last note does not count if the machine is
/// booted then.
const NOTE_INTERVAL: Duration = Duration::from_secs(600);

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
    clock: SpoolClock,
    /// The spool's time when it was last noted.
    noted_at: Option<UnixMillis>,
    /// Whether the log already says that the clock was or is wrong.
    has_warned: bool,
}

impl SqliteTrimmer {
    /// Opens the spool at `path`.
    pub(super) fn open(path: &Path, clock: Clock) -> Result<Self, SqliteError> {
        let database = Database::create_or_open(path)?;
        // A deletion that a power cut undoes is repeated; only additions need a sync of their own.
        let relaxed = database.connection.pragma_update(None, "synchronous", "NORMAL");
        relaxed.map_err(database.failed("trimming"))?;
        let noted = facts::read_time(&database.connection).map_err(database.failed("trimming"))?;
        let clock = SpoolClock::start(clock, noted);
        Ok(SqliteTrimmer { database, clock, noted_at: noted.map(|noted| noted.time), has_warned: false })
    }

    /// Returns the last item that is old enough; all before it are older.
    fn last_to_go(
        &mut self,
        table: &str,
        confirmed_through: Sequence,
        retention: Duration,
    ) -> rusqlite::Result<Option<Sequence>> {
        let by_time = self.last_by_time(table, confirmed_through, retention)?;
        let by_mark = self.last_by_mark(retention)?.map(|sequence| sequence.min(confirmed_through));
        Ok(by_time.max(by_mark))
    }

    /// Decides by the times at which items arrived.
    ///
    /// The clock was ahead when an item arrived that seems to come from the future, or is behind now. Its age
    /// is not known, but it is older than the items after it, so it goes with the next one that may go.
    fn last_by_time(
        &mut self,
        table: &str,
        confirmed_through: Sequence,
        retention: Duration,
    ) -> rusqlite::Result<Option<Sequence>> {
        let now = self.clock.now();
        let received_before = now.saturating_sub(retention);
        let mut front = self.database.connection.prepare_cached(&format!(
            "SELECT sequence, received_at FROM {table} WHERE sequence <= ?1 ORDER BY sequence LIMIT ?2"
        ))?;
        let mut rows = front.query(params![confirmed_through.get(), STEP_ITEMS])?;
        let (mut last_to_go, mut from_the_future) = (None, None);
        while let Some(row) = rows.next()? {
            let sequence = Sequence::new(row.get(0)?);
            // A clock that was behind makes an item look older than it is. Its sequence does not, because it
            // follows those before it.
            let received_at = UnixMillis::new(row.get(1)?).max(sequence.assigned_at());
            if received_at > now {
                from_the_future = from_the_future.or(Some(sequence));
            } else if received_at < received_before {
                last_to_go = Some(sequence);
            } else {
                break;
            }
        }
        if let Some(sequence) = from_the_future.filter(|_| !self.has_warned) {
            self.has_warned = true;
            warn!(
                "spool {}: the item with sequence {sequence} seems to have arrived in the future: this \
                 machine's clock was ahead or behind then, or is now. A confirmed item whose age is not \
                 known is deleted after the spool has had it for retention_days, or twice as long",
                self.database.path.display()
            );
        }
        Ok(last_to_go)
    }

    /// Decides by how long the spool has had an item, whatever the clock said when it arrived: `retention`
    /// after a mark, everything is old enough that was there when it was set.
    ///
    /// The older of the two marks is the one that items are compared with. The newer one replaces it as soon
    /// as it would do, too.
    fn last_by_mark(&self, retention: Duration) -> rusqlite::Result<Option<Sequence>> {
        let mark = |mark| facts::read_mark(&self.database.connection, mark);
        let marks = [mark(facts::NEWER_MARK)?, mark(facts::OLDER_MARK)?].into_iter().flatten();
        let now = self.clock.elapsed();
        let mut reached = marks.filter(|(time, _)| now.since(*time) >= retention);
        Ok(reached.next().map(|(_, sequence)| sequence))
    }

    /// Notes what later steps and runs need to know about time.
    fn note_time(&mut self, retention: Duration) -> Result<(), SqliteError> {
        let now = self.clock.elapsed();
        let is_due = self.noted_at.is_none_or(|noted_at| now.since(noted_at) >= NOTE_INTERVAL);
        if let Some(noted) = self.clock.note().filter(|_| is_due) {
            self.database.write("noting the time", |transaction| facts::set_time(transaction, noted))?;
            self.noted_at = Some(noted.time);
        }
        let read = || {
            let connection = &self.database.connection;
            Ok((facts::read_mark(connection, facts::NEWER_MARK)?, facts::last_sequence(connection)?))
        };
        let (newer, last) = read().map_err(self.database.failed("noting the time"))?;
        if newer.is_none_or(|(time, sequence)| now.since(time) >= retention && sequence != last) {
            self.database.write("noting the time", |transaction| {
                if let Some(mark) = newer {
                    facts::set_mark(transaction, facts::OLDER_MARK, mark)?;
                }
                facts::set_mark(transaction, facts::NEWER_MARK, (now, last))
            })?;
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
        let table = table(kind);
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
