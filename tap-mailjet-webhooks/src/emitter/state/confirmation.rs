//! What the target has stored: followed in the state file, shown as lag, and trimmed from the spool.

use std::time::{Duration, Instant};

use tracing::{debug, error, info, warn};

use super::file::StateFile;
use super::written::{Confirmed, ForeignBookmark, Written};
use crate::emitter::progress::EmitterProgress;
use crate::os::log_throttle::LogThrottle;
use crate::os::thread::ThreadError;
use crate::os::worker::{Round, Worker};
use crate::spool::{ItemKind, Registry, Sequence, SpoolError, SpoolErrorKind, Trimmer};

/// How often the state file is checked.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(250);
/// How many checks pass from one trim to the next.
const CHECKS_PER_TRIM: u32 = 4;
/// How long a trim may take. The end of a run may wait for that, and for [`GIVE_BACK_TIME`].
const TRIM_TIME: Duration = Duration::from_secs(1);
/// How long giving room back to the disk may take in addition. Even if there is always something to trim, the
/// disk gets room back.
const GIVE_BACK_TIME: Duration = Duration::from_millis(500);

/// What tells the tap that the target has stored something.
#[derive(Debug)]
pub enum Confirmation {
    /// The state file says so.
    StateFile(StateFile),
    /// The configuration says so: what stdout has taken counts as stored.
    Stdout,
    /// Nothing says so, and nothing is trimmed.
    Nothing,
}

/// What a run without `--state` may take for stored.
#[derive(Debug, Clone, Copy)]
pub struct WithoutState {
    /// Whether what stdout has taken counts as stored: the key `confirm_without_state`.
    pub is_confirmed_by_stdout: bool,
    /// Whether stdout is the null device, which keeps nothing.
    pub stdout_is_null: bool,
}

impl Confirmation {
    /// Determines it from what this run and earlier ones were given.
    pub fn determine(
        state_file: Option<StateFile>,
        registry: &mut dyn Registry,
        without_state: WithoutState,
    ) -> Result<Self, SpoolError> {
        if let Some(file) = state_file {
            if let Err(error) = registry.note_state_given() {
                // On a full disk, a run that makes room is worth more than this note.
                warn!("{error}");
            }
            return Ok(Confirmation::StateFile(file));
        }
        if !without_state.is_confirmed_by_stdout {
            warn!(
                "without --state, nothing counts as stored: nothing is trimmed, and the spool fills until \
                 new webhooks get 503. Give --state, or set confirm_without_state if whatever reads stdout \
                 stores all of it"
            );
            return Ok(Confirmation::Nothing);
        }
        if registry.state_was_given()? {
            warn!(
                "confirm_without_state has no effect: earlier runs were given a state, and this one was not. \
                 Nothing is trimmed from the spool"
            );
            return Ok(Confirmation::Nothing);
        }
        if without_state.stdout_is_null {
            warn!(
                "stdout is closed or the null device, which keeps nothing: nothing is trimmed from the spool"
            );
            return Ok(Confirmation::Nothing);
        }
        info!("confirm_without_state: events count as stored once stdout has taken them");
        Ok(Confirmation::Stdout)
    }
}

/// Starts a thread that follows the confirmations and trims. It does so once more when its worker is finished
/// or dropped.
///
/// The run has noted in `written` where it starts.
pub fn follow_confirmations(
    confirmation: Confirmation,
    written: Written,
    trimmer: Box<dyn Trimmer>,
    registry: Box<dyn Registry>,
    retention: Duration,
    progress: EmitterProgress,
) -> Result<Worker<SpoolError>, ThreadError> {
    let mut follower = Follower {
        confirmation,
        confirmed: written.confirm_all(),
        written,
        progress,
        foreign_throttle: LogThrottle::default(),
        trimmer,
        registry,
        retention,
        noted_through: Sequence::START,
        trim_throttle: LogThrottle::default(),
    };
    follower.show();
    let mut checks = 0_u32;
    Worker::start("confirmations", FOLLOW_INTERVAL, move |round| {
        if matches!(follower.confirmation, Confirmation::Nothing) {
            return Ok(());
        }
        follower.check();
        checks = checks.wrapping_add(1);
        // The last round trims too: a scheduled drain is usually over before the first trim is due.
        if checks.is_multiple_of(CHECKS_PER_TRIM) || round == Round::Last {
            follower.trim()?;
        }
        Ok(())
    })
}

struct Follower {
    confirmation: Confirmation,
    written: Written,
    confirmed: Confirmed,
    progress: EmitterProgress,
    foreign_throttle: LogThrottle,
    trimmer: Box<dyn Trimmer>,
    registry: Box<dyn Registry>,
    retention: Duration,
    /// Up to where the registry has noted events as confirmed.
    noted_through: Sequence,
    trim_throttle: LogThrottle,
}

impl Follower {
    /// Adds what has been confirmed since the last check.
    fn check(&mut self) {
        let confirmed = match &mut self.confirmation {
            Confirmation::Nothing => return,
            Confirmation::Stdout => self.written.confirm_all(),
            Confirmation::StateFile(file) => {
                let Some(state) = file.read_if_changed() else { return };
                match self.written.confirm(&state) {
                    Ok(confirmed) => confirmed,
                    Err(ForeignBookmark(stream)) => {
                        if let Some(suppressed) = self.foreign_throttle.allow() {
                            warn!(
                                "state file {}: the bookmark of stream \"{stream}\" is past everything that \
                                 was ever written from this spool, so it belongs to another spool; it \
                                 confirms nothing{suppressed}",
                                file.path.display()
                            );
                        }
                        return;
                    }
                }
            }
        };
        self.confirmed.add(confirmed);
        self.show();
    }

    fn show(&self) {
        if matches!(self.confirmation, Confirmation::StateFile(_)) {
            self.progress.note_confirmed(self.confirmed.through(ItemKind::Event));
        }
    }

    /// Deletes what is confirmed and old enough. Fails only if the storage has failed.
    fn trim(&mut self) -> Result<(), SpoolError> {
        match self.try_trim() {
            Err(error) if error.kind() != SpoolErrorKind::StorageFailed => {
                // The rows stay longer than necessary, and the next trim tries again.
                if let Some(suppressed) = self.trim_throttle.allow() {
                    error!("{error}{suppressed}");
                }
                Ok(())
            }
            other => other,
        }
    }

    fn try_trim(&mut self) -> Result<(), SpoolError> {
        let start = Instant::now();
        for kind in ItemKind::ALL {
            let Some(confirmed_through) = self.confirmed.through(kind) else { continue };
            while start.elapsed() < TRIM_TIME {
                match self.trimmer.step(kind, confirmed_through, self.retention)? {
                    0 => break,
                    trimmed => debug!("{trimmed} rows were trimmed"),
                }
            }
        }
        while start.elapsed() < TRIM_TIME + GIVE_BACK_TIME && self.trimmer.give_back()? {}
        // This comes last: on a full disk, room is worth more than this note.
        if let Some(confirmed_through) = self.confirmed.through(ItemKind::Event)
            && confirmed_through > self.noted_through
        {
            self.registry.note_confirmed_through(confirmed_through)?;
            self.noted_through = confirmed_through;
        }
        Ok(())
    }
}
