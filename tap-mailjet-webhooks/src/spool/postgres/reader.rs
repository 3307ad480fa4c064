//! Reads the event log in the order of sequences, in blocks that are bounded in bytes.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, Type};
use tracing::error;

use super::connection::{Database, Patience};
use super::error::PostgresError;
use super::group_store::barrier;
use crate::os::clock::UnixMillis;
use crate::os::log_throttle::LogThrottle;
use crate::spool::{Backlog, Damage, EventReader, ItemKind, Sequence, SpoolError, StoredItem};

/// How many items a block has at most.
const BLOCK_ITEMS: i64 = 8_192;
/// A block ends with the item that brings it to this many bytes.
const BLOCK_BYTES: i64 = 4 << 20;
/// The pause before the standbys are asked again.
const BARRIER_PAUSE: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(super) struct PostgresReader {
    database: Database,
    /// Whether items are shown only once they are known to be replicated. A view shows what there is, so that
    /// it can be looked at even if the standbys are gone.
    shows_only_replicated: bool,
    /// Up to where items are known to be replicated, in the session with this number: another server may
    /// have other items.
    replicated: (u64, Sequence),
    /// The rest of the last block.
    block: VecDeque<Row>,
    /// Which items the block has, and the position before its first one.
    block_at: Option<(ItemKind, Sequence)>,
    throttle: LogThrottle,
}

/// Text or bytes, without a check of their encoding.
struct Bytes<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Bytes<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Bytes(raw))
    }

    fn accepts(of: &Type) -> bool {
        matches!(*of, Type::TEXT | Type::BYTEA)
    }
}

/// The columns of an item, in the order in which [`item_in`] reads them.
fn columns(kind: ItemKind) -> &'static str {
    match kind {
        ItemKind::Event => "sequence, received_at, NULL::text AS reason, body",
        ItemKind::Rejected => "sequence, received_at, reason, body",
    }
}

fn item_in(row: &Row) -> Result<StoredItem<'_>, tokio_postgres::Error> {
    Ok(StoredItem {
        sequence: Sequence::new(row.try_get(0)?),
        received_at: UnixMillis::new(row.try_get(1)?),
        reason: row.try_get(2)?,
        body: row.try_get::<_, Bytes<'_>>(3)?.0,
    })
}

impl PostgresReader {
    pub(super) fn new(database: Database, shows_only_replicated: bool) -> Self {
        PostgresReader {
            database,
            shows_only_replicated,
            replicated: (0, Sequence::START),
            block: VecDeque::new(),
            block_at: None,
            throttle: LogThrottle::default(),
        }
    }

    fn patience(&self) -> Patience {
        if self.shows_only_replicated { self.database.context.emitter_patience() } else { Patience::Once }
    }

    /// Reads the next block past `position` unless the last one is there.
    fn fill(&mut self, kind: ItemKind, position: Sequence) -> Result<(), PostgresError> {
        if self.block_at != Some((kind, position)) || self.block.is_empty() {
            self.block_at = None;
            self.block = self.fetch(kind, position)?.into();
            self.block_at = Some((kind, position));
        }
        Ok(())
    }

    fn fetch(&mut self, kind: ItemKind, position: Sequence) -> Result<Vec<Row>, PostgresError> {
        // The total up to each item shows where the block ends. The length of a text is known without
        // reading the text.
        let query = format!(
            "SELECT {columns}, last FROM (\
                 SELECT *, sum(octet_length(body)) OVER (ORDER BY sequence) - octet_length(body) AS before \
                 FROM (SELECT * FROM @.{table} WHERE sequence > $1 ORDER BY sequence LIMIT $2) AS front\
             ) AS item, (SELECT last FROM @.seq) AS seq WHERE before < $3 ORDER BY sequence",
            columns = columns(kind),
            table = kind.table(),
        );
        let patience = self.patience();
        loop {
            let rows = self.database.read("reading", patience, async |queries| {
                let parameters = &[
                    (&position.get() as _, Type::INT8),
                    (&BLOCK_ITEMS as _, Type::INT8),
                    (&BLOCK_BYTES as _, Type::INT8),
                ];
                queries.rows(&query, parameters).await
            })?;
            if self.are_replicated(&rows, patience)? {
                return Ok(rows);
            }
        }
    }

    /// Makes sure that all of `rows` are replicated. Returns whether they are: a server that did not confirm
    /// it may not have them next time.
    ///
    /// After a restart, a server shows commits that no standby has. Whatever was visible before a commit of
    /// our own is replicated before that is.
    fn are_replicated(&mut self, rows: &[Row], patience: Patience) -> Result<bool, PostgresError> {
        let Some(last) = rows.last().filter(|_| self.shows_only_replicated) else { return Ok(true) };
        let context = Arc::clone(&self.database.context);
        let sequence = |column| last.try_get(column).map(Sequence::new);
        let read = sequence(0).and_then(|last_row| Ok((last_row, sequence(4)?)));
        let (last_row, visible) =
            read.map_err(|error| PostgresError::from_query(&context.name, "reading", &error))?;
        let session = self.database.session_number();
        if self.replicated >= (session, last_row) {
            return Ok(true);
        }
        match barrier(&mut self.database) {
            Ok(()) => {}
            Err(error) if patience == Patience::UntilItAnswers && error.may_pass() => {
                self.report(&error);
                std::thread::sleep(BARRIER_PAUSE);
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
        // A new session would be another server's word for rows that it has not shown.
        if self.database.session_number() != session {
            return Ok(false);
        }
        self.replicated = (session, visible);
        Ok(true)
    }

    fn report(&mut self, error: &PostgresError) {
        if let Some(suppressed) = self.throttle.allow() {
            error!("{error}; nothing is written until that is settled{suppressed}");
        }
    }

    fn failed(&self, error: &tokio_postgres::Error) -> SpoolError {
        PostgresError::from_query(&self.database.context.name, "reading", error).into()
    }
}

impl EventReader for PostgresReader {
    fn read_past(
        &mut self,
        kind: ItemKind,
        mut position: Sequence,
        limit: u32,
        visit: &mut dyn FnMut(Result<StoredItem<'_>, Damage>) -> ControlFlow<()>,
    ) -> Result<usize, SpoolError> {
        let mut seen = 0;
        while seen < limit as usize {
            self.fill(kind, position)?;
            let Some(row) = self.block.pop_front() else { break };
            let item = item_in(&row).map_err(|error| self.failed(&error))?;
            position = item.sequence;
            self.block_at = Some((kind, position));
            seen += 1;
            if visit(Ok(item)).is_break() {
                break;
            }
        }
        Ok(seen)
    }

    fn read_newest(
        &mut self,
        kind: ItemKind,
        through: Sequence,
        limit: u32,
        visit: &mut dyn FnMut(StoredItem<'_>) -> ControlFlow<()>,
    ) -> Result<(), SpoolError> {
        let query = format!(
            "SELECT {} FROM @.{} WHERE sequence <= $1 ORDER BY sequence DESC LIMIT $2",
            columns(kind),
            kind.table()
        );
        let rows = self.database.read("reading", Patience::Once, async |queries| {
            let parameters = &[(&through.get() as _, Type::INT8), (&i64::from(limit) as _, Type::INT8)];
            queries.rows(&query, parameters).await
        })?;
        for row in &rows {
            if visit(item_in(row).map_err(|error| self.failed(&error))?).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn backlog_past(&mut self, kind: ItemKind, position: Sequence) -> Result<Backlog, SpoolError> {
        let limit = i64::from(Backlog::MAX_EXACT) + 1;
        let query = format!(
            "SELECT count(*) FROM (SELECT 1 FROM @.{} WHERE sequence > $1 LIMIT $2) AS front",
            kind.table()
        );
        let count: i64 = self.database.read("reading", self.patience(), async |queries| {
            let parameters = &[(&position.get() as _, Type::INT8), (&limit as _, Type::INT8)];
            queries.row(&query, parameters).await?.try_get(0)
        })?;
        Ok(if count < limit {
            Backlog::Exactly(u64::try_from(count).unwrap_or(0))
        } else {
            Backlog::MoreThan(Backlog::MAX_EXACT.into())
        })
    }

    fn first_sequence(&mut self) -> Result<Option<Sequence>, SpoolError> {
        let query =
            "SELECT least((SELECT min(sequence) FROM @.event), (SELECT min(sequence) FROM @.rejected))";
        let first = self.database.read("reading", self.patience(), async |queries| {
            queries.row(query, &[]).await?.try_get::<_, Option<i64>>(0)
        })?;
        Ok(first.map(Sequence::new))
    }
}
