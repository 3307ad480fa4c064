//! What the target has stored: followed in the state file, shown as lag, and trimmed from the spool once it is old.

use std::time::{Duration, Instant};

use catalog::state::State;
use tracing::{debug, error, warn};

use super::file::StateFile;
use crate::emitter::progress::{Counters, Reached};
use crate::os::log_throttle::LogThrottle;
use crate::os::thread::ThreadError;
use crate::os::worker::{Round, Worker};
use crate::spool::{ItemKind, Registry, Sequence, SpoolError, SpoolErrorKind, Trimmer};

/// How often the state file is looked at.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(250);
/// How many looks pass from one trim to the next.
const TRIM_EVERY: u32 = 4;
/// How long a trim may take before the next look. The end of a run may wait for it, and for [`GIVE_BACK_TIME`].
const TRIM_TIME: Duration = Duration::from_secs(1);
/// How long pages may be given back besides, and in what trimming has left of its time: where there is always something to
/// trim, the disk gets its room all the same.
const GIVE_BACK_TIME: Duration = Duration::from_millis(500);

/// Who says what the target has stored.
#[derive(Debug)]
pub enum Confirmation {
    /// The state file does.
    StateFile(StateFile),
    /// Nobody ever gave a state on this spool: what stdout took counts as stored.
    Stdout,
    /// Nobody: a state was given before, but not to this run, or stdout keeps nothing. Nothing is trimmed.
    Nobody,
}

impl Confirmation {
    /// Decides by what this run was given, and what runs before it were. `discarded`: stdout is the null device.
    pub fn find(
        state_file: Option<StateFile>,
        registry: &mut dyn Registry,
        discarded: bool,
    ) -> Result<Self, SpoolError> {
        if let Some(file) = state_file {
            if let Err(error) = registry.note_state_given() {
                // On a full disk, a run that makes room is worth more than this note.
                warn!("{error}");
            }
            return Ok(Confirmation::StateFile(file));
        }
        if registry.state_was_given()? {
            warn!("earlier runs were given a state, this one is not: nothing is trimmed from the spool");
            return Ok(Confirmation::Nobody);
        }
        if discarded {
            warn!(
                "stdout is closed or the null device, and keeps nothing: nothing is trimmed from the spool"
            );
            return Ok(Confirmation::Nobody);
        }
        warn!(
            "without --state, events count as stored once stdout has taken them, and are trimmed after retention_days; \
             give --state to have them kept until the target confirms them"
        );
        Ok(Confirmation::Stdout)
    }
}

/// Follows the confirmations and trims, on a thread of its own. The run has noted in `counters` where it starts.
pub fn follow(
    confirmation: Confirmation,
    trimmer: Box<dyn Trimmer>,
    registry: Box<dyn Registry>,
    retention: Duration,
    counters: Counters,
) -> Result<Worker<SpoolError>, ThreadError> {
    let start = counters.reached();
    if matches!(confirmation, Confirmation::StateFile(_)) {
        // As the lag is shown: where no stream is selected, nothing is behind.
        counters.confirmed_through(start.events);
    }
    let (events, rejected) = (start.taken(false), start.taken(true));
    let mut follower = Follower {
        confirmation,
        trimmer,
        registry,
        retention,
        counters,
        events,
        rejected,
        noted: Sequence::START,
        rounds: 0,
        told: LogThrottle::default(),
        foreign_told: LogThrottle::default(),
    };
    Worker::start("confirmed", FOLLOW_INTERVAL, move |round| follower.round(round))
}

struct Follower {
    confirmation: Confirmation,
    trimmer: Box<dyn Trimmer>,
    registry: Box<dyn Registry>,
    retention: Duration,
    counters: Counters,
    /// Sequence up to which events are confirmed.
    events: Sequence,
    /// Sequence up to which rejected items are.
    rejected: Sequence,
    /// What the spool has been told of `events`.
    noted: Sequence,
    rounds: u32,
    /// When trouble with trimming was last told.
    told: LogThrottle,
    /// When a state of another spool was last told.
    foreign_told: LogThrottle,
}

impl Follower {
    fn round(&mut self, round: Round) -> Result<(), SpoolError> {
        self.rounds += 1;
        self.look();
        // The last round trims too: a drain on a schedule is usually over before the first is due.
        if round == Round::Last || self.rounds.is_multiple_of(TRIM_EVERY) {
            self.trim()?;
        }
        Ok(())
    }

    fn look(&mut self) {
        let (events, rejected) = match &mut self.confirmation {
            Confirmation::Nobody => return,
            Confirmation::Stdout => {
                let reached = self.counters.reached();
                (reached.taken(false), reached.taken(true))
            }
            // Taken as no more than what has been written by now: see confirmed_by.
            Confirmation::StateFile(file) => match file.follow() {
                Some(state) => {
                    let reached = self.counters.reached();
                    // What has been written is on its way to a STATE, if it is not in one yet.
                    let written =
                        reached.streams.iter().map(|written| written.last).max().unwrap_or(Sequence::START);
                    let largest = self.counters.largest_bookmark().max(written);
                    if let Some(stream) = foreign(&state, &reached, largest) {
                        if let Some(suppressed) = self.foreign_told.allow() {
                            warn!(
                                "state file {}: its bookmark of stream \"{stream}\" is ahead of all that was ever written from this \
                                 spool, and so not one of its own; it confirms nothing{suppressed}",
                                file.path().display()
                            );
                        }
                        return;
                    }
                    confirmed_by(&state, &reached)
                }
                None => return,
            },
        };
        // A state file may be replaced by an older one; what was confirmed once stays so.
        self.events = self.events.max(events);
        self.rejected = self.rejected.max(rejected);
        if matches!(self.confirmation, Confirmation::StateFile(_)) {
            self.counters.confirmed_through(self.events);
        }
    }

    fn trim(&mut self) -> Result<(), SpoolError> {
        if matches!(self.confirmation, Confirmation::Nobody) {
            return Ok(());
        }
        match self.try_trim() {
            Err(error) if error.kind() == SpoolErrorKind::StorageFailed => return Err(error),
            Err(error) => {
                // Rows stay longer than they must, and the next look tries again.
                if let Some(suppressed) = self.told.allow() {
                    error!("{error}{suppressed}");
                }
            }
            Ok(()) => {}
        }
        Ok(())
    }

    fn try_trim(&mut self) -> Result<(), SpoolError> {
        let start = Instant::now();
        for (kind, confirmed) in [(ItemKind::Event, self.events), (ItemKind::Rejected, self.rejected)] {
            while start.elapsed() < TRIM_TIME {
                match self.trimmer.step(kind, confirmed, self.retention)? {
                    0 => break,
                    trimmed => debug!("{trimmed} rows were trimmed"),
                }
            }
        }
        while start.elapsed() < TRIM_TIME + GIVE_BACK_TIME && self.trimmer.give_back()? {}
        // Last: on a full disk, room is worth more than this note.
        if self.events > self.noted {
            self.registry.note_confirmed_through(self.events)?;
            self.noted = self.events;
        }
        Ok(())
    }
}

/// A selected stream whose bookmark no STATE of this spool can have had, the largest being `largest`.
fn foreign(state: &State, reached: &Reached, largest: Sequence) -> Option<&'static str> {
    let names = reached.streams.iter().map(|written| written.stream.name());
    names
        .into_iter()
        .find(|name| state.bookmark(name).is_some_and(|bookmark| Sequence::new(bookmark) > largest))
}

/// Up to where a state confirms events and rejected items, given how far stdout has got.
///
/// Each selected stream has to confirm. A stream that has confirmed the last record that was written to it has all that
/// was written: some targets keep only the bookmarks of streams that had records.
fn confirmed_by(state: &State, reached: &Reached) -> (Sequence, Sequence) {
    let confirmed = |rejected: bool| {
        let all = reached.taken(rejected);
        let each = reached.streams(rejected).map(|written| {
            let bookmark = state.bookmark(written.stream.name()).map_or(Sequence::START, Sequence::new);
            // No more than what was written: a state can't confirm what it has not seen.
            if bookmark >= written.last { all } else { bookmark.min(all) }
        });
        // Where no stream is selected, nobody confirms anything.
        each.min().unwrap_or(Sequence::START)
    };
    (confirmed(false), confirmed(true))
}

#[cfg(test)]
mod tests {
    use catalog::event::EventType;
    use catalog::stream::StreamId;

    use super::*;
    use crate::emitter::progress::Written;

    /// Bookmarks, last record of each stream, events and rejected items that are confirmed.
    type Case<'a> = (&'a [(StreamId, i64)], &'a [(StreamId, i64)], (i64, i64));

    #[test]
    fn events_are_confirmed_by_every_selected_stream_that_has_them() {
        let click = StreamId::Event(EventType::Click);
        let reached = |last_records: &[(StreamId, i64)]| Reached {
            events: Sequence::new(100),
            rejected: Sequence::new(50),
            streams: last_records
                .iter()
                .map(|(stream, last)| Written { stream: *stream, last: Sequence::new(*last), records: 1 })
                .collect(),
        };
        let (data, rejected) = (StreamId::Data, StreamId::Rejected);
        let cases: [Case<'_>; 9] = [
            (&[], &[(data, 100), (rejected, 0)], (0, 50)),
            (&[(data, 100)], &[(rejected, 0)], (0, 50)),
            (&[(data, 900)], &[(data, 100), (rejected, 0)], (100, 50)),
            (&[(data, 70)], &[(data, 100), (rejected, 50)], (70, 0)),
            (&[(data, 100), (rejected, 50)], &[(data, 100), (rejected, 50)], (100, 50)),
            (&[(data, 100)], &[(data, 100), (click, 80)], (0, 0)),
            (&[(data, 100), (click, 80)], &[(data, 100), (click, 80)], (100, 0)),
            (&[(data, 100)], &[(data, 100), (click, 0)], (100, 0)),
            (&[(data, 90), (click, 80)], &[(data, 100), (click, 80)], (90, 0)),
        ];
        for (bookmarks, last_records, expected) in cases {
            let mut state = State::default();
            for (id, sequence) in bookmarks {
                state.set_bookmark(id.name(), "_sdc_sequence", *sequence);
            }
            assert_eq!(
                confirmed_by(&state, &reached(last_records)),
                (Sequence::new(expected.0), Sequence::new(expected.1)),
                "{bookmarks:?} of {last_records:?}"
            );
        }
    }
}
