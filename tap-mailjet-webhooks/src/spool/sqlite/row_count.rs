//! Counts the rows of a table without reading all of it each time.
//!
//! SQLite counts by reading, and a spool may have gigabytes. But rows are added only at the end of a table
//! and deleted only at its front, in the order of their sequences, so everything between has already been
//! counted.

use std::collections::VecDeque;

use rusqlite::{Connection, params};

use super::table;
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
        RowCount { table: table(kind), floor: floor.get(), blocks: VecDeque::new(), first: 0 }
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
}
