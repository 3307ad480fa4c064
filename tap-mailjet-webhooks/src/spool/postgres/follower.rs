//! Tells this process's readers what other processes commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tracing::debug;

use super::connection::{Context, Database, Patience};
use super::error::PostgresError;
use crate::os::thread;
use crate::spool::{CommitFollower, Sequence, Watermark};

/// How often the database is asked although it has sent no notification: a connection pool may not pass
/// notifications on.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Dropping it ends the thread, at the latest after the next poll.
#[derive(Debug)]
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Starts the thread that advances `watermark` until the returned value is dropped.
pub(super) fn follow(context: &Arc<Context>, watermark: Watermark) -> Result<CommitFollower, PostgresError> {
    let mut database = Database::new(context)?;
    let is_stopped = Arc::new(AtomicBool::new(false));
    let stop = Stop(Arc::clone(&is_stopped));
    thread::spawn("spool-follower", move || {
        let listen = format!("LISTEN \"{}\"", database.context.location.schema.as_str());
        let mut listening_in = None;
        while !is_stopped.load(Ordering::Relaxed) {
            let is_listening = listening_in == Some(database.session_number());
            let last = database.read("following", Patience::Once, async |queries| {
                if !is_listening {
                    queries.execute_all(&listen).await?;
                }
                queries.row("SELECT last FROM @.seq", &[]).await?.try_get(0)
            });
            // A session that was made just now has not been listening, unless this call has said so.
            match last {
                Ok(last) => {
                    let session = database.session_number();
                    let has_listened = !is_listening || listening_in == Some(session);
                    listening_in = has_listened.then_some(session);
                    watermark.advance(Sequence::new(last));
                }
                Err(error) => {
                    debug!("{error}");
                    listening_in = None;
                }
            }
            database.wait_for_notification(POLL_INTERVAL);
        }
    })?;
    Ok(CommitFollower::new(stop))
}
