//! Copying another spool into new tables.

use std::sync::Arc;

use tokio_postgres::types::Type;

use super::connection::{Context, Database, Patience, Queries, Write};
use super::error::PostgresError;
use super::group_store::body_hash;
use super::{facts, role};
use crate::os::clock::{UnixMillis, millis};
use crate::spool::import::{Importer, Ledger, OwnedItem};
use crate::spool::{ItemKind, MailjetAccount, Role, RoleLock, Sequence, SpoolError, UrlPurpose};

const COPYING: &str = "copying another spool into it";

#[derive(Debug)]
pub(super) struct PostgresImporter {
    database: Database,
    _role: RoleLock,
}

impl PostgresImporter {
    /// Begins to copy, or continues. Fails if the spool has been used.
    pub(super) fn begin(context: &Arc<Context>) -> Result<Self, PostgresError> {
        let role = role::take(context, Role::Emitter)?;
        let mut database = Database::new(context)?;
        let listeners = role::holders(&mut database, Role::Listener)?;
        if let Some(holder) = listeners.into_iter().next() {
            return Err(PostgresError::ListenerRuns { spool: context.name.clone(), holder });
        }
        let is_new = database.write(COPYING, Patience::Once, Write::As(Role::Emitter), async |queries| {
            if facts::read(queries, facts::COPY_UNFINISHED).await?.is_some() {
                return Ok(true);
            }
            let used = "SELECT last > 0 OR EXISTS (SELECT 1 FROM @.webhook_url) FROM @.seq";
            if queries.row(used, &[]).await?.try_get(0)? {
                return Ok(false);
            }
            facts::set(queries, facts::COPY_UNFINISHED, 1).await?;
            Ok(true)
        })?;
        if is_new {
            Ok(PostgresImporter { database, _role: role })
        } else {
            Err(PostgresError::InUse { spool: context.name.clone() })
        }
    }
}

/// The fact that says how far items of this kind are copied.
fn copied(kind: ItemKind) -> &'static str {
    match kind {
        ItemKind::Event => facts::COPIED_EVENTS,
        ItemKind::Rejected => facts::COPIED_REJECTED,
    }
}

/// Demands that no copy into the spool is unfinished.
pub(super) fn demand_finished(database: &mut Database) -> Result<(), PostgresError> {
    let unfinished = database.read("opening it", Patience::Once, async |queries| {
        facts::read(queries, facts::COPY_UNFINISHED).await
    })?;
    match unfinished {
        None => Ok(()),
        Some(_) => Err(PostgresError::CopyUnfinished { spool: database.context.name.clone() }),
    }
}

async fn add_urls(queries: Queries<'_>, ledger: &Ledger) -> Result<(), tokio_postgres::Error> {
    let insert = "INSERT INTO @.webhook_url (id, label, token_sha256, created_at, last_used_at, \
        mailjet_account, pending, retire_after, unused_for) OVERRIDING SYSTEM VALUE \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    for url in &ledger.webhook_urls {
        let account = url.account.as_ref().map(MailjetAccount::as_str);
        let pending = url.pending.map(UrlPurpose::name);
        let parameters = &[
            (&url.id as _, Type::INT8),
            (&url.label as _, Type::TEXT),
            (&url.token.0.as_slice() as _, Type::BYTEA),
            (&url.created_at.get() as _, Type::INT8),
            (&url.last_used_at.map(UnixMillis::get) as _, Type::INT8),
            (&account as _, Type::TEXT),
            (&pending as _, Type::TEXT),
            (&url.retirement.map(|retirement| millis(retirement.after)) as _, Type::INT8),
            (&url.retirement.map_or(0, |retirement| millis(retirement.unused_for)) as _, Type::INT8),
        ];
        queries.execute(insert, parameters).await?;
    }
    // New ids come after the copied ones and after those that were revoked.
    let largest = ledger.webhook_urls.last().map_or(0, |url| url.id);
    let revoked = i64::try_from(ledger.revoked_tokens.len()).unwrap_or(0);
    let next = "SELECT setval(pg_get_serial_sequence('@.webhook_url', 'id'), $1, false)";
    queries.row(next, &[(&(largest.max(revoked) + 1), Type::INT8)]).await?;
    let insert = "INSERT INTO @.webhook_url (token_sha256, created_at, revoked_at) VALUES ($1, 0, 0)";
    for token in &ledger.revoked_tokens {
        queries.execute(insert, &[(&token.0.as_slice(), Type::BYTEA)]).await?;
    }
    Ok(())
}

async fn add_small_tables(queries: Queries<'_>, ledger: &Ledger) -> Result<(), tokio_postgres::Error> {
    for column in &ledger.discovered_columns {
        let insert = "INSERT INTO @.discovered_column (stream, name, json_type) VALUES ($1, $2, $3)";
        let parameters = &[
            (&column.stream as _, Type::TEXT),
            (&column.name as _, Type::TEXT),
            (&column.json_type as _, Type::TEXT),
        ];
        queries.execute(insert, parameters).await?;
    }
    for (step, counts) in &ledger.item_counts {
        for count in counts {
            let insert = "INSERT INTO @.item_count (step, start, name, count) VALUES ($1, $2, $3, $4)";
            let parameters = &[
                (&millis(step.length()) as _, Type::INT8),
                (&count.start.get() as _, Type::INT8),
                (&count.name as _, Type::TEXT),
                (&i64::try_from(count.count).unwrap_or(i64::MAX) as _, Type::INT8),
            ];
            queries.execute(insert, parameters).await?;
        }
    }
    let numbers = [
        (facts::STATE_GIVEN, ledger.state_was_given.then_some(1)),
        (facts::WRITTEN_THROUGH, ledger.written_through.map(Sequence::get)),
        (facts::CONFIRMED_THROUGH, ledger.confirmed.map(|(sequence, _)| sequence.get())),
        (facts::CONFIRMED_AT, ledger.confirmed.map(|(_, at)| at.get())),
        (facts::COLUMNS_FORGOTTEN, Some(ledger.columns_forgotten)),
    ];
    for (name, value) in numbers {
        if let Some(value) = value {
            facts::set(queries, name, value).await?;
        }
    }
    Ok(())
}

impl Importer for PostgresImporter {
    fn copied_through(&mut self, kind: ItemKind) -> Result<Sequence, SpoolError> {
        let last = self
            .database
            .read(COPYING, Patience::Once, async |queries| facts::read(queries, copied(kind)).await)?;
        Ok(last.map_or(Sequence::START, Sequence::new))
    }

    fn add(&mut self, kind: ItemKind, items: &[OwnedItem]) -> Result<(), SpoolError> {
        let sequences: Vec<i64> = items.iter().map(|item| item.sequence.get()).collect();
        let times: Vec<i64> = items.iter().map(|item| item.received_at.get()).collect();
        let bodies: Vec<&[u8]> = items.iter().map(|item| &*item.body).collect();
        let reasons: Vec<&str> = items.iter().map(|item| item.reason.as_deref().unwrap_or("")).collect();
        let hashes: Vec<Vec<u8>> = items.iter().map(|item| body_hash(&item.body)).collect();
        let last = sequences.last().copied().unwrap_or(0);
        self.database.write(COPYING, Patience::Once, Write::As(Role::Emitter), async |queries| {
            let mut parameters: Vec<super::connection::Parameter<'_>> = vec![
                (&sequences, Type::INT8_ARRAY),
                (&times, Type::INT8_ARRAY),
                (&bodies, Type::BYTEA_ARRAY),
            ];
            facts::set(queries, copied(kind), last).await?;
            match kind {
                ItemKind::Event => {
                    // The total grows with the rows, and is noted beside the last of them.
                    let insert = "
                        WITH added AS (
                            INSERT INTO @.event (sequence, received_at, body)
                            SELECT sequence, received_at, convert_from(body, 'UTF8')
                            FROM unnest($1, $2, $3) AS given (sequence, received_at, body)
                            RETURNING octet_length(body) AS bytes
                        ), total AS (
                            SELECT count(*) AS items, coalesce(sum(bytes), 0)::bigint AS bytes FROM added
                        ), position AS (
                            UPDATE @.seq AS seq SET last = greatest(last, $4),
                                events = events + items, event_bytes = event_bytes + bytes
                            FROM total RETURNING seq.events
                        )
                        INSERT INTO @.count_mark SELECT $4, events FROM position";
                    parameters.push((&last, Type::INT8));
                    queries.execute(insert, &parameters).await
                }
                ItemKind::Rejected => {
                    let insert = "
                        WITH added AS (
                            INSERT INTO @.rejected (sequence, received_at, body, reason, body_hash)
                            SELECT * FROM unnest($1, $2, $3, $4, $5) ON CONFLICT (body_hash) DO NOTHING
                        )
                        UPDATE @.seq SET last = greatest(last, $6)";
                    parameters.push((&reasons, Type::TEXT_ARRAY));
                    parameters.push((&hashes, Type::BYTEA_ARRAY));
                    parameters.push((&last, Type::INT8));
                    queries.execute(insert, &parameters).await
                }
            }
        })?;
        Ok(())
    }

    fn finish(&mut self, ledger: &Ledger) -> Result<(), SpoolError> {
        Ok(self.database.write(COPYING, Patience::Once, Write::As(Role::Emitter), async |queries| {
            add_urls(queries, ledger).await?;
            add_small_tables(queries, ledger).await?;
            let last = "UPDATE @.seq SET last = greatest(last, $1)";
            queries.execute(last, &[(&ledger.committed_through.get(), Type::INT8)]).await?;
            let usable = "DELETE FROM @.fact WHERE name = ANY ($1)";
            let names = [facts::COPY_UNFINISHED, facts::COPIED_EVENTS, facts::COPIED_REJECTED];
            queries.execute(usable, &[(&names.as_slice(), Type::TEXT_ARRAY)]).await.map(drop)
        })?)
    }
}
