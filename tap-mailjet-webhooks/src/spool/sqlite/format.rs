//! The format of the file: its tables, and how an older file is converted to the newest format.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};
use tracing::info;

use super::error::SqliteError;

/// Marks the file as a spool: "`MJwh`".
const APPLICATION_ID: i64 = 0x4d4a_7768;

/// The step to each format from the one before it; the first one starts from an empty file.
///
/// A file's `user_version` says how many of these steps it has been through. Never change a step that was
/// released. Add a new one instead, and add a spool in the format before it to the fixtures of the end-to-end
/// tests.
pub(super) const FORMATS: &[&str] = &[
    "
    CREATE TABLE event (
        sequence INTEGER PRIMARY KEY, received_at INTEGER NOT NULL, body TEXT NOT NULL
    ) STRICT;
    CREATE TABLE rejected (
        sequence INTEGER PRIMARY KEY, received_at INTEGER NOT NULL, reason TEXT NOT NULL, body BLOB NOT NULL
    ) STRICT;
    CREATE TABLE webhook_url (
        id INTEGER PRIMARY KEY AUTOINCREMENT, label TEXT, token_sha256 BLOB NOT NULL,
        created_at INTEGER NOT NULL, last_used_at INTEGER, revoked_at INTEGER
    ) STRICT;
    CREATE TABLE discovered_column (
        stream TEXT NOT NULL, name TEXT NOT NULL, json_type TEXT NOT NULL, UNIQUE (stream, name)
    ) STRICT;
    CREATE TABLE fact (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
",
    "
    ALTER TABLE rejected ADD COLUMN body_hash BLOB;
    CREATE INDEX rejected_body_hash ON rejected (body_hash) WHERE body_hash IS NOT NULL;
",
    "
    ALTER TABLE webhook_url ADD COLUMN mailjet_account TEXT;
    ALTER TABLE webhook_url ADD COLUMN pending TEXT;
    ALTER TABLE webhook_url ADD COLUMN retire_after INTEGER;
    ALTER TABLE webhook_url ADD COLUMN unused_for INTEGER NOT NULL DEFAULT 0;
",
    "
    CREATE TABLE item_count (
        step INTEGER NOT NULL, start INTEGER NOT NULL, name TEXT NOT NULL, count INTEGER NOT NULL,
        PRIMARY KEY (step, start, name)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE row_block (
        item_table TEXT NOT NULL, last INTEGER NOT NULL, rows INTEGER NOT NULL,
        PRIMARY KEY (item_table, last)
    ) STRICT, WITHOUT ROWID;
",
];

/// The first format in which webhook URLs have an account of Mailjet.
pub(super) const WITH_MAILJET_ACCOUNTS: i64 = 3;

fn newest(formats: &[&str]) -> i64 {
    i64::try_from(formats.len()).unwrap_or(i64::MAX)
}

/// Returns which of `formats` a spool has; 0 for a file that is still empty. Any other file is an error.
pub(super) fn read(connection: &Connection, path: &Path, formats: &[&str]) -> Result<i64, SqliteError> {
    let failed = |source| SqliteError::from_sqlite(path, "opening", source);
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(failed);
    let (found, known) = (pragma("user_version")?, newest(formats));
    if found == 0 {
        let table = connection.query_row("SELECT 1 FROM sqlite_schema LIMIT 1", [], |_| Ok(())).optional();
        return match table.map_err(failed)? {
            Some(()) => Err(SqliteError::NotASpool { path: path.to_owned() }),
            None => Ok(0),
        };
    }
    if pragma("application_id")? != APPLICATION_ID {
        return Err(SqliteError::NotASpool { path: path.to_owned() });
    }
    if found > known {
        return Err(SqliteError::NewerFormat { path: path.to_owned(), found, known });
    }
    Ok(found)
}

/// Creates the tables of a new spool, or converts those of an older one to the newest of `formats`: all steps
/// or none.
pub(super) fn migrate(connection: &mut Connection, path: &Path, formats: &[&str]) -> Result<(), SqliteError> {
    let newest = newest(formats);
    if read(connection, path, formats)? == newest {
        return Ok(());
    }
    let failed = |source| SqliteError::from_sqlite(path, "creating its tables", source);
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    // Read again: if several processes start at once, only one of them creates the tables.
    let found = read(&transaction, path, formats)?;
    for step in formats.iter().skip(usize::try_from(found).unwrap_or(usize::MAX)) {
        transaction.execute_batch(step).map_err(failed)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed)?;
    transaction.pragma_update(None, "user_version", newest).map_err(failed)?;
    transaction.commit().map_err(failed)?;
    if (1..newest).contains(&found) {
        info!("spool {}: converted from format {found} to format {newest}", path.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::database::Database;
    use super::super::facts;
    use super::*;

    /// Converts a spool of today's format to formats that do not exist yet, as a later release will.
    #[test]
    fn an_older_format_is_converted_in_one_transaction_or_not_at_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("spool.db");
        let mut database = Database::create_or_open(&path).expect("a spool of today's format");
        let connection = &mut database.connection;
        connection.execute("INSERT INTO event VALUES (7, 8, '{}')", []).expect("an event");
        let with_today = |more: &[&'static str]| [FORMATS, more].concat();
        let today = newest(FORMATS);
        let tagged = "ALTER TABLE event ADD COLUMN tag TEXT; UPDATE event SET tag = 'old'";
        let format = |connection: &Connection| {
            connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0)).expect("a number")
        };

        let broken = with_today(&[tagged, "ALTER TABLE nothing ADD COLUMN x"]);
        migrate(connection, &path, &broken).expect_err("there is no such table");
        assert_eq!(format(connection), today, "no step has had an effect");
        connection.query_row("SELECT tag FROM event", [], |_| Ok(())).expect_err("there is no such column");

        let formats = with_today(&[tagged, "INSERT INTO fact VALUES ('third', 3)"]);
        for _ in 0..2 {
            migrate(connection, &path, &formats).expect("a migration");
        }
        let row = connection.query_row("SELECT sequence, body, tag FROM event", [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?))
        });
        assert_eq!(row, Ok((7, "{}".to_owned(), "old".to_owned())));
        assert_eq!((format(connection), facts::read(connection, "third")), (today + 2, Ok(Some(3))));

        let refused = migrate(connection, &path, FORMATS).expect_err("a newer format");
        assert!(matches!(refused, SqliteError::NewerFormat { found, .. } if found == today + 2), "{refused}");
    }
}
