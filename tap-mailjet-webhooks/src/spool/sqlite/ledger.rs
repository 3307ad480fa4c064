//! What the spool knows of the states that runs on it were given and have written.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use crate::spool::sqlite::{self, STATE_GIVEN, WRITTEN_THROUGH};
use crate::spool::{SpoolError, retry_while_locked};

/// Reads and writes what is known of states. What it notes is on disk when it returns.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    connection: Connection,
}

impl Ledger {
    /// Opens the spool at `path`.
    pub fn open(path: &Path) -> Result<Self, SpoolError> {
        Ok(Ledger { path: path.to_owned(), connection: sqlite::open(path)? })
    }

    /// Whether any run on this spool was ever given a state.
    pub fn state_was_given(&self) -> Result<bool, SpoolError> {
        Ok(self.fact(STATE_GIVEN)?.is_some())
    }

    /// Notes that a run on this spool was given a state. From now on only a state says what is committed.
    pub fn note_state_given(&self) -> Result<(), SpoolError> {
        if self.state_was_given()? { Ok(()) } else { self.set(STATE_GIVEN, 1) }
    }

    /// A sequence that no bookmark of any STATE written from this spool is past; none if there was no STATE.
    pub fn written_through(&self) -> Result<Option<i64>, SpoolError> {
        self.fact(WRITTEN_THROUGH)
    }

    /// Lets the STATEs to come have bookmarks up to `sequence`.
    pub fn note_written_through(&self, sequence: i64) -> Result<(), SpoolError> {
        self.set(WRITTEN_THROUGH, sequence)
    }

    fn fact(&self, name: &str) -> Result<Option<i64>, SpoolError> {
        sqlite::fact(&self.connection, name)
            .map_err(|source| SpoolError::sqlite(&self.path, "reading", source))
    }

    fn set(&self, name: &str, value: i64) -> Result<(), SpoolError> {
        retry_while_locked(&self.path, "noting a state", || sqlite::set_fact(&self.connection, name, value))
    }
}
