//! Trimming: deletes from the front, in steps. The database's own vacuum makes the room usable again.
//!
//! No deletion waits for standbys: one that a failover undoes is repeated.

use std::time::Duration;

use tokio_postgres::types::Type;

use super::connection::{Context, Database, Patience, Write};
use super::error::PostgresError;
use super::facts;
use crate::os::clock::{Clock, UnixMillis};
use crate::spool::retention::Retention;
use crate::spool::spool_clock::SpoolClock;
use crate::spool::{ItemKind, Role, Sequence, SpoolError, Trimmer};

/// Items that one step looks at.
const STEP_ITEMS: i64 = 5_000;
const TRIMMING: &str = "trimming";

/// Notes the time of a new spool, so that the first run that deletes something knows it.
pub(super) fn note_first_time(database: &mut Database, clock: Clock) -> Result<(), PostgresError> {
    let Some(first) = SpoolClock::start(clock, None).note() else { return Ok(()) };
    database.write("noting the time", Patience::Once, Write::Relaxed, async |queries| {
        if facts::read_time(queries).await?.is_none() {
            facts::set_time(queries, first).await?;
        }
        Ok(())
    })
}

#[derive(Debug)]
pub(super) struct PostgresTrimmer {
    database: Database,
    retention: Retention,
}

impl PostgresTrimmer {
    pub(super) fn open(mut database: Database, clock: Clock) -> Result<Self, PostgresError> {
        let noted =
            database.read(TRIMMING, Patience::Once, async |queries| facts::read_time(queries).await)?;
        Ok(PostgresTrimmer { database, retention: Retention::start(clock, noted) })
    }

    /// Returns the last item that one step deletes; `None` if none may go.
    fn last_of_step(
        &mut self,
        kind: ItemKind,
        confirmed_through: Sequence,
        retention: Duration,
    ) -> Result<Option<Sequence>, PostgresError> {
        // What was deleted is skipped, because it stays in the index until the next vacuum.
        let query = format!(
            "SELECT sequence, received_at FROM @.{} WHERE sequence <= $1 \
             AND sequence > (SELECT through FROM @.trimmed WHERE kind = $2) ORDER BY sequence LIMIT $3",
            kind.table()
        );
        let (front, marks) = self.database.read(TRIMMING, Patience::Once, async |queries| {
            let parameters = &[
                (&confirmed_through.get() as _, Type::INT8),
                (&kind.table() as _, Type::TEXT),
                (&STEP_ITEMS as _, Type::INT8),
            ];
            let rows = queries.rows(&query, parameters).await?;
            let item = |row: &tokio_postgres::Row| {
                Ok((Sequence::new(row.try_get(0)?), UnixMillis::new(row.try_get(1)?)))
            };
            let front: Result<Vec<_>, tokio_postgres::Error> = rows.iter().map(item).collect();
            Ok((front?, facts::read_marks(queries).await?))
        })?;
        let context: &Context = &self.database.context;
        let items = front.iter().copied().map(Ok::<_, PostgresError>);
        let by_time = self.retention.last_by_time(items, retention, &context.name)?;
        let by_mark = self.retention.last_by_mark(marks, retention);
        let last_to_go = by_time.max(by_mark.map(|sequence| sequence.min(confirmed_through)));
        let mut of_step = front.into_iter().map(|(sequence, _)| sequence);
        Ok(last_to_go.and_then(|last| of_step.rfind(|sequence| *sequence <= last)))
    }

    fn delete(&mut self, kind: ItemKind, last: Sequence) -> Result<usize, PostgresError> {
        let delete = format!(
            "WITH gone AS (
                 DELETE FROM @.{} WHERE sequence <= $1
                 AND sequence > (SELECT through FROM @.trimmed WHERE kind = $2)
                 RETURNING octet_length(body) AS bytes
             ), total AS (SELECT count(*) AS items, coalesce(sum(bytes), 0)::bigint AS bytes FROM gone)
             UPDATE @.trimmed AS trimmed SET through = greatest(through, $1),
                 items = trimmed.items + total.items, bytes = trimmed.bytes + total.bytes
             FROM total WHERE kind = $2 RETURNING total.items",
            kind.table()
        );
        let deleted: i64 = self.database.write(
            TRIMMING,
            Patience::Once,
            Write::RelaxedAs(Role::Emitter),
            async |queries| {
                let parameters = &[(&last.get() as _, Type::INT8), (&kind.table() as _, Type::TEXT)];
                let deleted = queries.row(&delete, parameters).await?.try_get(0)?;
                if kind == ItemKind::Event {
                    let forget = "DELETE FROM @.count_mark WHERE last <= $1";
                    queries.execute(forget, &[(&last.get(), Type::INT8)]).await?;
                }
                Ok(deleted)
            },
        )?;
        Ok(usize::try_from(deleted).unwrap_or(0))
    }

    /// Notes what later steps and runs need to know about time.
    fn note_time(&mut self, retention: Duration) -> Result<(), PostgresError> {
        let (marks, last) = self.database.read(TRIMMING, Patience::Once, async |queries| {
            let last = queries.row("SELECT last FROM @.seq", &[]).await?.try_get(0)?;
            Ok((facts::read_marks(queries).await?, Sequence::new(last)))
        })?;
        let due = self.retention.due_notes(marks, last, retention);
        if due.time.is_none() && due.marks.is_none() {
            return Ok(());
        }
        self.database.write(
            "noting the time",
            Patience::Once,
            Write::RelaxedAs(Role::Emitter),
            async |queries| {
                if let Some(noted) = due.time {
                    facts::set_time(queries, noted).await?;
                }
                if let Some(marks) = due.marks {
                    facts::set_marks(queries, marks).await?;
                }
                Ok(())
            },
        )?;
        if let Some(noted) = due.time {
            self.retention.note_noted(noted);
        }
        Ok(())
    }
}

impl Trimmer for PostgresTrimmer {
    fn step(
        &mut self,
        kind: ItemKind,
        confirmed_through: Sequence,
        retention: Duration,
    ) -> Result<usize, SpoolError> {
        let trimmed = match self.last_of_step(kind, confirmed_through, retention)? {
            Some(last) => self.delete(kind, last)?,
            None => 0,
        };
        if trimmed == 0 {
            self.note_time(retention)?;
        }
        Ok(trimmed)
    }

    fn give_back(&mut self) -> Result<bool, SpoolError> {
        Ok(false)
    }
}
