//! How a group of batches is stored: one transaction, synced at its commit.

use std::time::Duration;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{ErrorCode, ToSql, TransactionBehavior};
use tracing::debug;

use super::SqliteError;
use super::database::Database;
use super::error::is_out_of_room;
use super::file::OpenFiles;
use super::row_count::KeptCounts;
use super::{disk_usage, facts};
use crate::os::clock::UnixMillis;
use crate::spool::headroom::Headroom;
use crate::spool::sequence::Sequencer;
use crate::spool::writer::{CommitError, GroupStore};
use crate::spool::{AppendError, Batch, ItemKind, Sequence, SequenceUnit, SpoolError};

/// How long a probe waits for another process's transaction. A batch waits longer, and a probe asks whether
/// it would have to.
const PROBE_LOCK_TIMEOUT: Duration = Duration::from_millis(300);

/// How much of a rejected item's hash is stored: enough that no two are alike by chance.
const BODY_HASH_BYTES: usize = 16;

#[derive(Debug)]
pub(super) struct SqliteGroupStore {
    pub(super) database: Database,
    pub(super) files: OpenFiles,
    pub(super) unit: SequenceUnit,
    pub(super) headroom: Headroom,
    /// `None` if the rows could not be counted.
    pub(super) counts: Option<KeptCounts>,
    pub(super) clock: fn() -> UnixMillis,
}

impl SqliteGroupStore {
    fn try_commit(&mut self, group: &[&Batch]) -> rusqlite::Result<Sequence> {
        let transaction =
            self.database.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let now = (self.clock)();
        // Read each time: a run beside this one may have taken over the state of another spool.
        let mut added = KeptCounts::default();
        let mut sequencer = Sequencer { last: facts::last_sequence(&transaction)?, unit: self.unit };
        {
            let mut event = transaction
                .prepare_cached("INSERT INTO event (sequence, received_at, body) VALUES (?1, ?2, ?3)")?;
            let mut known = transaction.prepare_cached("SELECT 1 FROM rejected WHERE body_hash = ?1")?;
            let mut rejected = transaction.prepare_cached(
                "INSERT INTO rejected (sequence, received_at, reason, body, body_hash) \
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?;
            for batch in group {
                let received_at = batch.received_at.get();
                for (body, rejected_for) in batch.items() {
                    let Some(reason) = rejected_for else {
                        let sequence = sequencer.next(now).get();
                        event.execute((sequence, received_at, Utf8(body)))?;
                        added.note(ItemKind::Event);
                        continue;
                    };
                    let hash = blake3::hash(body);
                    let hash = &hash.as_bytes()[..BODY_HASH_BYTES];
                    if !known.exists([hash])? {
                        let sequence = sequencer.next(now).get();
                        rejected.execute((sequence, received_at, reason, body, hash))?;
                        added.note(ItemKind::Rejected);
                    }
                }
            }
        }
        let add = |counts: KeptCounts| counts.with_added(&transaction, added, sequencer.last);
        let counts = self.counts.map(add).transpose()?;
        transaction.commit()?;
        self.counts = counts;
        Ok(sequencer.last)
    }

    /// Decides what an error of a transaction means. The writer goes on only if the spool is known to be
    /// unchanged.
    fn meaning_of(&self, error: &rusqlite::Error) -> CommitError {
        let rolled_back = self.database.connection.is_autocommit();
        match error.sqlite_error_code() {
            // No byte of the transaction has reached the committed part of the file, and no sync was asked
            // for.
            _ if rolled_back && is_out_of_room(&self.database.path, error) => {
                CommitError::Refused(AppendError::DiskLow)
            }
            Some(ErrorCode::DatabaseBusy) if rolled_back => CommitError::Refused(AppendError::Locked),
            _ => {
                let (path, reason) = (self.database.path.clone(), error.to_string());
                CommitError::Failed(self.explain(SqliteError::WriteFailed { path, reason }))
            }
        }
    }

    /// Returns the cause of `error` if files have changed: SQLite fails in many ways without its files, and
    /// never says why.
    fn explain(&self, error: SqliteError) -> SpoolError {
        self.files.demand_unchanged().err().unwrap_or(error).into()
    }
}

impl GroupStore for SqliteGroupStore {
    fn check(&mut self) -> Result<(), SpoolError> {
        Ok(self.files.demand_unchanged()?)
    }

    fn refresh_headroom(&mut self) -> Result<(), SpoolError> {
        let measured = self.headroom.refresh(|| disk_usage::measure(&self.database));
        measured.map_err(|error| self.explain(error))
    }

    fn admit(&mut self, bytes: u64) -> Result<(), AppendError> {
        self.headroom.admit(bytes)
    }

    fn commit(&mut self, group: &[&Batch]) -> Result<Sequence, CommitError> {
        let last = self.try_commit(group).map_err(|error| {
            debug!("a group was not stored: {error}");
            self.meaning_of(&error)
        })?;
        // If the files have changed, the group is in one that no other process will ever open.
        self.check()?;
        Ok(last)
    }

    fn probe(&mut self, bytes: u64) -> Result<(), CommitError> {
        self.check()?;
        self.refresh_headroom()?;
        self.headroom.could_admit(bytes).map_err(CommitError::Refused)?;
        let begun = self.database.with_lock_timeout(PROBE_LOCK_TIMEOUT, |connection| {
            connection.transaction_with_behavior(TransactionBehavior::Immediate)?.rollback()
        });
        begun.map_err(|error| self.meaning_of(&error))
    }

    fn abandon(self) {
        // Closing the connection would write to the file too. The kernel cleans up when the process ends.
        std::mem::forget(self.database.connection);
    }
}

/// Text that is bound without a check: the listener has made sure that it is UTF-8.
struct Utf8<'a>(&'a [u8]);

impl ToSql for Utf8<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(self.0)))
    }
}
