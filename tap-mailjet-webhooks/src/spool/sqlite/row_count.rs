//! Counts the rows of a table without reading all of it.
//!
//! SQLite counts by reading, and a spool may have gigabytes. But rows are added only at the end of a table
//! and deleted only at its front, in the order of their sequences, so everything between needs to be counted
//! only once. The writer counts what it adds, in blocks, and keeps these counts in the table `row_block`.

use std::collections::VecDeque;

use rusqlite::{Connection, Transaction, params};

use super::SqliteError;
use super::database::Database;
use crate::spool::{ItemKind, Sequence};

/// Rows that are counted together.
const BLOCK_ROWS: i64 = 10_000;

#[derive(Debug)]
pub(super) struct RowCount {
    table: &'static str,
    /// Rows up to this sequence are not counted.
    floor: i64,
    /// The counted rows in order, as of the last update.
    blocks: VecDeque<Block>,
    /// The smallest counted sequence at that time.
    first: i64,
    /// Whether the blocks that the writer has kept are among them.
    has_kept_blocks: bool,
}

/// Consecutive rows.
#[derive(Debug)]
struct Block {
    /// The largest sequence.
    last: i64,
    rows: u64,
}

impl RowCount {
    /// Counts the items of this kind past `floor`.
    pub(super) fn new(kind: ItemKind, floor: Sequence) -> Self {
        RowCount {
            table: kind.table(),
            floor: floor.get(),
            blocks: VecDeque::new(),
            first: 0,
            has_kept_blocks: false,
        }
    }

    /// Whether the rows past `position` are among those that it counts.
    pub(super) fn reaches_back_to(&self, position: Sequence) -> bool {
        self.floor <= position.get()
    }

    /// Counts what was added and deleted since the last time, and returns how many rows there are.
    pub(super) fn update(&mut self, connection: &Connection) -> rusqlite::Result<u64> {
        let table = self.table;
        let first = format!("SELECT min(sequence) FROM {table} WHERE sequence > ?1");
        let first = connection.prepare_cached(&first)?.query_row([self.floor], |row| row.get(0))?;
        let Some(first) = first else {
            self.blocks.clear();
            return Ok(0);
        };
        if !self.has_kept_blocks {
            self.blocks = kept_blocks(connection, table, first)?;
            self.has_kept_blocks = true;
        }
        while self.blocks.front().is_some_and(|block| block.last < first) {
            self.blocks.pop_front();
        }
        if first != self.first
            && let Some(front) = self.blocks.front_mut()
        {
            front.rows = count(connection, table, first - 1, front.last)?;
        }
        self.first = first;
        self.count_new(connection)?;
        Ok(self.blocks.iter().map(|block| block.rows).sum())
    }

    fn count_new(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let next = format!(
            "SELECT count(*), max(sequence) FROM \
                (SELECT sequence FROM {} WHERE sequence > ?1 ORDER BY sequence LIMIT ?2)",
            self.table
        );
        let mut next = connection.prepare_cached(&next)?;
        loop {
            let after = self.blocks.back().map_or(self.first - 1, |block| block.last);
            let (rows, last): (i64, Option<i64>) =
                next.query_row(params![after, BLOCK_ROWS], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let Some(last) = last else { return Ok(()) };
            let block = Block { last, rows: rows.unsigned_abs() };
            match self.blocks.back_mut() {
                Some(back) if back.rows + block.rows <= BLOCK_ROWS.unsigned_abs() => {
                    *back = Block { last, rows: back.rows + block.rows };
                }
                _ => self.blocks.push_back(block),
            }
        }
    }

    /// Returns how many of the rows that the last update found have a sequence past `position`.
    pub(super) fn past(&self, connection: &Connection, position: Sequence) -> rusqlite::Result<u64> {
        let position = position.get();
        let mut past = 0;
        let mut before = self.first - 1;
        for block in &self.blocks {
            past += if before >= position {
                block.rows
            } else if block.last <= position {
                0
            } else {
                count(connection, self.table, position, block.last)?
            };
            before = block.last;
        }
        Ok(past)
    }
}

/// Returns the blocks that the writer has kept, from the one with the row `first` on.
fn kept_blocks(connection: &Connection, table: &str, first: i64) -> rusqlite::Result<VecDeque<Block>> {
    // A spool in an older format, of which somebody only looks at the status, has no such table.
    if !connection.table_exists(None, "row_block")? {
        return Ok(VecDeque::new());
    }
    let query = "SELECT last, rows FROM row_block WHERE item_table = ?1 AND last >= ?2 ORDER BY last";
    let mut blocks = connection.prepare_cached(query)?;
    let block =
        |row: &rusqlite::Row<'_>| Ok(Block { last: row.get(0)?, rows: row.get::<_, i64>(1)?.unsigned_abs() });
    blocks.query_map(params![table, first], block)?.collect()
}

fn keep(connection: &Connection, kind: ItemKind, block: &Block) -> rusqlite::Result<()> {
    let rows = i64::try_from(block.rows).unwrap_or(i64::MAX);
    let insert = "INSERT OR REPLACE INTO row_block (item_table, last, rows) VALUES (?1, ?2, ?3)";
    connection.prepare_cached(insert)?.execute(params![kind.table(), block.last, rows]).map(drop)
}

/// What a writer knows of its counts: how many rows there are past the last block that it has kept.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct KeptCounts {
    events: u64,
    rejected: u64,
}

impl KeptCounts {
    /// Counts the rows past the last kept block. These are few, unless the spool was just converted from an
    /// older format.
    pub(super) fn open(database: &mut Database) -> Result<Self, SqliteError> {
        let mut counts = KeptCounts::default();
        for kind in ItemKind::ALL {
            let find = "SELECT max(last) FROM row_block WHERE item_table = ?1";
            let count = |connection: &Connection| {
                let last = connection.query_row(find, [kind.table()], |row| row.get::<_, Option<i64>>(0))?;
                let mut rows = RowCount::new(kind, last.map_or(Sequence::START, Sequence::new));
                rows.update(connection)?;
                Ok(rows.blocks)
            };
            let mut blocks = count(&database.connection).map_err(database.failed("counting its rows"))?;
            *counts.of(kind) = blocks.pop_back().map_or(0, |block| block.rows);
            if !blocks.is_empty() {
                database.write("counting its rows", |transaction| {
                    blocks.iter().try_for_each(|block| keep(transaction, kind, block))
                })?;
            }
        }
        Ok(counts)
    }

    fn of(&mut self, kind: ItemKind) -> &mut u64 {
        match kind {
            ItemKind::Event => &mut self.events,
            ItemKind::Rejected => &mut self.rejected,
        }
    }

    /// Adds rows of a transaction, whose last sequence is `last`, and keeps a block if it is full. The result
    /// is valid once the transaction is committed.
    pub(super) fn with_added(
        mut self,
        transaction: &Transaction<'_>,
        added: KeptCounts,
        last: Sequence,
    ) -> rusqlite::Result<Self> {
        for (kind, added) in [(ItemKind::Event, added.events), (ItemKind::Rejected, added.rejected)] {
            let rows = self.of(kind);
            *rows += added;
            if *rows >= BLOCK_ROWS.unsigned_abs() {
                keep(transaction, kind, &Block { last: last.get(), rows: *rows })?;
                *rows = 0;
            }
        }
        Ok(self)
    }

    /// Notes a row that is being added.
    pub(super) fn note(&mut self, kind: ItemKind) {
        *self.of(kind) += 1;
    }
}

/// Forgets the blocks of rows that were deleted, up to `last`.
pub(super) fn forget_blocks(connection: &Connection, kind: ItemKind, last: i64) -> rusqlite::Result<()> {
    let delete = "DELETE FROM row_block WHERE item_table = ?1 AND last <= ?2";
    connection.prepare_cached(delete)?.execute(params![kind.table(), last]).map(drop)
}

/// Returns how many of the kept blocks are wrong.
pub(super) fn wrong_blocks(connection: &Connection, kind: ItemKind) -> rusqlite::Result<usize> {
    let table = kind.table();
    let first = format!("SELECT min(sequence) FROM {table}");
    let Some(first) = connection.query_row(&first, [], |row| row.get(0))? else { return Ok(0) };
    let blocks = kept_blocks(connection, table, first)?;
    let mut wrong = 0;
    // Some rows of the first one may have been deleted.
    for (before, block) in blocks.iter().zip(blocks.iter().skip(1)) {
        let is_wrong = count(connection, table, before.last, block.last)? != block.rows;
        wrong += usize::from(is_wrong);
    }
    Ok(wrong)
}

/// Counts the rows with a sequence past `after`, up to `last`.
fn count(connection: &Connection, table: &str, after: i64, last: i64) -> rusqlite::Result<u64> {
    let query = format!("SELECT count(*) FROM {table} WHERE sequence > ?1 AND sequence <= ?2");
    let rows: i64 = connection.prepare_cached(&query)?.query_row([after, last], |row| row.get(0))?;
    Ok(rows.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::sqlite::database::Database;

    #[test]
    fn the_count_follows_additions_and_deletions() {
        let folder = tempfile::tempdir().expect("a folder");
        let Database { connection, .. } =
            Database::create_or_open(&folder.path().join("spool.db")).expect("a spool");
        let add = |from: i64, to: i64| {
            let insert = "WITH RECURSIVE n(n) AS (SELECT ?1 UNION ALL SELECT n + 3 FROM n WHERE n + 3 < ?2)
                INSERT INTO event SELECT n, 0, '{}' FROM n";
            connection.execute(insert, [from, to]).expect("rows");
        };
        let trim = |through: i64| {
            connection.execute("DELETE FROM event WHERE sequence <= ?1", [through]).expect("a deletion");
        };
        let mut rows = RowCount::new(ItemKind::Event, Sequence::START);
        let mut demand_equal = || {
            let counted = rows.update(&connection).expect("a count");
            assert_eq!(count(&connection, "event", 0, i64::MAX), Ok(counted));
            for position in [0, 50, 29_999, 30_000, 30_001, 45_000, 100_000, 200_000, i64::MAX] {
                let past = rows.past(&connection, Sequence::new(position));
                assert_eq!(past, count(&connection, "event", position, i64::MAX), "past {position}");
            }
            (counted, rows.blocks.len())
        };
        assert_eq!(demand_equal(), (0, 0));
        add(100, 400);
        assert_eq!(demand_equal(), (100, 1));
        add(400, 100_000);
        assert_eq!(demand_equal().0, 33_300);
        trim(150);
        demand_equal();
        trim(60_000);
        add(100_000, 100_010);
        demand_equal();
        trim(100_000);
        assert_eq!(demand_equal(), (3, 1));
        trim(200_000);
        assert_eq!(demand_equal(), (0, 0));
        add(300_000, 300_001);
        assert_eq!(demand_equal(), (1, 1));
    }

    #[test]
    fn counts_that_were_kept_are_not_counted_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut database = Database::create_or_open(&folder.path().join("spool.db")).expect("a spool");
        let insert = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 25000)
            INSERT INTO event SELECT n, 0, '{}' FROM n";
        database.connection.execute(insert, []).expect("rows");
        let mut counts = KeptCounts::open(&mut database).expect("counts");
        assert_eq!((counts.events, counts.rejected), (5_000, 0));
        for from in [25_001, 30_000] {
            let added = KeptCounts { events: 4_999, rejected: 0 };
            let transaction = database.connection.transaction().expect("a transaction");
            let insert =
                "WITH RECURSIVE n(n) AS (SELECT ?1 UNION ALL SELECT n + 1 FROM n WHERE n < ?1 + 4998)
                INSERT INTO event SELECT n, 0, '{}' FROM n";
            transaction.execute(insert, [from]).expect("rows");
            counts = counts.with_added(&transaction, added, Sequence::new(from + 4_998)).expect("counts");
            transaction.commit().expect("a commit");
        }
        assert_eq!((counts.events, KeptCounts::open(&mut database).expect("counts").events), (0, 0));

        let connection = &database.connection;
        let total = || RowCount::new(ItemKind::Event, Sequence::START).update(connection).expect("a count");
        assert_eq!((total(), wrong_blocks(connection, ItemKind::Event)), (34_998, Ok(0)));
        connection.execute("DELETE FROM event WHERE sequence <= 12345", []).expect("a deletion");
        forget_blocks(connection, ItemKind::Event, 12_345).expect("a deletion");
        assert_eq!((total(), wrong_blocks(connection, ItemKind::Event)), (34_998 - 12_345, Ok(0)));
        // A wrong count shows that it is used, and that a check finds it.
        connection.execute("UPDATE row_block SET rows = rows + 1 WHERE last = 34998", []).expect("it");
        assert_eq!((total(), wrong_blocks(connection, ItemKind::Event)), (34_999 - 12_345, Ok(1)));
    }
}
