//! Appends: one statement for each group.

use tokio_postgres::types::Type;
use tracing::{debug, error};

use super::connection::{Database, Parameter};
use super::error::PostgresError;
use super::stats;
use crate::os::log_throttle::LogThrottle;
use crate::spool::headroom::Headroom;
use crate::spool::sequence::LAST_BY_CLOCK;
use crate::spool::writer::{CommitError, GroupStore};
use crate::spool::{AppendError, Batch, Limits, Sequence, SequenceUnit, SpoolError};

/// How much of a rejected item's hash is stored: enough that no two are alike by chance.
const BODY_HASH_BYTES: usize = 16;
/// How many events are stored between two notes of the total, so that nobody has to count them later.
const EVENTS_PER_MARK: i64 = 10_000;

/// Stores a group. The lock on the row of `seq` is held until the commit is replicated, so the order of
/// sequences is the order of commits.
///
/// The parameters: the place of each event in the group, when it arrived, and its text; the same for
/// rejected items, with their reasons and hashes; how many items there are, the bytes of the events, the
/// time if a test sets it, sequences per millisecond, and the largest sequence that a clock can lead to.
const APPEND: &str = "
    WITH position AS (
        UPDATE @.seq SET
            last = greatest(last + 1, least(
                coalesce($11, (extract(epoch FROM clock_timestamp()) * 1000)::bigint) * $12, $13
            )) + $9 - 1,
            events = events + cardinality($1), event_bytes = event_bytes + $10
        RETURNING last, last - $9 AS before, events
    ), event AS (
        INSERT INTO @.event (sequence, received_at, body)
        SELECT before + place, received_at, body
        FROM position, unnest($1, $2, $3) AS given (place, received_at, body)
    ), rejected AS (
        INSERT INTO @.rejected (sequence, received_at, reason, body, body_hash)
        SELECT before + place, received_at, reason, body, body_hash
        FROM position, unnest($4, $5, $6, $7, $8) AS given (place, received_at, reason, body, body_hash)
        ON CONFLICT (body_hash) DO NOTHING
    ), mark AS (
        INSERT INTO @.count_mark
        SELECT last, events FROM position WHERE events / $14 > (events - cardinality($1)) / $14
    )
    SELECT last, pg_notify($15, last::text) IS NULL FROM position";

#[derive(Debug)]
pub(super) struct PostgresGroupStore {
    database: Database,
    unit: SequenceUnit,
    headroom: Headroom,
    /// One for each kind of refusal: a new reason is always logged.
    throttles: Vec<(AppendError, LogThrottle)>,
}

/// The items of a group, column by column.
#[derive(Default)]
struct Columns<'a> {
    event_places: Vec<i64>,
    event_times: Vec<i64>,
    events: Vec<&'a str>,
    rejected_places: Vec<i64>,
    rejected_times: Vec<i64>,
    reasons: Vec<&'a str>,
    rejected: Vec<&'a [u8]>,
    hashes: Vec<Vec<u8>>,
    items: i64,
    event_bytes: i64,
}

/// Returns what identifies the body of a rejected item.
pub(super) fn body_hash(body: &[u8]) -> Vec<u8> {
    blake3::hash(body).as_bytes()[..BODY_HASH_BYTES].to_vec()
}

impl<'a> Columns<'a> {
    fn of(group: &[&'a Batch]) -> Self {
        let mut columns = Columns::default();
        for batch in group {
            let received_at = batch.received_at.get();
            for (body, rejected_for) in batch.items() {
                columns.items += 1;
                let text = str::from_utf8(body).ok();
                if let (None, Some(text)) = (rejected_for, text) {
                    columns.event_places.push(columns.items);
                    columns.event_times.push(received_at);
                    columns.event_bytes += i64::try_from(text.len()).unwrap_or(i64::MAX);
                    columns.events.push(text);
                } else {
                    columns.rejected_places.push(columns.items);
                    columns.rejected_times.push(received_at);
                    columns.reasons.push(rejected_for.unwrap_or("it is not UTF-8"));
                    columns.rejected.push(body);
                    columns.hashes.push(body_hash(body));
                }
            }
        }
        columns
    }
}

impl PostgresGroupStore {
    /// Prepares to append. Fails if the database does not promise what it has to.
    pub(super) fn open(
        mut database: Database,
        unit: SequenceUnit,
        limits: Limits,
    ) -> Result<Self, PostgresError> {
        let headroom = Headroom::new(limits, stats::disk_usage(&mut database)?);
        Ok(PostgresGroupStore { database, unit, headroom, throttles: Vec::new() })
    }

    fn append(&mut self, columns: &Columns<'_>) -> Result<Sequence, PostgresError> {
        let now = self.database.context.now();
        let per_millisecond = self.unit.per_millisecond();
        let channel = self.database.context.location.schema.as_str().to_owned();
        let parameters: [Parameter<'_>; 15] = [
            (&columns.event_places, Type::INT8_ARRAY),
            (&columns.event_times, Type::INT8_ARRAY),
            (&columns.events, Type::TEXT_ARRAY),
            (&columns.rejected_places, Type::INT8_ARRAY),
            (&columns.rejected_times, Type::INT8_ARRAY),
            (&columns.reasons, Type::TEXT_ARRAY),
            (&columns.rejected, Type::BYTEA_ARRAY),
            (&columns.hashes, Type::BYTEA_ARRAY),
            (&columns.items, Type::INT8),
            (&columns.event_bytes, Type::INT8),
            (&now, Type::INT8),
            (&per_millisecond, Type::INT8),
            (&LAST_BY_CLOCK, Type::INT8),
            (&EVENTS_PER_MARK, Type::INT8),
            (&channel, Type::TEXT),
        ];
        self.database.commit("storing events", &async |queries| {
            Ok(Sequence::new(queries.row(APPEND, &parameters).await?.try_get(0)?))
        })
    }

    /// Logs why nothing can be stored, and returns what to answer.
    fn refusal(&mut self, error: &PostgresError) -> CommitError {
        let refused = match error {
            PostgresError::NoRoom { .. } => AppendError::DiskLow,
            PostgresError::OutcomeUnknown { .. } => AppendError::OutcomeUnknown,
            PostgresError::Setting { .. } => AppendError::NotDurable,
            _ => AppendError::Unavailable,
        };
        let known = self.throttles.iter().position(|(kind, _)| *kind == refused);
        let index = known.unwrap_or_else(|| {
            self.throttles.push((refused, LogThrottle::default()));
            self.throttles.len() - 1
        });
        if let Some(suppressed) = self.throttles[index].1.allow() {
            error!("{error}{suppressed}");
        } else {
            debug!("{error}");
        }
        CommitError::Refused(refused)
    }
}

/// Commits something that changes nothing. Once that is replicated, everything is that was visible before.
///
/// One at a time: while the standbys are away, a session of the server waits for each of these, and does not
/// notice that nobody waits for it any more.
pub(super) fn barrier(database: &mut Database) -> Result<(), PostgresError> {
    let schema = database.context.location.schema.as_str().to_owned();
    let statement = "WITH turn AS MATERIALIZED (\
             SELECT pg_advisory_xact_lock(hashtext('tap-mailjet-webhooks: barrier'), hashtext($1))\
         ) SELECT pg_logical_emit_message(true, 'tap-mailjet-webhooks', '') FROM turn";
    database.commit("waiting for its standbys", &async |queries| {
        queries.row(statement, &[(&schema, Type::TEXT)]).await.map(drop)
    })
}

impl GroupStore for PostgresGroupStore {
    fn check(&mut self) -> Result<(), SpoolError> {
        self.database.look_after_session();
        Ok(())
    }

    fn refresh_headroom(&mut self) -> Result<(), SpoolError> {
        let PostgresGroupStore { database, headroom, .. } = self;
        // Without a measurement the last one counts. The group finds out by itself what is wrong.
        if let Err(error) = headroom.refresh(|| stats::disk_usage(database)) {
            debug!("the size of the spool is not known: {error}");
        }
        Ok(())
    }

    fn admit(&mut self, bytes: u64) -> Result<(), AppendError> {
        self.headroom.admit(bytes)
    }

    fn commit(&mut self, group: &[&Batch]) -> Result<Sequence, CommitError> {
        self.append(&Columns::of(group)).map_err(|error| self.refusal(&error))
    }

    fn probe(&mut self, bytes: u64) -> Result<(), CommitError> {
        self.refresh_headroom()?;
        self.headroom.could_admit(bytes).map_err(CommitError::Refused)?;
        barrier(&mut self.database).map_err(|error| self.refusal(&error))
    }

    fn abandon(self) {}
}
