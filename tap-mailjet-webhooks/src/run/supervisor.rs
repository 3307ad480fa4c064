//! What ends a run, and in which order its components stop: the order in which events pass through them.

use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::emitting::Emitting;
use super::receiving::Receiving;
use super::{END_TIMEOUT, RunError, or_never};
use crate::config::Config;
use crate::emitter::{EmitError, Ended};
use crate::listener::Traffic;
use crate::spool::{CommitFollower, SpoolError, Watermark};

/// How long a run that was asked to end may go on writing.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(25);
/// How long a run may take, once the spool has failed, to answer the waiting requests, finish a line and
/// write a STATE.
const FAILURE_TIMEOUT: Duration = Duration::from_secs(5);

/// The running components.
pub(super) struct Supervisor {
    pub(super) receiving: Option<Receiving>,
    pub(super) emitting: Option<Emitting>,
    pub(super) traffic: Traffic,
    /// Learns what other processes commit.
    pub(super) follower: Option<CommitFollower>,
    pub(super) watermark: Watermark,
}

/// What ends a run first.
enum FirstEnd {
    SpoolFailed(SpoolError),
    EmitterEnded(Result<Ended, EmitError>),
    TimeIsUp,
    Idle,
    Stop,
}

impl Supervisor {
    /// Waits for whatever ends the run first, then stops its components.
    pub(super) async fn supervise(
        mut self,
        config: &Config,
        stop: impl Future<Output = ()>,
        time_is_up: impl Future<Output = ()>,
    ) -> Result<(), RunError> {
        let first = self.first_end(config.pace().idle_exit, stop, time_is_up).await;
        let since = Instant::now();
        match first {
            FirstEnd::SpoolFailed(error) => {
                self.stop_after_failure(since).await;
                return Err(error.into());
            }
            FirstEnd::EmitterEnded(ended) => return self.stop_after_emitter(ended?).await,
            FirstEnd::TimeIsUp => {
                info!("max_runtime_seconds: the time is up, stopping");
                // A drain stops at once: nothing more comes in, and the user has limited how long a backlog
                // may take.
                if let (None, Some(emitting)) = (&self.receiving, &self.emitting) {
                    emitting.control.cut_short_at(since);
                }
            }
            FirstEnd::Idle => info!("idle_exit_seconds: nothing has arrived for this long, stopping"),
            FirstEnd::Stop => {}
        }
        if let Some(emitting) = &self.emitting {
            emitting.control.cut_short_at(since + DRAIN_TIMEOUT);
        }
        let left = END_TIMEOUT.saturating_sub(since.elapsed());
        tokio::time::timeout(left, self.stop()).await.unwrap_or(Err(RunError::Stuck))
    }

    async fn first_end(
        &mut self,
        idle_exit: Option<Duration>,
        stop: impl Future<Output = ()>,
        time_is_up: impl Future<Output = ()>,
    ) -> FirstEnd {
        let control = self.emitting.as_ref().map(|emitting| emitting.control.clone());
        let traffic = self.traffic.clone();
        let idle = async {
            match (control, idle_exit) {
                (Some(control), _) => control.idle.notified().await,
                (None, Some(limit)) => traffic.idle_for(limit).await,
                (None, None) => std::future::pending().await,
            }
        };
        let (receiving, emitting) = (&mut self.receiving, &mut self.emitting);
        let spool_failed = or_never(receiving.as_mut().map(Receiving::failed));
        let emitter_ended = or_never(emitting.as_mut().map(Emitting::ended));
        tokio::select! {
            // A spool that has failed also ends the emitter, which must not hide the cause.
            biased;
            error = spool_failed => FirstEnd::SpoolFailed(error),
            ended = emitter_ended => FirstEnd::EmitterEnded(ended),
            () = idle => FirstEnd::Idle,
            () = time_is_up => FirstEnd::TimeIsUp,
            () = stop => FirstEnd::Stop,
        }
    }

    /// Stops everything quickly, because the spool accepts nothing more.
    async fn stop_after_failure(&mut self, since: Instant) {
        let stop = async {
            if let Some(receiving) = &mut self.receiving {
                // Waiting requests are answered 503, because the writer takes no more jobs.
                receiving.handle.close();
                receiving.stop_serving().await;
            }
            if let Some(emitting) = &mut self.emitting {
                emitting.control.cut_short_at(since);
                let _ = emitting.ended().await;
            }
        };
        let _ = tokio::time::timeout(FAILURE_TIMEOUT, stop).await;
    }

    /// Waits for the last trim after the emitter has ended by itself.
    async fn stop_after_emitter(self, ended: Ended) -> Result<(), RunError> {
        log_end(ended);
        if let Some(emitting) = self.emitting
            && let Ok(trimmed) = tokio::time::timeout(END_TIMEOUT, emitting.finish()).await
        {
            trimmed?;
        }
        Ok(())
    }

    /// Stops receiving, then writes what the spool holds, then trims a last time.
    async fn stop(self) -> Result<(), RunError> {
        if let Some(receiving) = self.receiving {
            receiving.stop().await?;
        }
        // What others commit from now on is for the next run.
        drop(self.follower);
        self.watermark.close();
        if let Some(mut emitting) = self.emitting {
            log_end(emitting.ended().await?);
            emitting.finish().await?;
        } else {
            info!("stopped");
        }
        Ok(())
    }
}

fn log_end(ended: Ended) {
    match ended {
        Ended::AllWritten => info!("everything in the spool is written; stopped"),
        Ended::CutShort(events) => warn!("stopped with {events} events left in the spool for the next run"),
    }
}
