//! What the spool holds, and how far each component has got with it.
//!
//! Nothing large is counted: each append adds to the total, each trim to what is gone, and from time to time
//! the total so far is noted beside the last sequence.

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::connection::{Database, Patience};
use super::error::PostgresError;
use super::facts;
use crate::os::clock::UnixMillis;
use crate::spool::{DiskUsage, Pending, Sequence, SpoolError, SpoolStats, StatsReader};

/// Bytes that an event takes in PostgreSQL besides its text: its header, key and time, and its place in the
/// index.
const ROW_OVERHEAD: i64 = 80;
const READING: &str = "reading its size";

/// What the events take without those that were trimmed, the size of their table, and that of the other one.
const SIZE: &str = "SELECT seq.event_bytes - trimmed.bytes, seq.events - trimmed.items, \
     pg_total_relation_size('@.event'::regclass), pg_total_relation_size('@.rejected'::regclass) \
     FROM @.seq AS seq, @.trimmed AS trimmed WHERE kind = 'event'";

/// The number of events past `{position}`, and when the first of them arrived. Only those up to the next
/// noted total are counted.
const PENDING: &str = "
    pending_start AS (
        SELECT greatest({position}, through) AS position FROM @.trimmed WHERE kind = 'event'
    ), next_mark AS (
        SELECT count_mark.last, count_mark.events FROM @.count_mark AS count_mark, pending_start
        WHERE count_mark.last >= position ORDER BY count_mark.last LIMIT 1
    ), pending AS (
        SELECT
            (SELECT count(*) FROM @.event, pending_start WHERE sequence > position
             AND sequence <= coalesce((SELECT last FROM next_mark), 9223372036854775807))
            + coalesce((SELECT seq.events - next_mark.events FROM @.seq AS seq, next_mark), 0) AS events,
            (SELECT received_at FROM @.event, pending_start WHERE sequence > position
             ORDER BY sequence LIMIT 1) AS oldest
    )";

#[derive(Debug)]
pub(super) struct PostgresStatsReader {
    database: Database,
    read_all: String,
    read_pending: String,
}

/// Reads how much space the spool takes.
pub(super) fn disk_usage(database: &mut Database) -> Result<DiskUsage, PostgresError> {
    let name = database.context.name.clone();
    let row = database.read(READING, Patience::Once, async |queries| queries.row(SIZE, &[]).await)?;
    disk_usage_in(&row, 0).map_err(|error| PostgresError::from_query(&name, READING, &error))
}

fn disk_usage_in(row: &Row, first: usize) -> Result<DiskUsage, tokio_postgres::Error> {
    let (bytes, items): (i64, i64) = (row.try_get(first)?, row.try_get(first + 1)?);
    let (event_table, rejected_table): (i64, i64) = (row.try_get(first + 2)?, row.try_get(first + 3)?);
    let events = bytes + items * ROW_OVERHEAD;
    let positive = |bytes: i64| u64::try_from(bytes).unwrap_or(0);
    Ok(DiskUsage {
        used: positive(events + rejected_table),
        free_within: Some(positive(event_table - events)),
        disk_free: None,
    })
}

impl PostgresStatsReader {
    pub(super) fn new(database: Database) -> Self {
        let fact = |name| format!("(SELECT value FROM @.fact WHERE name = '{name}')");
        let confirmed = fact(facts::CONFIRMED_THROUGH);
        // One statement, so that all of it is as of one moment.
        let read_all = format!(
            "WITH {pending}
             SELECT size.*, last, (SELECT count(*) FROM @.rejected), {written}, {confirmed}, {confirmed_at},
                 (SELECT nullif(max(through), 0) FROM @.trimmed),
                 (SELECT received_at FROM @.event
                  WHERE sequence > (SELECT through FROM @.trimmed WHERE kind = 'event')
                  ORDER BY sequence LIMIT 1),
                 (SELECT received_at FROM @.event ORDER BY sequence DESC LIMIT 1),
                 pending.events, pending.oldest
             FROM ({SIZE}) AS size, @.seq, pending",
            pending = PENDING.replace("{position}", &format!("coalesce({confirmed}, 0)")),
            written = fact(facts::WRITTEN_THROUGH),
            confirmed_at = fact(facts::CONFIRMED_AT),
        );
        let read_pending =
            format!("WITH {} SELECT events, oldest FROM pending", PENDING.replace("{position}", "$1"));
        PostgresStatsReader { database, read_all, read_pending }
    }
}

fn count(row: &Row, column: usize) -> Result<u64, tokio_postgres::Error> {
    Ok(u64::try_from(row.try_get::<_, i64>(column)?).unwrap_or(0))
}

fn pending_in(row: &Row, first: usize) -> Result<Pending, tokio_postgres::Error> {
    Ok(Pending {
        events: count(row, first)?,
        oldest: row.try_get::<_, Option<i64>>(first + 1)?.map(UnixMillis::new),
    })
}

fn stats_in(row: &Row) -> Result<SpoolStats, tokio_postgres::Error> {
    let moment = |column| Ok(row.try_get::<_, Option<i64>>(column)?.map(UnixMillis::new));
    let sequence = |column| Ok(row.try_get::<_, Option<i64>>(column)?.map(Sequence::new));
    Ok(SpoolStats {
        disk: disk_usage_in(row, 0)?,
        events: count(row, 1)?,
        committed_through: Sequence::new(row.try_get(4)?),
        rejected: count(row, 5)?,
        written_through: sequence(6)?,
        confirmed_through: sequence(7)?,
        confirmed_at: moment(8)?,
        trimmed_through: sequence(9)?,
        oldest_event: moment(10)?,
        newest_event: moment(11)?,
        unconfirmed: pending_in(row, 12)?,
    })
}

impl StatsReader for PostgresStatsReader {
    fn read(&mut self) -> Result<SpoolStats, SpoolError> {
        let PostgresStatsReader { database, read_all, .. } = self;
        Ok(database
            .read(READING, Patience::Once, async |queries| stats_in(&queries.row(read_all, &[]).await?))?)
    }

    fn pending_past(&mut self, position: Sequence) -> Result<Pending, SpoolError> {
        let PostgresStatsReader { database, read_pending, .. } = self;
        Ok(database.read(READING, Patience::Once, async |queries| {
            let parameters = &[(&position.get() as _, Type::INT8)];
            pending_in(&queries.row(read_pending, parameters).await?, 0)
        })?)
    }
}
