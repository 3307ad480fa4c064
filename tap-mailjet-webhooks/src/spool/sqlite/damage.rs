//! Getting past what can't be read.
//!
//! A table is a tree of pages. A page that is damaged makes SQLite stop in the middle of a read, whatever is asked for
//! behind it; asked for what lies on another page, it answers. The keys at which one page ends and the next begins stand
//! in the inner pages of the tree. They are read here from the file itself, since SQLite does not tell them, and taken as
//! no more than hints: what they lead to is read by SQLite. (Pages that are still in the log have checksums; what is
//! damaged is in the file.)

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rusqlite::{Connection, ErrorCode, OptionalExtension};

use crate::spool::ItemKind;

/// The first byte of an inner page of a table's tree.
const INNER_PAGE: u8 = 5;
/// Trees are never so deep: past it, pages that are damaged lead in a circle.
const DEEPEST: usize = 20;

/// Rows that can't be read: those with a sequence past `after`, up to `through`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The last sequence before them.
    pub after: i64,
    /// The last sequence that they can have.
    pub through: i64,
    /// What is wrong with them.
    pub reason: String,
}

/// Whether an error says that what was read is damaged.
pub(in crate::spool) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(
        error,
        rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::Utf8Error(..)
    ) || error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt)
}

/// What has to be skipped to read on, where reading past `after` has met `error`. None if nothing can be read behind it.
pub(super) fn skip(
    connection: &Connection,
    path: &Path,
    kept: ItemKind,
    after: i64,
    error: &rusqlite::Error,
) -> Option<Damage> {
    let next = |position| next_sequence(connection, kept, position);
    let through = match next(after) {
        // The row itself is damaged, or what it holds stands on other pages that are.
        Ok(Some(sequence)) => sequence,
        // It was there, and is gone: somebody else has trimmed it.
        Ok(None) => return None,
        Err(_) => {
            let ends = page_ends(connection, path, kept, after).unwrap_or_default();
            let readable = ends.into_iter().filter(|end| *end > after).find(|end| next(*end).is_ok())?;
            // The page may be damaged in its middle only: its end is read backwards.
            match first_from_behind(connection, kept, after, readable) {
                Some(first) if first - 1 > after && next(first - 1).is_ok() => first - 1,
                _ => readable,
            }
        }
    };
    Some(Damage { after, through, reason: error.to_string() })
}

fn next_sequence(connection: &Connection, kept: ItemKind, position: i64) -> rusqlite::Result<Option<i64>> {
    let table = kept.table();
    connection
        .prepare_cached(&format!(
            "SELECT sequence FROM {table} WHERE sequence >= ?1 + 1 ORDER BY sequence LIMIT 1"
        ))?
        .query_row([position], |row| row.get(0))
        .optional()
}

/// The smallest sequence past `after` that can be reached from `through` backwards.
fn first_from_behind(connection: &Connection, kept: ItemKind, after: i64, through: i64) -> Option<i64> {
    let table = kept.table();
    let backwards =
        format!("SELECT sequence FROM {table} WHERE sequence > ?1 AND sequence <= ?2 ORDER BY sequence DESC");
    let mut statement = connection.prepare_cached(&backwards).ok()?;
    let rows = statement.query_map([after, through], |row| row.get::<_, i64>(0)).ok()?;
    rows.map_while(Result::ok).last()
}

/// The sequences past `after` with which pages of the table's tree end, in their order.
fn page_ends(connection: &Connection, path: &Path, kept: ItemKind, after: i64) -> Option<Vec<i64>> {
    let root = connection
        .query_row("SELECT rootpage FROM sqlite_schema WHERE name = ?1", [kept.table()], |row| row.get(0))
        .ok()?;
    let page_size: i64 = connection.pragma_query_value(None, "page_size", |row| row.get(0)).ok()?;
    let mut tree =
        Tree { file: File::open(path).ok()?, page_size: u64::try_from(page_size).ok()?, ends: Vec::new() };
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
    /// Notes where the pages below an inner page end, as far as they hold anything past `after`.
    fn walk(&mut self, number: u32, after: i64, depth: usize) -> Option<()> {
        let page = self.page(number)?;
        // The first page of a file begins with the file's own head.
        let head = if number == 1 { 100 } else { 0 };
        if *page.get(head)? != INNER_PAGE || depth > DEEPEST {
            return None;
        }
        let cells = usize::from(u16::from_be_bytes(at(&page, head + 3)?));
        for cell in 0..cells {
            let place = usize::from(u16::from_be_bytes(at(&page, head + 12 + 2 * cell)?));
            let child = u32::from_be_bytes(at(&page, place)?);
            let end = varint(page.get(place + 4..)?)?;
            if end > after {
                self.ends.push(end);
                self.walk(child, after, depth + 1);
            }
        }
        self.walk(u32::from_be_bytes(at(&page, head + 8)?), after, depth + 1)
    }

    fn page(&self, number: u32) -> Option<Vec<u8>> {
        let mut page = vec![0; usize::try_from(self.page_size).ok()?];
        let place = u64::from(number.checked_sub(1)?) * self.page_size;
        self.file.read_exact_at(&mut page, place).ok()?;
        Some(page)
    }
}

fn at<const N: usize>(page: &[u8], place: usize) -> Option<[u8; N]> {
    page.get(place..place + N)?.try_into().ok()
}

/// A number as SQLite writes it: seven bits a byte, the highest first; the ninth byte has eight.
fn varint(bytes: &[u8]) -> Option<i64> {
    let mut number: u64 = 0;
    for (place, byte) in bytes.iter().take(9).enumerate() {
        if place == 8 {
            return Some((number << 8 | u64::from(*byte)).cast_signed());
        }
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some(number.cast_signed());
        }
    }
    None
}
