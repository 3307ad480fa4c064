//! What can go wrong with a PostgreSQL spool, in messages for people.

use std::error::Error;

use tokio_postgres::error::{Severity, SqlState};

use crate::os::thread::ThreadError;
use crate::spool::{Role, SpoolError, SpoolErrorKind};

/// `spool` is always the location as text, without secrets.
#[derive(Debug, thiserror::Error)]
pub(super) enum PostgresError {
    #[error(
        "spool {spool}: it does not exist yet; a run, `listen` or `url new` creates it. If it should exist, \
         correct spool_url or spool_schema"
    )]
    Missing { spool: String },
    /// Nothing was changed.
    #[error("spool {spool}: {action}: {reason}")]
    Unavailable { spool: String, action: &'static str, reason: String },
    /// The commit was sent, and nobody knows whether it took effect.
    #[error("spool {spool}: {action}: it is unknown whether the database has stored it: {reason}")]
    OutcomeUnknown { spool: String, action: &'static str, reason: String },
    /// The database has refused it, and nothing was changed.
    #[error("spool {spool}: {action}: {reason}")]
    Refused { spool: String, action: &'static str, reason: String },
    #[error("spool {spool}: {action}: the database's disk is full: {reason}")]
    NoRoom { spool: String, action: &'static str, reason: String },
    #[error("spool {spool}: {wrong}")]
    Setting { spool: String, wrong: String },
    #[error(
        "spool {spool}: it has format {found}, but this version of tap-mailjet-webhooks knows formats up to \
         {known}; use the version that created it, or a later one"
    )]
    NewerFormat { spool: String, found: i32, known: i32 },
    #[error("another process is the {role} of spool {spool} (process {holder}); nothing to do here")]
    RoleTaken { role: Role, spool: String, holder: String },
    #[error(
        "another process has become the {role} of spool {spool}, because this one was silent for longer \
         than emitter_lease_seconds; this one writes nothing more"
    )]
    RoleLost { role: Role, spool: String },
    #[error(
        "spool {spool}: another spool is being copied into it, and that is not finished; start the same \
         `spool copy` again"
    )]
    CopyUnfinished { spool: String },
    #[error("spool {spool}: a listener uses it (process {holder}); stop it before you copy into this spool")]
    ListenerRuns { spool: String, holder: String },
    #[error(
        "spool {spool}: it has been used already; a copy needs a new one, so set spool_schema to another name"
    )]
    InUse { spool: String },
    #[error("spool_tls_ca: {reason}")]
    Tls { reason: String },
    #[error(transparent)]
    Thread(#[from] ThreadError),
    #[error("cannot start the client of the database: {0}; raise the limit of open files (ulimit -n)")]
    Runtime(std::io::Error),
}

impl PostgresError {
    /// Sorts an error that left nothing changed.
    pub(super) fn from_query(spool: &str, action: &'static str, error: &tokio_postgres::Error) -> Self {
        let (spool, reason) = (spool.to_owned(), explain(error));
        if is_no_room(error) {
            PostgresError::NoRoom { spool, action, reason }
        } else if keeps_session(error) && !is_conflict(error) {
            PostgresError::Refused { spool, action, reason }
        } else {
            PostgresError::Unavailable { spool, action, reason }
        }
    }

    /// Whether the same operation may succeed later without anybody's help.
    pub(super) fn is_temporary(&self) -> bool {
        matches!(self, PostgresError::Unavailable { .. } | PostgresError::OutcomeUnknown { .. })
    }

    /// Whether the same operation may succeed later, if somebody has to correct a setting first.
    pub(super) fn may_pass(&self) -> bool {
        self.is_temporary() || matches!(self, PostgresError::Setting { .. })
    }

    fn kind(&self) -> SpoolErrorKind {
        match self {
            PostgresError::Missing { .. } => SpoolErrorKind::Missing,
            PostgresError::Unavailable { .. } | PostgresError::OutcomeUnknown { .. } => {
                SpoolErrorKind::Unavailable
            }
            PostgresError::NoRoom { .. } => SpoolErrorKind::NoRoom,
            PostgresError::RoleTaken { .. } => SpoolErrorKind::RoleTaken,
            PostgresError::RoleLost { .. } => SpoolErrorKind::RoleLost,
            PostgresError::Refused { .. }
            | PostgresError::Setting { .. }
            | PostgresError::NewerFormat { .. }
            | PostgresError::CopyUnfinished { .. }
            | PostgresError::ListenerRuns { .. }
            | PostgresError::InUse { .. }
            | PostgresError::Tls { .. }
            | PostgresError::Thread(_)
            | PostgresError::Runtime(_) => SpoolErrorKind::Other,
        }
    }
}

impl From<PostgresError> for SpoolError {
    fn from(error: PostgresError) -> Self {
        SpoolError::new(error.kind(), error)
    }
}

/// Whether the server has answered with an error after which the session can be used, and has rolled back
/// what the session was doing.
///
/// A server that was demoted answers so too, but its session is of no more use.
pub(super) fn keeps_session(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|error| {
        let is_standby = *error.code() == SqlState::READ_ONLY_SQL_TRANSACTION;
        error.parsed_severity() == Some(Severity::Error) && !is_standby
    })
}

/// Whether the work was refused because of other work at the same time, or because somebody cancelled it.
fn is_conflict(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| {
        [
            SqlState::LOCK_NOT_AVAILABLE,
            SqlState::QUERY_CANCELED,
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::T_R_SERIALIZATION_FAILURE,
        ]
        .contains(code)
    })
}

/// Whether the server's disk is full.
pub(super) fn is_no_room(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::DISK_FULL)
}

/// Returns what the server or the system said: the client's own message is often only "db error".
pub(super) fn explain(error: &tokio_postgres::Error) -> String {
    if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) {
        return "an earlier transaction holds a lock, as one does that waits for a standby".to_owned();
    }
    if let Some(error) = error.as_db_error() {
        let hint = error.hint().map_or(String::new(), |hint| format!(" ({hint})"));
        return one_line(&format!("{}{hint}", error.message()));
    }
    let mut reason = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !reason.contains(&cause_text) {
            reason = format!("{reason}: {cause_text}");
        }
        source = cause.source();
    }
    one_line(&reason)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
