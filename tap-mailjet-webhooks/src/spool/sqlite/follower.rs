//! Tells this process's readers what another process commits.

use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use tracing::debug;

use super::database::Database;
use super::error::SqliteError;
use super::facts;
use crate::os::worker::Worker;
use crate::spool::{CommitFollower, Watermark};

/// How often to look. A look that finds nothing new costs a few microseconds.
const INTERVAL: Duration = Duration::from_millis(50);

/// Starts the thread that advances `watermark` until the returned value is dropped.
pub(super) fn follow(path: &Path, watermark: Watermark) -> Result<CommitFollower, SqliteError> {
    let database = Database::open_existing(path)?;
    let worker = Worker::<Infallible>::start("spool-follower", INTERVAL, move |_| {
        match facts::last_sequence(&database.connection) {
            Ok(last) => watermark.advance(last),
            Err(error) => debug!("the last sequence cannot be read: {error}"),
        }
        Ok(())
    })?;
    Ok(CommitFollower::new(worker))
}
