//! Deleting what the target has, once it is old enough.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior, params};

use crate::spool::sqlite::{CONFIRMED_THROUGH, TRIMMED_THROUGH};
use crate::spool::{SpoolError, sqlite};

/// Events that one step looks at: the write lock is held for about a millisecond, so that the listener's next commit is
/// not kept waiting.
const STEP_EVENTS: i64 = 1_000;
/// How long the lock is left alone after each step. Whoever waits for it looks every fraction of a millisecond.
const STEP_PAUSE: Duration = Duration::from_millis(1);
/// Pages that one step gives back to the disk, for the same reason.
const STEP_PAGES: i64 = 256;
/// Empty pages that are kept in any case (16 MiB): what is given back is asked for again by the next events.
const SPARE_PAGES: i64 = 4_096;

/// What the spool keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemKind {
    /// Events.
    Events,
    /// What was received and is no event.
    Rejected,
}

impl ItemKind {
    /// The table that it is in.
    pub(super) fn table(self) -> &'static str {
        match self {
            ItemKind::Events => "event",
            ItemKind::Rejected => "rejected",
        }
    }
}

/// Deletes events that are committed and old.
#[derive(Debug)]
pub struct Trimmer {
    path: PathBuf,
    connection: Connection,
}

impl Trimmer {
    /// Opens the spool at `path`.
    pub fn open(path: &Path) -> Result<Self, SpoolError> {
        let trimmer = Trimmer { path: path.to_owned(), connection: sqlite::open(path)? };
        // A deletion that a power cut undoes is done again; only what is added needs a sync of its own.
        trimmer
            .connection
            .pragma_update(None, "synchronous", "NORMAL")
            .map_err(|source| trimmer.failed(source))?;
        Ok(trimmer)
    }

    /// Deletes up to a thousand events from the front of the spool: those with a sequence up to `committed` that
    /// arrived before `received_before` (Unix milliseconds). Says how many; with 0 there are no more.
    ///
    /// It stops at the first event that has to stay, so that what is in the spool is always the end of the series.
    pub fn step(
        &mut self,
        kept: ItemKind,
        committed: i64,
        received_before: i64,
    ) -> Result<usize, SpoolError> {
        let trimmed =
            self.try_step(kept, committed, received_before).map_err(|source| self.failed(source))?;
        if trimmed > 0 {
            thread::sleep(STEP_PAUSE);
        }
        Ok(trimmed)
    }

    fn try_step(&mut self, kept: ItemKind, committed: i64, received_before: i64) -> rusqlite::Result<usize> {
        let table = kept.table();
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let last_to_go: Option<i64> = {
            let mut front = transaction.prepare_cached(&format!(
                "SELECT sequence, received_at FROM {table} WHERE sequence <= ?1 ORDER BY sequence LIMIT ?2"
            ))?;
            let mut rows = front.query(params![committed, STEP_EVENTS])?;
            let mut last_to_go = None;
            while let Some(row) = rows.next()? {
                if row.get::<_, i64>(1)? >= received_before {
                    break;
                }
                last_to_go = Some(row.get(0)?);
            }
            last_to_go
        };
        let Some(last_to_go) = last_to_go else { return Ok(0) };
        let delete = format!("DELETE FROM {table} WHERE sequence <= ?1");
        let deleted = transaction.prepare_cached(&delete)?.execute([last_to_go])?;
        // A sequence is never handed out twice, not even when the row that had it is gone.
        let before = sqlite::fact(&transaction, TRIMMED_THROUGH)?.unwrap_or(0);
        sqlite::set_fact(&transaction, TRIMMED_THROUGH, last_to_go.max(before))?;
        transaction.commit()?;
        Ok(deleted)
    }

    /// Notes that everything up to `sequence` is confirmed, for whoever looks at the spool from another process.
    pub fn note_confirmed(&mut self, sequence: i64) -> Result<(), SpoolError> {
        self.try_note_confirmed(sequence).map_err(|source| self.failed(source))
    }

    fn try_note_confirmed(&mut self, sequence: i64) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let before = sqlite::fact(&transaction, CONFIRMED_THROUGH)?.unwrap_or(0);
        // What one target has confirmed is not taken back by another that is behind it.
        if sequence > before {
            sqlite::set_fact(&transaction, CONFIRMED_THROUGH, sequence)?;
        }
        transaction.commit()
    }

    /// Gives a few of the pages that trimming has emptied back to the disk, if they are many beside those in use. Says
    /// whether there are more.
    pub fn give_back(&mut self) -> Result<bool, SpoolError> {
        let is_more = self.try_give_back().map_err(|source| self.failed(source))?;
        if is_more {
            thread::sleep(STEP_PAUSE);
        }
        Ok(is_more)
    }

    fn try_give_back(&mut self) -> rusqlite::Result<bool> {
        let pragma = |name| self.connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let (pages, free) = (pragma("page_count")?, pragma("freelist_count")?);
        let surplus = free - ((pages - free) / 2).max(SPARE_PAGES);
        if surplus <= 0 {
            return Ok(false);
        }
        // A row comes for each page: it is given back when the row is asked for.
        self.connection.pragma(None, "incremental_vacuum", surplus.min(STEP_PAGES), |_| Ok(()))?;
        let is_done = surplus <= STEP_PAGES;
        if is_done {
            // The file itself gets shorter by this; without it, once the next few megabytes have arrived.
            self.connection.pragma(None, "wal_checkpoint", "PASSIVE", |_| Ok(()))?;
        }
        Ok(!is_done)
    }

    fn failed(&self, source: rusqlite::Error) -> SpoolError {
        SpoolError::sqlite(&self.path, "trimming", source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spool(rows: &[(i64, i64)]) -> (tempfile::TempDir, PathBuf, Connection) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("spool.db");
        let connection = sqlite::open(&path).expect("a spool");
        for row in rows {
            connection.execute("INSERT INTO event VALUES (?1, ?2, '{}')", *row).expect("a row");
        }
        (folder, path, connection)
    }

    fn sequences(connection: &Connection) -> Vec<i64> {
        let mut statement = connection.prepare("SELECT sequence FROM event").expect("a query");
        statement.query_map([], |row| row.get(0)).expect("rows").map(|row| row.expect("a row")).collect()
    }

    #[test]
    fn only_what_is_committed_and_old_goes() {
        // (committed, received before) and what stays of the rows
        let rows = [(1, 10), (2, 20), (3, 30), (4, 40)];
        let cases: [(i64, i64, &[i64]); 6] = [
            (0, 99, &[1, 2, 3, 4]),
            (2, 99, &[3, 4]),
            (4, 25, &[3, 4]),
            (4, 10, &[1, 2, 3, 4]),
            (3, 40, &[4]),
            (9, 99, &[]),
        ];
        for (committed, received_before, stays) in cases {
            let (_folder, path, connection) = spool(&rows);
            let mut trimmer = Trimmer::open(&path).expect("a trimmer");
            while trimmer.step(ItemKind::Events, committed, received_before).expect("a step") > 0 {}
            assert_eq!(sequences(&connection), stays, "committed {committed}, before {received_before}");
            assert_eq!(sqlite::last_sequence(&connection).expect("a number"), 4);
        }
    }

    #[test]
    fn events_and_rejected_items_go_apart_and_no_sequence_comes_again() {
        let (_folder, path, connection) = spool(&[(1, 10), (3, 10), (5, 10)]);
        for row in [(2, 10), (4, 10), (6, 10)] {
            connection.execute("INSERT INTO rejected VALUES (?1, ?2, 'why', x'00')", row).expect("a row");
        }
        let mut trimmer = Trimmer::open(&path).expect("a trimmer");
        let count = || connection.query_row("SELECT count(*) FROM rejected", [], |row| row.get::<_, i64>(0));
        assert_eq!(trimmer.step(ItemKind::Rejected, 6, 99).expect("a step"), 3);
        assert_eq!((sequences(&connection), count()), (vec![1, 3, 5], Ok(0)));
        assert_eq!(trimmer.step(ItemKind::Events, 3, 99).expect("a step"), 2);
        assert_eq!((sequences(&connection), count()), (vec![5], Ok(0)));
        assert_eq!(sqlite::last_sequence(&connection).expect("a number"), 6);
    }

    #[test]
    fn a_clock_that_stepped_back_keeps_what_follows() {
        let (_folder, path, connection) = spool(&[(1, 10), (2, 90), (3, 20)]);
        let mut trimmer = Trimmer::open(&path).expect("a trimmer");
        assert_eq!(trimmer.step(ItemKind::Events, 3, 50).expect("a step"), 1);
        assert_eq!(trimmer.step(ItemKind::Events, 3, 50).expect("a step"), 0);
        assert_eq!(sequences(&connection), [2, 3]);
    }
}
