//! The room that writes: the emitter, and what follows the confirmations of what it has written.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

use super::{Plan, RunError};
use crate::emitter::progress::Counters;
use crate::emitter::{
    Confirmation, Confirmed, DiscoveredColumns, EmitError, Emitter, Ended, Start, StateFile, StopControl,
};
use crate::os::clock::{self, PatientClock};
use crate::spool::{Backlog, Ledger, Reader, Trimmer, Watermark};

/// An emitter that knows where it begins.
pub(super) struct Prepared<W> {
    emitter: Emitter<W>,
    confirmation: Confirmation,
    trimmer: Trimmer,
    /// Events that wait past its bookmarks.
    pub(super) waiting: Backlog,
}

impl<W: std::io::Write> Prepared<W> {
    /// Finds where the run begins, and who confirms what it writes.
    pub(super) fn find(plan: &Plan, path: &Path, out: W, counters: Counters) -> Result<Self, RunError> {
        let (reader, ledger) = (Reader::open(path)?, Ledger::open(path)?);
        let mut state_file = plan.state.as_deref().map(StateFile::new);
        let discovered = DiscoveredColumns::open(path)?;
        let mut emitter =
            Emitter::new(reader, discovered, ledger, &plan.shape, out, plan.config.pace(), counters)?;
        let start = Start::find(
            &emitter.streams(),
            state_file.as_mut(),
            emitter.reader(),
            emitter.ledger(),
            plan.config.sequence_unit,
            clock::unix_millis(),
        )?;
        let waiting = start.waiting;
        emitter.start_at(start)?;
        let confirmation = Confirmation::find(state_file, emitter.ledger(), plan.discarded)?;
        Ok(Prepared { emitter, confirmation, trimmer: Trimmer::open(path)?, waiting })
    }
}

/// The emitter's thread, and the one that follows what the target confirms.
pub(super) struct Emitting {
    outcome: oneshot::Receiver<Result<Ended, EmitError>>,
    pub(super) control: Arc<StopControl>,
    pub(super) confirmed: Confirmed,
}

impl Emitting {
    /// Starts both threads.
    pub(super) fn start(
        prepared: Prepared<impl std::io::Write + Send + 'static>,
        retention: Duration,
        watermark: Watermark,
        counters: Counters,
    ) -> Result<Self, RunError> {
        let Prepared { emitter, confirmation, trimmer, .. } = prepared;
        let confirmed = Confirmed::follow(
            confirmation,
            trimmer,
            retention,
            counters,
            PatientClock::start(clock::unix_millis),
        )?;
        let control = Arc::new(StopControl::default());
        let (report, outcome) = oneshot::channel();
        thread::Builder::new().name("emitter".to_owned()).spawn({
            let control = Arc::clone(&control);
            move || {
                let _ = report.send(emitter.run(&watermark, &control));
            }
        })?;
        Ok(Emitting { outcome, control, confirmed })
    }

    /// Waits until the emitter has ended, or the disk fails under the trimming.
    pub(super) async fn ended(&mut self) -> Result<Ended, EmitError> {
        tokio::select! {
            error = self.confirmed.failed() => Err(error.into()),
            outcome = &mut self.outcome => outcome.expect("the emitter thread does not panic"),
        }
    }
}
