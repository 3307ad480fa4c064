//! The format of the tables, and how an older schema is converted to the newest format.

use tokio_postgres::types::Type;
use tracing::info;

use super::connection::{Database, Patience, Queries, Write};
use super::error::PostgresError;

/// The step to each format from the one before it; the first one starts from an empty schema.
///
/// Never change a step that was released. Add a new one instead.
const FORMATS: &[&str] = &["
    CREATE TABLE @.format (version integer NOT NULL);
    INSERT INTO @.format VALUES (0);

    CREATE TABLE @.event (
        sequence bigint PRIMARY KEY, received_at bigint NOT NULL, body text NOT NULL
    ) WITH (
        autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 50000,
        autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 500000
    );
    CREATE TABLE @.rejected (
        sequence bigint PRIMARY KEY, received_at bigint NOT NULL, reason text NOT NULL, body bytea NOT NULL,
        body_hash bytea UNIQUE
    );

    -- One row: the last sequence, and what was ever stored. An append locks it until its commit.
    CREATE TABLE @.seq (
        last bigint NOT NULL, events bigint NOT NULL, event_bytes bigint NOT NULL
    ) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
    INSERT INTO @.seq VALUES (0, 0, 0);
    -- How many events had ever been stored when `last` was the last sequence, now and then.
    CREATE TABLE @.count_mark (last bigint PRIMARY KEY, events bigint NOT NULL);
    -- What was ever deleted of each kind, and the last sequence of it.
    CREATE TABLE @.trimmed (
        kind text PRIMARY KEY, through bigint NOT NULL, items bigint NOT NULL, bytes bigint NOT NULL
    ) WITH (fillfactor = 10);
    INSERT INTO @.trimmed VALUES ('event', 0, 0, 0), ('rejected', 0, 0, 0);

    CREATE TABLE @.role (
        name text PRIMARY KEY, holder text NOT NULL, epoch bigint NOT NULL,
        lease interval NOT NULL, expires_at timestamptz NOT NULL,
        backend integer NOT NULL, backend_start timestamptz NOT NULL, server_start timestamptz NOT NULL
    ) WITH (fillfactor = 10);
    CREATE TABLE @.listener (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, holder text NOT NULL,
        expires_at timestamptz NOT NULL, backend integer NOT NULL, backend_start timestamptz NOT NULL,
        server_start timestamptz NOT NULL
    ) WITH (fillfactor = 10);

    CREATE TABLE @.webhook_url (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, label text, token_sha256 bytea NOT NULL,
        created_at bigint NOT NULL, last_used_at bigint, revoked_at bigint,
        mailjet_account text, pending text, retire_after bigint, unused_for bigint NOT NULL DEFAULT 0
    );
    CREATE TABLE @.discovered_column (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, stream text NOT NULL, name text NOT NULL,
        json_type text NOT NULL, UNIQUE (stream, name)
    );
    CREATE TABLE @.item_count (
        step bigint NOT NULL, start bigint NOT NULL, name text NOT NULL, count bigint NOT NULL,
        PRIMARY KEY (step, start, name)
    );
    CREATE TABLE @.fact (name text PRIMARY KEY, value bigint NOT NULL);
"];

const OPENING: &str = "opening it";

fn newest() -> i32 {
    i32::try_from(FORMATS.len()).unwrap_or(i32::MAX)
}

/// Returns the format of the tables; `None` if there are none.
async fn read(queries: Queries<'_>, schema: &str) -> Result<Option<i32>, tokio_postgres::Error> {
    let exists = "SELECT 1 FROM pg_catalog.pg_tables WHERE schemaname = $1 AND tablename = 'format'";
    if queries.rows(exists, &[(&schema, Type::TEXT)]).await?.is_empty() {
        return Ok(None);
    }
    Ok(Some(queries.row("SELECT version FROM @.format", &[]).await?.try_get(0)?))
}

/// Demands that the spool exists in a format that this version knows.
pub(super) fn demand(database: &mut Database) -> Result<(), PostgresError> {
    let schema = database.context.location.schema.as_str().to_owned();
    let spool = database.context.name.clone();
    let found = database.read(OPENING, Patience::Once, async |queries| read(queries, &schema).await)?;
    match found {
        None => Err(PostgresError::Missing { spool }),
        Some(found) if found > newest() => Err(PostgresError::NewerFormat { spool, found, known: newest() }),
        Some(_) => Ok(()),
    }
}

/// Creates the schema and its tables, or converts older tables to the newest format: all steps or none.
pub(super) fn create_or_convert(database: &mut Database) -> Result<(), PostgresError> {
    let schema = database.context.location.schema.as_str().to_owned();
    let spool = database.context.name.clone();
    let found = database.read(OPENING, Patience::Once, async |queries| read(queries, &schema).await)?;
    if found == Some(newest()) {
        return Ok(());
    }
    if let Some(found) = found.filter(|found| *found > newest()) {
        return Err(PostgresError::NewerFormat { spool, found, known: newest() });
    }
    let converted =
        database.write("creating its tables", Patience::Once, Write::Durable, async |queries| {
            // If several processes start at once, only one of them creates the tables.
            let lock = "SELECT pg_advisory_xact_lock(hashtext('tap-mailjet-webhooks'), hashtext($1))";
            queries.rows(lock, &[(&schema, Type::TEXT)]).await?;
            let exists = "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1";
            if queries.rows(exists, &[(&schema, Type::TEXT)]).await?.is_empty() {
                queries.execute_all(&format!("CREATE SCHEMA \"{schema}\"")).await?;
            }
            let found = read(queries, &schema).await?;
            for step in FORMATS.iter().skip(usize::try_from(found.unwrap_or(0)).unwrap_or(usize::MAX)) {
                queries.execute_all(step).await?;
            }
            let update = "UPDATE @.format SET version = $1 WHERE version < $1";
            queries.execute(update, &[(&newest(), Type::INT4)]).await?;
            Ok(found)
        })?;
    match converted {
        // A later version was faster.
        Some(found) if found > newest() => {
            return Err(PostgresError::NewerFormat { spool, found, known: newest() });
        }
        Some(found) if found < newest() => {
            info!("spool {spool}: converted from format {found} to format {}", newest());
        }
        _ => {}
    }
    Ok(())
}
