//! The registry, as tables of the SQLite file.

use rusqlite::{Connection, params};

use super::database::Database;
use super::facts;
use crate::os::clock::UnixMillis;
use crate::spool::{DiscoveredColumn, Registry, RegistryView, Sequence, SpoolError, TokenHash, WebhookUrl};

const URLS: &str = "reading or writing its webhook URLs";
const COLUMNS: &str = "reading or writing its discovered columns";
const POSITIONS: &str = "reading or writing its positions";

#[derive(Debug)]
pub(super) struct SqliteRegistry {
    pub(super) database: Database,
    pub(super) clock: fn() -> UnixMillis,
}

impl SqliteRegistry {
    fn read<T>(
        &self,
        action: &'static str,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, SpoolError> {
        Ok(read(&self.database.connection).map_err(self.database.failed(action))?)
    }
}

impl RegistryView for SqliteRegistry {
    fn webhook_urls(&mut self) -> Result<Vec<WebhookUrl>, SpoolError> {
        self.read(URLS, |connection| {
            connection
                .prepare_cached(
                    "SELECT id, label, token_sha256, created_at, last_used_at FROM webhook_url \
                     WHERE revoked_at IS NULL ORDER BY id",
                )?
                .query_map([], |row| {
                    Ok(WebhookUrl {
                        id: row.get(0)?,
                        label: row.get(1)?,
                        token: TokenHash(row.get(2)?),
                        created_at: UnixMillis::new(row.get(3)?),
                        last_used_at: row.get::<_, Option<i64>>(4)?.map(UnixMillis::new),
                    })
                })?
                .collect()
        })
    }

    fn discovered_columns(&mut self) -> Result<Vec<DiscoveredColumn>, SpoolError> {
        self.read(COLUMNS, |connection| {
            connection
                .prepare("SELECT stream, name, json_type FROM discovered_column ORDER BY rowid")?
                .query_map([], |row| {
                    Ok(DiscoveredColumn { stream: row.get(0)?, name: row.get(1)?, json_type: row.get(2)? })
                })?
                .collect()
        })
    }
}

impl Registry for SqliteRegistry {
    fn add_webhook_url(
        &mut self,
        token: TokenHash,
        label: Option<&str>,
        max_active: usize,
    ) -> Result<Option<i64>, SpoolError> {
        let now = (self.clock)().get();
        Ok(self.database.write(URLS, |transaction| {
            let active = "SELECT count(*) FROM webhook_url WHERE revoked_at IS NULL";
            let active: i64 = transaction.query_row(active, [], |row| row.get(0))?;
            if usize::try_from(active).is_ok_and(|active| active >= max_active) {
                return Ok(None);
            }
            let insert = "INSERT INTO webhook_url (label, token_sha256, created_at) VALUES (?1, ?2, ?3)";
            transaction.execute(insert, params![label, token.0, now])?;
            Ok(Some(transaction.last_insert_rowid()))
        })?)
    }

    fn revoke_webhook_url(&mut self, id: i64) -> Result<bool, SpoolError> {
        let now = (self.clock)().get();
        let revoked = self.database.write(URLS, |transaction| {
            let revoke = "UPDATE webhook_url SET revoked_at = ?2 WHERE id = ?1 AND revoked_at IS NULL";
            transaction.execute(revoke, params![id, now])
        })?;
        Ok(revoked > 0)
    }

    fn note_webhook_url_use(&mut self, id: i64, used_at: UnixMillis) -> Result<(), SpoolError> {
        self.database.write(URLS, |transaction| {
            let note =
                "UPDATE webhook_url SET last_used_at = max(coalesce(last_used_at, 0), ?2) WHERE id = ?1";
            transaction.prepare_cached(note)?.execute(params![id, used_at.get()])
        })?;
        Ok(())
    }

    fn add_discovered_columns(&mut self, columns: &[DiscoveredColumn]) -> Result<(), SpoolError> {
        Ok(self.database.write_when_unlocked("noting a new column", |transaction| {
            let insert = "INSERT INTO discovered_column (stream, name, json_type) VALUES (?1, ?2, ?3)";
            let mut insert = transaction.prepare_cached(insert)?;
            for DiscoveredColumn { stream, name, json_type } in columns {
                insert.execute((stream, name, json_type))?;
            }
            Ok(())
        })?)
    }

    fn forget_discovered_column(&mut self, stream: &str, name: &str) -> Result<bool, SpoolError> {
        Ok(self.database.write_when_unlocked("forgetting a column", |transaction| {
            let delete = "DELETE FROM discovered_column WHERE stream = ?1 AND name = ?2";
            let is_known = transaction.execute(delete, (stream, name))? > 0;
            if is_known {
                let forgotten = facts::read(transaction, facts::COLUMNS_FORGOTTEN)?.unwrap_or(0);
                facts::set(transaction, facts::COLUMNS_FORGOTTEN, forgotten + 1)?;
            }
            Ok(is_known)
        })?)
    }

    fn columns_forgotten(&mut self) -> Result<i64, SpoolError> {
        let forgotten = self.read(COLUMNS, |connection| facts::read(connection, facts::COLUMNS_FORGOTTEN))?;
        Ok(forgotten.unwrap_or(0))
    }

    fn state_was_given(&mut self) -> Result<bool, SpoolError> {
        self.read(POSITIONS, |connection| Ok(facts::read(connection, facts::STATE_GIVEN)?.is_some()))
    }

    fn note_state_given(&mut self) -> Result<(), SpoolError> {
        if !self.state_was_given()? {
            self.database.write_when_unlocked("noting a state", |transaction| {
                facts::set(transaction, facts::STATE_GIVEN, 1)
            })?;
        }
        Ok(())
    }

    fn written_through(&mut self) -> Result<Option<Sequence>, SpoolError> {
        self.read(POSITIONS, |connection| facts::read_sequence(connection, facts::WRITTEN_THROUGH))
    }

    fn note_written_through(&mut self, sequence: Sequence) -> Result<(), SpoolError> {
        Ok(self.database.write_when_unlocked("noting a state", |transaction| {
            facts::set(transaction, facts::WRITTEN_THROUGH, sequence.get())
        })?)
    }

    fn note_confirmed_through(&mut self, sequence: Sequence) -> Result<(), SpoolError> {
        const ACTION: &str = "noting what was confirmed";
        let set_sync = |database: &Database, level| {
            database.connection.pragma_update(None, "synchronous", level).map_err(database.failed(ACTION))
        };
        // Without a sync of its own, which would keep the listener's next commit waiting.
        set_sync(&self.database, "NORMAL")?;
        let noted = self
            .database
            .write(ACTION, |transaction| facts::raise(transaction, facts::CONFIRMED_THROUGH, sequence));
        set_sync(&self.database, "FULL")?;
        Ok(noted?)
    }
}
