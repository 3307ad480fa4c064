//! Columns that appeared in events, remembered in the spool: a column keeps its type for ever, in any process.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use catalog::column::{Column, ColumnType};
use catalog::stream::{Stream, discovered_column};
use rusqlite::Connection;

use crate::spool::{self, SpoolError};

/// A column that appeared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovered {
    /// The stream.
    pub stream: String,
    /// The column's name.
    pub name: String,
    /// The type of its first value.
    pub kind: ColumnType,
}

/// Those of `all` that appeared in a stream, as its columns.
///
/// The system prefix may have been changed since to one that makes a system column of a name that there is, or of one that
/// differs from it only by case. Many databases take the two for one: the system column stays.
#[must_use]
pub fn columns_of(stream: &Stream, all: &[Discovered]) -> Vec<Column> {
    let taken: HashSet<_> = stream.columns.iter().map(|column| column.name.to_lowercase()).collect();
    let of_stream = all.iter().filter(|column| column.stream == stream.id.name());
    let free = of_stream.filter(|column| !taken.contains(&column.name.to_lowercase()));
    free.map(|column| discovered_column(column.name.clone(), column.kind)).collect()
}

/// The spool's table of columns that appeared.
#[derive(Debug)]
pub struct DiscoveredColumns {
    path: PathBuf,
    connection: Connection,
}

impl DiscoveredColumns {
    /// Opens the table in the spool at `path`.
    pub fn open(path: &Path) -> Result<Self, SpoolError> {
        Ok(DiscoveredColumns { path: path.to_owned(), connection: spool::open(path)? })
    }

    /// Opens the table for reading, if there is a spool at `path`. Nothing is made, and nothing is locked.
    pub fn look(path: &Path) -> Result<Option<Self>, SpoolError> {
        let connection = spool::look(path)?;
        Ok(connection.map(|connection| DiscoveredColumns { path: path.to_owned(), connection }))
    }

    /// All columns, in the order in which they appeared.
    pub fn all(&self) -> Result<Vec<Discovered>, SpoolError> {
        let all = || {
            self.connection
                .prepare("SELECT stream, name, json_type FROM discovered_column ORDER BY rowid")?
                .query_map([], |row| {
                    let json_type: String = row.get(2)?;
                    // A type that a later version may have written is text, which takes any value.
                    let kind = ColumnType::from_json_type(&json_type).unwrap_or(ColumnType::Text);
                    Ok(Discovered { stream: row.get(0)?, name: row.get(1)?, kind })
                })?
                .collect::<rusqlite::Result<_>>()
        };
        all().map_err(|source| self.failed(source))
    }

    /// Remembers columns. They are on disk when this returns.
    pub fn remember(&mut self, columns: &[Discovered]) -> Result<(), SpoolError> {
        let remember = |connection: &mut Connection| {
            let transaction = connection.transaction()?;
            for Discovered { stream, name, kind } in columns {
                transaction
                    .prepare_cached(
                        "INSERT INTO discovered_column (stream, name, json_type) VALUES (?1, ?2, ?3)",
                    )?
                    .execute((stream, name, kind.json_type()))?;
            }
            transaction.commit()
        };
        spool::retry_while_locked(&self.path, "noting a new column", || remember(&mut self.connection))
    }

    fn failed(&self, source: rusqlite::Error) -> SpoolError {
        SpoolError::sqlite(&self.path, "reading or writing the columns that appeared", source)
    }
}
