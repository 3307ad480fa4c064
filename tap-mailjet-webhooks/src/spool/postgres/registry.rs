//! The registry, as tables of the schema.

use std::time::Duration;

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::connection::{Database, Patience, Queries, Write};
use super::error::PostgresError;
use super::{facts, role};
use crate::os::clock::{UnixMillis, millis};
use crate::spool::{
    CountStep, DiscoveredColumn, ItemCount, MailjetAccount, Registry, RegistryView, Retirement, Role,
    Sequence, SpoolError, TokenHash, UrlPurpose, WebhookUrl,
};

const URLS: &str = "reading or writing its webhook URLs";
const COLUMNS: &str = "reading or writing its discovered columns";
const COUNTS: &str = "reading or writing its counts over time";
const POSITIONS: &str = "reading or writing its positions";

/// Changes nothing, and makes a transaction one that has something to commit.
const LOG_MESSAGE: &str = "SELECT pg_logical_emit_message(true, 'tap-mailjet-webhooks', '')";

/// The database's time in Unix milliseconds, unless the parameter is set.
const NOW: &str = "coalesce($1, (extract(epoch FROM clock_timestamp()) * 1000)::bigint)";

#[derive(Debug)]
pub(super) struct PostgresRegistry {
    pub(super) database: Database,
    /// How long calls wait that anybody makes. The emitter's own calls wait longer.
    pub(super) patience: Patience,
}

/// Durations are stored in milliseconds.
fn duration(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

fn token_in(row: &Row, column: usize) -> Result<TokenHash, tokio_postgres::Error> {
    let bytes: &[u8] = row.try_get(column)?;
    // One of another length was not written by this program, and admits nothing.
    Ok(TokenHash(bytes.try_into().unwrap_or([0; 32])))
}

fn url_in(row: &Row) -> Result<WebhookUrl, tokio_postgres::Error> {
    let retirement = match row.try_get::<_, Option<i64>>(7)? {
        None => None,
        Some(after) => Some(Retirement { after: duration(after), unused_for: duration(row.try_get(8)?) }),
    };
    Ok(WebhookUrl {
        id: row.try_get(0)?,
        label: row.try_get(1)?,
        token: token_in(row, 2)?,
        created_at: UnixMillis::new(row.try_get(3)?),
        last_used_at: row.try_get::<_, Option<i64>>(4)?.map(UnixMillis::new),
        account: row.try_get::<_, Option<String>>(5)?.map(MailjetAccount::new),
        pending: row.try_get::<_, Option<&str>>(6)?.map(UrlPurpose::from_name),
        retirement,
    })
}

impl PostgresRegistry {
    fn read<T>(
        &mut self,
        action: &'static str,
        work: impl AsyncFn(Queries<'_>) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, SpoolError> {
        Ok(self.database.read(action, self.patience, work)?)
    }

    fn write<T>(
        &mut self,
        action: &'static str,
        write: Write,
        work: impl AsyncFn(Queries<'_>) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, SpoolError> {
        Ok(self.database.write(action, self.patience, write, work)?)
    }

    /// Writes what only the emitter writes.
    fn write_as_emitter<T>(
        &mut self,
        action: &'static str,
        work: impl AsyncFn(Queries<'_>) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, SpoolError> {
        let patience = self.database.context.emitter_patience();
        Ok(self.database.write(action, patience, Write::As(Role::Emitter), work)?)
    }

    /// Reads a fact, and checks that an emitter still has its role.
    fn fact(&mut self, name: &'static str) -> Result<Option<i64>, SpoolError> {
        let patience = self.database.context.emitter_patience();
        let epoch = self.database.context.epoch(Role::Emitter);
        let (value, is_emitter) = self.database.read(POSITIONS, patience, async |queries| {
            let query = "SELECT (SELECT value FROM @.fact WHERE name = $1), \
                $2::bigint IS NULL OR EXISTS (SELECT 1 FROM @.role WHERE name = 'emitter' AND epoch = $2)";
            let row = queries.row(query, &[(&name, Type::TEXT), (&epoch, Type::INT8)]).await?;
            Ok((row.try_get(0)?, row.try_get::<_, bool>(1)?))
        })?;
        if is_emitter {
            Ok(value)
        } else {
            Err(PostgresError::RoleLost { role: Role::Emitter, spool: self.database.context.name.clone() }
                .into())
        }
    }
}

impl RegistryView for PostgresRegistry {
    fn webhook_urls(&mut self) -> Result<Vec<WebhookUrl>, SpoolError> {
        self.read(URLS, async |queries| {
            let query = "SELECT id, label, token_sha256, created_at, last_used_at, mailjet_account, pending, \
                retire_after, unused_for FROM @.webhook_url WHERE revoked_at IS NULL ORDER BY id";
            queries.rows(query, &[]).await?.iter().map(url_in).collect()
        })
    }

    fn item_counts(&mut self, step: CountStep, since: UnixMillis) -> Result<Vec<ItemCount>, SpoolError> {
        self.read(COUNTS, async |queries| {
            let query = "SELECT start, name, count FROM @.item_count WHERE step = $1 AND start >= $2 \
                ORDER BY start, name COLLATE \"C\"";
            let parameters = &[(&millis(step.length()) as _, Type::INT8), (&since.get() as _, Type::INT8)];
            let count = |row: &Row| {
                Ok(ItemCount {
                    start: UnixMillis::new(row.try_get(0)?),
                    name: row.try_get(1)?,
                    count: u64::try_from(row.try_get::<_, i64>(2)?).unwrap_or(0),
                })
            };
            queries.rows(query, parameters).await?.iter().map(count).collect()
        })
    }

    fn revoked_tokens(&mut self) -> Result<Vec<TokenHash>, SpoolError> {
        self.read(URLS, async |queries| {
            let query = "SELECT token_sha256 FROM @.webhook_url WHERE revoked_at IS NOT NULL ORDER BY id";
            queries.rows(query, &[]).await?.iter().map(|row| token_in(row, 0)).collect()
        })
    }

    fn discovered_columns(&mut self) -> Result<Vec<DiscoveredColumn>, SpoolError> {
        self.read(COLUMNS, async |queries| {
            let query = "SELECT stream, name, json_type FROM @.discovered_column ORDER BY id";
            let column = |row: &Row| {
                Ok(DiscoveredColumn {
                    stream: row.try_get(0)?,
                    name: row.try_get(1)?,
                    json_type: row.try_get(2)?,
                })
            };
            queries.rows(query, &[]).await?.iter().map(column).collect()
        })
    }
}

impl Registry for PostgresRegistry {
    fn add_webhook_url(
        &mut self,
        token: TokenHash,
        label: Option<&str>,
        account: Option<(&MailjetAccount, UrlPurpose)>,
        max_active: usize,
    ) -> Result<Option<i64>, SpoolError> {
        let now = self.database.context.now();
        let hash = token.0.as_slice();
        let name = account.map(|(account, _)| account.as_str());
        let pending = account.map(|(_, pending)| pending.name());
        let max_active = i64::try_from(max_active).unwrap_or(i64::MAX);
        self.write(URLS, Write::Durable, async |queries| {
            // Two processes that add URLs at the same time must see each other's.
            queries.execute_all("LOCK TABLE @.webhook_url IN SHARE ROW EXCLUSIVE MODE").await?;
            let insert = format!(
                "INSERT INTO @.webhook_url (label, token_sha256, created_at, mailjet_account, pending) \
                 SELECT $2, $3, {NOW}, $4, $5 \
                 WHERE (SELECT count(*) FROM @.webhook_url WHERE revoked_at IS NULL) < $6 RETURNING id"
            );
            let parameters = &[
                (&now as _, Type::INT8),
                (&label as _, Type::TEXT),
                (&hash as _, Type::BYTEA),
                (&name as _, Type::TEXT),
                (&pending as _, Type::TEXT),
                (&max_active as _, Type::INT8),
            ];
            queries.rows(&insert, parameters).await?.first().map(|row| row.try_get(0)).transpose()
        })
    }

    fn revoke_webhook_url(&mut self, id: i64) -> Result<bool, SpoolError> {
        let now = self.database.context.now();
        let revoked = self.write(URLS, Write::Durable, async |queries| {
            let revoke =
                format!("UPDATE @.webhook_url SET revoked_at = {NOW} WHERE id = $2 AND revoked_at IS NULL");
            queries.execute(&revoke, &[(&now, Type::INT8), (&id, Type::INT8)]).await
        })?;
        Ok(revoked > 0)
    }

    fn note_registered(&mut self, account: &MailjetAccount, ids: &[i64]) -> Result<(), SpoolError> {
        self.write(URLS, Write::As(Role::Registrar), async |queries| {
            let note = "UPDATE @.webhook_url SET mailjet_account = $2 \
                WHERE id = ANY ($1) AND mailjet_account IS NULL";
            queries.execute(note, &[(&ids, Type::INT8_ARRAY), (&account.as_str(), Type::TEXT)]).await
        })?;
        Ok(())
    }

    fn complete_registration(
        &mut self,
        account: &MailjetAccount,
        id: i64,
        retired: &[i64],
        retire_after: Duration,
    ) -> Result<(), SpoolError> {
        let after = millis(retire_after);
        self.write(URLS, Write::As(Role::Registrar), async |queries| {
            let complete = "UPDATE @.webhook_url SET mailjet_account = $2, pending = NULL WHERE id = $1";
            queries.execute(complete, &[(&id, Type::INT8), (&account.as_str(), Type::TEXT)]).await?;
            let retire = "UPDATE @.webhook_url SET retire_after = $2, unused_for = 0, pending = NULL \
                WHERE id = ANY ($1) AND revoked_at IS NULL";
            queries.execute(retire, &[(&retired, Type::INT8_ARRAY), (&after, Type::INT8)]).await
        })?;
        Ok(())
    }

    fn retire_webhook_url(&mut self, id: i64, after: Duration) -> Result<bool, SpoolError> {
        let retired = self.write(URLS, Write::As(Role::Registrar), async |queries| {
            let retire = "UPDATE @.webhook_url SET retire_after = $2, unused_for = 0 \
                WHERE id = $1 AND revoked_at IS NULL";
            queries.execute(retire, &[(&id, Type::INT8), (&millis(after), Type::INT8)]).await
        })?;
        Ok(retired > 0)
    }

    fn note_webhook_url_attempt(&mut self, id: i64) -> Result<(), SpoolError> {
        self.write(URLS, Write::Relaxed, async |queries| {
            let note = "UPDATE @.webhook_url SET unused_for = 0 WHERE id = $1";
            queries.execute(note, &[(&id, Type::INT8)]).await
        })?;
        Ok(())
    }

    fn note_webhook_url_disuse(&mut self, id: i64, more: Duration) -> Result<bool, SpoolError> {
        let now = self.database.context.now();
        let listener = self.database.context.listener();
        let revoked = self.write(URLS, Write::Durable, async |queries| {
            // Every listener counts the same time, so only one of them adds it.
            let note = format!(
                "UPDATE @.webhook_url SET unused_for = unused_for + $2 \
                 WHERE id = $1 AND retire_after IS NOT NULL AND revoked_at IS NULL AND ($3::bigint IS NULL \
                 OR $3 = (SELECT min(holding.id) FROM @.listener AS holding WHERE {}))",
                role::listener_is_there()
            );
            let parameters =
                &[(&id as _, Type::INT8), (&millis(more) as _, Type::INT8), (&listener as _, Type::INT8)];
            queries.execute(&note, parameters).await?;
            let revoke = format!(
                "UPDATE @.webhook_url SET revoked_at = {NOW} \
                 WHERE id = $2 AND unused_for >= retire_after AND revoked_at IS NULL"
            );
            queries.execute(&revoke, &[(&now, Type::INT8), (&id, Type::INT8)]).await
        })?;
        Ok(revoked > 0)
    }

    fn note_webhook_url_use(&mut self, id: i64, used_at: UnixMillis) -> Result<(), SpoolError> {
        self.write(URLS, Write::Relaxed, async |queries| {
            let note = "UPDATE @.webhook_url SET last_used_at = greatest(last_used_at, $2), unused_for = 0 \
                WHERE id = $1";
            queries.execute(note, &[(&id, Type::INT8), (&used_at.get(), Type::INT8)]).await
        })?;
        Ok(())
    }

    fn add_item_counts(&mut self, at: UnixMillis, counts: &[(&str, u64)]) -> Result<(), SpoolError> {
        let (names, counts): (Vec<&str>, Vec<i64>) =
            counts.iter().map(|(name, count)| (*name, i64::try_from(*count).unwrap_or(i64::MAX))).unzip();
        self.write(COUNTS, Write::Relaxed, async |queries| {
            for step in CountStep::ALL {
                let (length, start) = (millis(step.length()), step.start_of(at));
                // In order of names, so that two listeners cannot each wait for the other.
                let add = "INSERT INTO @.item_count AS known (step, start, name, count) \
                    SELECT $1, $2, name, count FROM unnest($3, $4) AS given (name, count) ORDER BY name \
                    ON CONFLICT (step, start, name) DO UPDATE SET count = known.count + excluded.count";
                let parameters = &[
                    (&length as _, Type::INT8),
                    (&start.get() as _, Type::INT8),
                    (&names as _, Type::TEXT_ARRAY),
                    (&counts as _, Type::INT8_ARRAY),
                ];
                queries.execute(add, parameters).await?;
                let oldest = start.saturating_sub(step.kept_for());
                let forget = "DELETE FROM @.item_count WHERE step = $1 AND start < $2";
                queries.execute(forget, &[(&length, Type::INT8), (&oldest.get(), Type::INT8)]).await?;
            }
            Ok(())
        })
    }

    fn forget_discovered_column(&mut self, stream: &str, name: &str) -> Result<bool, SpoolError> {
        self.write("forgetting a column", Write::Durable, async |queries| {
            let delete = "DELETE FROM @.discovered_column WHERE stream = $1 AND name = $2";
            let is_known = queries.execute(delete, &[(&stream, Type::TEXT), (&name, Type::TEXT)]).await? > 0;
            if is_known {
                let forgotten = facts::read(queries, facts::COLUMNS_FORGOTTEN).await?.unwrap_or(0);
                facts::set(queries, facts::COLUMNS_FORGOTTEN, forgotten + 1).await?;
            }
            Ok(is_known)
        })
    }

    fn columns_forgotten(&mut self) -> Result<i64, SpoolError> {
        Ok(self.fact(facts::COLUMNS_FORGOTTEN)?.unwrap_or(0))
    }

    fn add_discovered_columns(&mut self, columns: &[DiscoveredColumn]) -> Result<(), SpoolError> {
        // If the outcome of the first attempt is unknown, the columns of the next one may be there.
        let attempts = std::cell::Cell::new(0);
        self.write_as_emitter("noting a new column", async |queries| {
            attempts.set(attempts.get() + 1);
            let or_else = if attempts.get() > 1 { "ON CONFLICT DO NOTHING" } else { "" };
            let insert = format!(
                "INSERT INTO @.discovered_column (stream, name, json_type) VALUES ($1, $2, $3) {or_else}"
            );
            for DiscoveredColumn { stream, name, json_type } in columns {
                let parameters =
                    &[(stream as _, Type::TEXT), (name as _, Type::TEXT), (json_type as _, Type::TEXT)];
                queries.execute(&insert, parameters).await?;
            }
            Ok(())
        })
    }

    fn state_was_given(&mut self) -> Result<bool, SpoolError> {
        Ok(self.fact(facts::STATE_GIVEN)?.is_some())
    }

    fn note_state_given(&mut self) -> Result<(), SpoolError> {
        if !self.state_was_given()? {
            self.write_as_emitter("noting a state", async |queries| {
                facts::set(queries, facts::STATE_GIVEN, 1).await
            })?;
        }
        Ok(())
    }

    fn written_through(&mut self) -> Result<Option<Sequence>, SpoolError> {
        Ok(self.fact(facts::WRITTEN_THROUGH)?.map(Sequence::new))
    }

    fn note_written_through(&mut self, sequence: Sequence) -> Result<(), SpoolError> {
        self.write_as_emitter("noting a state", async |queries| {
            facts::set(queries, facts::WRITTEN_THROUGH, sequence.get()).await?;
            // The sequences of a new spool come after those of the state that it takes over.
            let continue_after = "UPDATE @.seq SET last = $1 WHERE last < $1";
            queries.execute(continue_after, &[(&sequence.get(), Type::INT8)]).await.map(drop)
        })
    }

    fn demand_emitter(&mut self) -> Result<(), SpoolError> {
        // A commit: a primary that was replaced would answer anything else.
        self.write_as_emitter("checking the role", async |queries| {
            queries.execute(LOG_MESSAGE, &[]).await.map(drop)
        })
    }

    fn note_confirmed_through(&mut self, sequence: Sequence) -> Result<(), SpoolError> {
        let now = self.database.context.now();
        Ok(self.database.write(
            POSITIONS,
            self.patience,
            Write::RelaxedAs(Role::Emitter),
            async |queries| {
                if facts::raise(queries, facts::CONFIRMED_THROUGH, sequence.get()).await? {
                    let now =
                        queries.row(&format!("SELECT {NOW}"), &[(&now, Type::INT8)]).await?.try_get(0)?;
                    facts::set(queries, facts::CONFIRMED_AT, now).await?;
                }
                Ok(())
            },
        )?)
    }
}
