//! The emitting side: the emitter, and the worker that follows what the target confirms.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::{Plan, RunError};
use crate::emitter::progress::EmitterProgress;
use crate::emitter::{
    Confirmation, EmitError, Emitter, Ended, StateFile, StopControl, WithoutState, follow_confirmations,
};
use crate::os::thread;
use crate::os::worker::Worker;
use crate::spool::{Backlog, Registry, Spool, SpoolError, Trimmer, Watermark};

/// An emitter that knows where it starts.
pub(super) struct PreparedEmitter<W> {
    emitter: Emitter<W>,
    confirmation: Confirmation,
    trimmer: Box<dyn Trimmer>,
    registry: Box<dyn Registry>,
    /// The events that wait past the bookmarks.
    pub(super) backlog: Backlog,
}

impl<W: Write> PreparedEmitter<W> {
    /// Finds out where the run starts, and what confirms that the target has stored its messages.
    pub(super) fn prepare(
        plan: &Plan,
        spool: Arc<dyn Spool>,
        out: W,
        progress: EmitterProgress,
    ) -> Result<Self, RunError> {
        let (trimmer, mut registry) = (spool.trimmer()?, spool.registry()?);
        let mut state_file = plan.state.as_deref().map(StateFile::new);
        let mut emitter = Emitter::new(spool, &plan.output, out, plan.config.pace(), progress)?;
        let backlog = emitter.start_from(state_file.as_mut(), plan.config.sequence_unit)?;
        let without_state = WithoutState {
            is_confirmed_by_stdout: plan.config.confirm_without_state,
            stdout_is_null: plan.stdout_is_null,
        };
        let confirmation = Confirmation::determine(state_file, &mut *registry, without_state)?;
        Ok(PreparedEmitter { emitter, confirmation, trimmer, registry, backlog })
    }
}

/// The emitter's thread, and the one that follows what the target confirms.
pub(super) struct Emitting {
    outcome: oneshot::Receiver<Result<Ended, EmitError>>,
    pub(super) control: Arc<StopControl>,
    confirmed: Worker<SpoolError>,
}

impl Emitting {
    pub(super) fn start(
        prepared: PreparedEmitter<impl Write + Send + 'static>,
        retention: Duration,
        watermark: Watermark,
        progress: EmitterProgress,
    ) -> Result<Self, RunError> {
        let PreparedEmitter { emitter, confirmation, trimmer, registry, .. } = prepared;
        let written = emitter.written().clone();
        let confirmed = follow_confirmations(confirmation, written, trimmer, registry, retention, progress)?;
        let control = Arc::new(StopControl::default());
        let (report, outcome) = oneshot::channel();
        let shared = Arc::clone(&control);
        thread::spawn("emitter", move || {
            let _ = report.send(emitter.run(&watermark, &shared));
        })?;
        Ok(Emitting { outcome, control, confirmed })
    }

    /// Waits until the emitter has ended, or the storage has failed under the trimming.
    pub(super) async fn ended(&mut self) -> Result<Ended, EmitError> {
        tokio::select! {
            error = self.confirmed.failed() => Err(error.into()),
            outcome = &mut self.outcome => outcome.expect("the emitter thread does not panic"),
        }
    }

    /// Reads the confirmations and trims a last time.
    pub(super) async fn finish(self) -> Result<(), SpoolError> {
        self.confirmed.finish().await
    }
}
