//! Finds what to skip where a table cannot be read.
//!
//! A table is a tree of pages. SQLite stops reading at a damaged page, although the pages behind it may be
//! sound. It still answers a query for a row on one of those. The sequences at which pages end are in the
//! inner pages of the tree. SQLite does not show them, so they are read here from the file itself. They are
//! only hints: SQLite reads the rows that they lead to. (Pages that are still in the log have checksums, so
//! the damage is in the file.)

use std::fs::File;
use std::os::unix::fs::FileExt;

use rusqlite::{Connection, OptionalExtension};

use super::database::Database;
use crate::spool::{Damage, ItemKind, Sequence};

/// The first byte of an inner page of a table's tree.
const INNER_PAGE: u8 = 5;
/// No tree is deeper. Past this, damaged pages lead in a circle.
const MAX_DEPTH: usize = 20;

/// Returns the range to skip after reading past `after` has failed with `error`; `None` if there is nothing
/// readable behind it.
pub(super) fn skip(
    database: &Database,
    kind: ItemKind,
    after: Sequence,
    error: &rusqlite::Error,
) -> Option<Damage> {
    let (connection, after) = (&database.connection, after.get());
    let next = |position| next_sequence(connection, kind, position);
    let through = match next(after) {
        // The row itself is damaged, or one of the other pages that hold its text.
        Ok(Some(sequence)) => sequence,
        // There is no longer such a row: another process has trimmed it.
        Ok(None) => return None,
        Err(_) => {
            let ends = page_ends(database, kind, after).unwrap_or_default();
            let readable = ends.into_iter().filter(|end| *end > after).find(|end| next(*end).is_ok())?;
            // The page may be damaged only in the middle, so its end is read backwards.
            match first_readable_backwards(connection, kind, after, readable) {
                Some(first) if first - 1 > after && next(first - 1).is_ok() => first - 1,
                _ => readable,
            }
        }
    };
    Some(Damage { after: Sequence::new(after), through: Sequence::new(through), reason: error.to_string() })
}

fn next_sequence(connection: &Connection, kind: ItemKind, position: i64) -> rusqlite::Result<Option<i64>> {
    let table = kind.table();
    let query = format!("SELECT sequence FROM {table} WHERE sequence >= ?1 + 1 ORDER BY sequence LIMIT 1");
    connection.prepare_cached(&query)?.query_row([position], |row| row.get(0)).optional()
}

/// Returns the smallest sequence past `after` that can be reached backwards from `end`.
fn first_readable_backwards(connection: &Connection, kind: ItemKind, after: i64, end: i64) -> Option<i64> {
    let table = kind.table();
    let query =
        format!("SELECT sequence FROM {table} WHERE sequence > ?1 AND sequence <= ?2 ORDER BY sequence DESC");
    let mut statement = connection.prepare_cached(&query).ok()?;
    let rows = statement.query_map([after, end], |row| row.get::<_, i64>(0)).ok()?;
    rows.map_while(Result::ok).last()
}

/// Returns the sequences past `after` at which pages of the table's tree end, in order.
fn page_ends(database: &Database, kind: ItemKind, after: i64) -> Option<Vec<i64>> {
    let root = database
        .connection
        .query_row("SELECT rootpage FROM sqlite_schema WHERE name = ?1", [kind.table()], |row| row.get(0))
        .ok()?;
    let page_size = u64::try_from(database.pragma("page_size").ok()?).ok()?;
    let mut tree = Tree { file: File::open(&database.path).ok()?, page_size, ends: Vec::new() };
    tree.walk(root, after, 0);
    tree.ends.sort_unstable();
    Some(tree.ends)
}

struct Tree {
    file: File,
    page_size: u64,
    ends: Vec<i64>,
}

impl Tree {
    /// Collects the sequences past `after` at which the pages below an inner page end.
    fn walk(&mut self, number: u32, after: i64, depth: usize) -> Option<()> {
        let page = self.page(number)?;
        // The first page of a file begins with the file's own header.
        let header = if number == 1 { 100 } else { 0 };
        if *page.get(header)? != INNER_PAGE || depth > MAX_DEPTH {
            return None;
        }
        let cells = usize::from(u16::from_be_bytes(at(&page, header + 3)?));
        for cell in 0..cells {
            let offset = usize::from(u16::from_be_bytes(at(&page, header + 12 + 2 * cell)?));
            let child = u32::from_be_bytes(at(&page, offset)?);
            let end = varint(page.get(offset + 4..)?)?;
            if end > after {
                self.ends.push(end);
                self.walk(child, after, depth + 1);
            }
        }
        self.walk(u32::from_be_bytes(at(&page, header + 8)?), after, depth + 1)
    }

    fn page(&self, number: u32) -> Option<Vec<u8>> {
        let mut page = vec![0; usize::try_from(self.page_size).ok()?];
        let offset = u64::from(number.checked_sub(1)?) * self.page_size;
        self.file.read_exact_at(&mut page, offset).ok()?;
        Some(page)
    }
}

fn at<const N: usize>(page: &[u8], offset: usize) -> Option<[u8; N]> {
    page.get(offset..offset + N)?.try_into().ok()
}

/// Reads a number as SQLite writes it: seven bits a byte, highest first; the ninth byte has eight.
fn varint(bytes: &[u8]) -> Option<i64> {
    let mut number: u64 = 0;
    for (index, byte) in bytes.iter().take(9).enumerate() {
        if index == 8 {
            return Some((number << 8 | u64::from(*byte)).cast_signed());
        }
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some(number.cast_signed());
        }
    }
    None
}
