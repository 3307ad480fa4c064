//! What the target has stored: followed in the state file, shown as lag, and trimmed from the spool once it is old.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use catalog::stream::Stream;
use tracing::{debug, error, warn};

use super::state_file::StateFile;
use crate::progress::Counters;
use crate::spool::{SpoolError, Trimmer};

/// How often the state file is looked at.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(250);
/// How many looks pass from one trim to the next.
const TRIM_EVERY: u32 = 4;
/// How long a trim may take before the next look; also how long the end of a run may wait for it.
const TRIM_TIME: Duration = Duration::from_secs(1);

/// Who says what the target has stored.
#[derive(Debug)]
pub enum Confirmation {
    /// The state file does.
    StateFile(StateFile),
    /// Nobody ever gave a state on this spool: what stdout took counts as stored.
    Stdout,
    /// A state was given before, but not to this run: nothing is known, and nothing is trimmed.
    Unknown,
}

impl Confirmation {
    /// Decides by what this run was given, and what runs before it were.
    pub fn find(state_file: Option<StateFile>, trimmer: &Trimmer) -> Result<Self, SpoolError> {
        if let Some(file) = state_file {
            trimmer.note_state_given()?;
            return Ok(Confirmation::StateFile(file));
        }
        if trimmer.state_was_given()? {
            warn!("earlier runs were given a state, this one is not: nothing is trimmed from the spool");
            return Ok(Confirmation::Unknown);
        }
        warn!(
            "without --state, events count as stored once stdout has taken them, and are trimmed after retention_days; \
             give --state to have them kept until the target confirms them"
        );
        Ok(Confirmation::Stdout)
    }
}

/// Follows the confirmations and trims, in a thread, until it is dropped; then once
/// more.
#[derive(Debug)]
pub struct Confirmed {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Confirmed {
    /// Starts the thread. `position` is the bookmark that the run begins with.
    pub fn follow(
        confirmation: Confirmation,
        position: i64,
        trimmer: Trimmer,
        retention: Duration,
        counters: Counters,
        clock: fn() -> i64,
    ) -> std::io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        if matches!(confirmation, Confirmation::StateFile(_)) {
            counters.confirmed_through(position);
        }
        let mut follower =
            Follower { confirmation, trimmer, retention, counters, clock, confirmed: position };
        let thread = thread::Builder::new().name("confirmed".to_owned()).spawn(move || {
            for round in 1_u32.. {
                let going_on = stopped.recv_timeout(FOLLOW_INTERVAL) == Err(RecvTimeoutError::Timeout);
                follower.look();
                // The last round trims too: a drain on a schedule is usually over before the first is due.
                if round.is_multiple_of(TRIM_EVERY) || !going_on {
                    follower.trim();
                }
                if !going_on {
                    break;
                }
            }
        })?;
        Ok(Confirmed { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Confirmed {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Follower {
    confirmation: Confirmation,
    trimmer: Trimmer,
    retention: Duration,
    counters: Counters,
    clock: fn() -> i64,
    confirmed: i64,
}

impl Follower {
    fn look(&mut self) {
        let bookmark = match &mut self.confirmation {
            Confirmation::StateFile(file) => {
                file.follow().and_then(|state| state.bookmark(Stream::data().name))
            }
            Confirmation::Stdout => Some(self.counters.position()),
            Confirmation::Unknown => None,
        };
        // A state file may be replaced by an older one; what was confirmed once stays so.
        if let Some(bookmark) = bookmark.filter(|bookmark| *bookmark > self.confirmed) {
            self.confirmed = bookmark;
            if matches!(self.confirmation, Confirmation::StateFile(_)) {
                self.counters.confirmed_through(bookmark);
            }
        }
    }

    fn trim(&mut self) {
        if matches!(self.confirmation, Confirmation::Unknown) {
            return;
        }
        let retention = i64::try_from(self.retention.as_millis()).unwrap_or(i64::MAX);
        let before = (self.clock)().saturating_sub(retention);
        let start = Instant::now();
        while start.elapsed() < TRIM_TIME {
            match self.trimmer.step(self.confirmed, before) {
                Ok(0) => break,
                Ok(trimmed) => debug!("{trimmed} events were trimmed"),
                Err(error) => {
                    // Events stay longer than they must, and the next look tries again.
                    error!("{error}");
                    break;
                }
            }
        }
    }
}
