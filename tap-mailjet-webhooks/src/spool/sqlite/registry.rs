//! The registry, as tables of the SQLite file.

use std::time::Duration;

use rusqlite::{Connection, params};

use super::database::Database;
use super::{facts, format};
use crate::os::clock::{UnixMillis, millis};
use crate::spool::{
    CountStep, DiscoveredColumn, ItemCount, MailjetAccount, Registry, RegistryView, Retirement, Sequence,
    SpoolError, TokenHash, UrlPurpose, WebhookUrl,
};

const URLS: &str = "reading or writing its webhook URLs";
const COLUMNS: &str = "reading or writing its discovered columns";
const COUNTS: &str = "reading or writing its counts over time";
const POSITIONS: &str = "reading or writing its positions";

#[derive(Debug)]
pub(super) struct SqliteRegistry {
    pub(super) database: Database,
    pub(super) clock: fn() -> UnixMillis,
}

/// Writes what need not be durable, without a sync of its own, which would keep the listener's next commit
/// waiting.
fn without_sync(
    database: &mut Database,
    action: &'static str,
    work: impl FnOnce(&Connection) -> rusqlite::Result<()>,
) -> Result<(), SpoolError> {
    let set_sync = |database: &Database, level| {
        database.connection.pragma_update(None, "synchronous", level).map_err(database.failed(action))
    };
    set_sync(database, "NORMAL")?;
    let written = database.write(action, |transaction| work(transaction));
    set_sync(database, "FULL")?;
    Ok(written?)
}

/// Durations are stored in milliseconds.
fn duration(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
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
        // A command that only reads may meet a spool in an older format.
        let has_accounts = |format: i64| format >= format::WITH_MAILJET_ACCOUNTS;
        self.read(URLS, |connection| {
            let newer = match connection.pragma_query_value(None, "user_version", |row| row.get(0)) {
                Ok(format) if has_accounts(format) => "mailjet_account, pending, retire_after, unused_for",
                _ => "NULL, NULL, NULL, 0",
            };
            connection
                .prepare_cached(&format!(
                    "SELECT id, label, token_sha256, created_at, last_used_at, {newer} FROM webhook_url \
                     WHERE revoked_at IS NULL ORDER BY id",
                ))?
                .query_map([], |row| {
                    Ok(WebhookUrl {
                        id: row.get(0)?,
                        label: row.get(1)?,
                        token: TokenHash(row.get(2)?),
                        created_at: UnixMillis::new(row.get(3)?),
                        last_used_at: row.get::<_, Option<i64>>(4)?.map(UnixMillis::new),
                        account: row.get::<_, Option<String>>(5)?.map(MailjetAccount::new),
                        pending: row.get_ref(6)?.as_str_or_null()?.map(UrlPurpose::from_name),
                        retirement: match row.get(7)? {
                            None => None,
                            Some(after) => {
                                Some(Retirement { after: duration(after), unused_for: duration(row.get(8)?) })
                            }
                        },
                    })
                })?
                .collect()
        })
    }

    fn item_counts(&mut self, step: CountStep, since: UnixMillis) -> Result<Vec<ItemCount>, SpoolError> {
        let query = "SELECT start, name, count FROM item_count WHERE step = ?1 AND start >= ?2 \
             ORDER BY start, name";
        self.read(COUNTS, |connection| {
            connection
                .prepare_cached(query)?
                .query_map((millis(step.length()), since.get()), |row| {
                    let count = row.get::<_, i64>(2)?;
                    Ok(ItemCount {
                        start: UnixMillis::new(row.get(0)?),
                        name: row.get(1)?,
                        count: u64::try_from(count).unwrap_or(0),
                    })
                })?
                .collect()
        })
    }

    fn revoked_tokens(&mut self) -> Result<Vec<TokenHash>, SpoolError> {
        self.read(URLS, |connection| {
            connection
                .prepare("SELECT token_sha256 FROM webhook_url WHERE revoked_at IS NOT NULL")?
                .query_map([], |row| row.get(0).map(TokenHash))?
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
        account: Option<(&MailjetAccount, UrlPurpose)>,
        max_active: usize,
    ) -> Result<Option<i64>, SpoolError> {
        let now = (self.clock)().get();
        Ok(self.database.write(URLS, |transaction| {
            let active = "SELECT count(*) FROM webhook_url WHERE revoked_at IS NULL";
            let active: i64 = transaction.query_row(active, [], |row| row.get(0))?;
            if usize::try_from(active).is_ok_and(|active| active >= max_active) {
                return Ok(None);
            }
            let insert = "INSERT INTO webhook_url \
                 (label, token_sha256, created_at, mailjet_account, pending) VALUES (?1, ?2, ?3, ?4, ?5)";
            let name = account.map(|(account, _)| account.as_str());
            let pending = account.map(|(_, pending)| pending.name());
            transaction.execute(insert, params![label, token.0, now, name, pending])?;
            Ok(Some(transaction.last_insert_rowid()))
        })?)
    }

    fn note_registered(&mut self, account: &MailjetAccount, ids: &[i64]) -> Result<(), SpoolError> {
        Ok(self.database.write(URLS, |transaction| {
            for id in ids {
                let note = "UPDATE webhook_url SET mailjet_account = ?2 \
                     WHERE id = ?1 AND mailjet_account IS NULL";
                transaction.execute(note, params![id, account.as_str()])?;
            }
            Ok(())
        })?)
    }

    fn complete_registration(
        &mut self,
        account: &MailjetAccount,
        id: i64,
        retired: &[i64],
        retire_after: Duration,
    ) -> Result<(), SpoolError> {
        Ok(self.database.write(URLS, |transaction| {
            let complete = "UPDATE webhook_url SET mailjet_account = ?2, pending = NULL WHERE id = ?1";
            transaction.execute(complete, params![id, account.as_str()])?;
            for id in retired {
                let retire = "UPDATE webhook_url SET retire_after = ?2, unused_for = 0, pending = NULL \
                     WHERE id = ?1 AND revoked_at IS NULL";
                transaction.execute(retire, params![id, millis(retire_after)])?;
            }
            Ok(())
        })?)
    }

    fn retire_webhook_url(&mut self, id: i64, after: Duration) -> Result<bool, SpoolError> {
        let retired = self.database.write(URLS, |transaction| {
            let retire = "UPDATE webhook_url SET retire_after = ?2, unused_for = 0 \
                 WHERE id = ?1 AND revoked_at IS NULL";
            transaction.execute(retire, params![id, millis(after)])
        })?;
        Ok(retired > 0)
    }

    fn note_webhook_url_attempt(&mut self, id: i64) -> Result<(), SpoolError> {
        self.database.write(URLS, |transaction| {
            transaction.execute("UPDATE webhook_url SET unused_for = 0 WHERE id = ?1", [id])
        })?;
        Ok(())
    }

    fn note_webhook_url_disuse(&mut self, id: i64, more: Duration) -> Result<bool, SpoolError> {
        let now = (self.clock)().get();
        let revoked = self.database.write(URLS, |transaction| {
            let note = "UPDATE webhook_url SET unused_for = unused_for + ?2 \
                 WHERE id = ?1 AND retire_after IS NOT NULL AND revoked_at IS NULL";
            transaction.execute(note, params![id, millis(more)])?;
            let revoke = "UPDATE webhook_url SET revoked_at = ?2 \
                 WHERE id = ?1 AND unused_for >= retire_after AND revoked_at IS NULL";
            transaction.execute(revoke, params![id, now])
        })?;
        Ok(revoked > 0)
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
            let note = "UPDATE webhook_url SET last_used_at = max(coalesce(last_used_at, 0), ?2), \
                 unused_for = 0 WHERE id = ?1";
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

    fn add_item_counts(&mut self, at: UnixMillis, counts: &[(&str, u64)]) -> Result<(), SpoolError> {
        without_sync(&mut self.database, COUNTS, |transaction| {
            for step in CountStep::ALL {
                let (length, start) = (millis(step.length()), step.start_of(at));
                let add = "INSERT INTO item_count (step, start, name, count) VALUES (?1, ?2, ?3, ?4) \
                     ON CONFLICT DO UPDATE SET count = count + excluded.count";
                let mut add = transaction.prepare_cached(add)?;
                for (name, count) in counts {
                    let count = i64::try_from(*count).unwrap_or(i64::MAX);
                    add.execute(params![length, start.get(), name, count])?;
                }
                let oldest = start.saturating_sub(step.kept_for());
                transaction
                    .prepare_cached("DELETE FROM item_count WHERE step = ?1 AND start < ?2")?
                    .execute((length, oldest.get()))?;
            }
            Ok(())
        })
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

    fn demand_emitter(&mut self) -> Result<(), SpoolError> {
        Ok(())
    }

    fn note_confirmed_through(&mut self, sequence: Sequence) -> Result<(), SpoolError> {
        let now = (self.clock)().get();
        without_sync(&mut self.database, "noting what was confirmed", |transaction| {
            if facts::raise(transaction, facts::CONFIRMED_THROUGH, sequence)? {
                facts::set(transaction, facts::CONFIRMED_AT, now)?;
            }
            Ok(())
        })
    }
}
