//! The rooms put together: how a run starts, what can end it, and how it ends.

mod emitting;
mod receiving;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tracing::{info, warn};

use crate::admin::Admin;
use crate::config::{Components, Config, ConfigError};
use crate::emitter::progress::Counters;
use crate::emitter::{EmitError, Ended, OutputSpec, OutputSpecError, StartError};
use crate::listener::Traffic;
use crate::listener::token::UrlError;
use crate::spool::{self, Backlog, Reader, Role, RoleLock, SpoolError, Watermark};
use crate::status::progress::{LiveLine, Progress};
use crate::status::prometheus::MetricsExporter;
use emitting::{Emitting, Prepared};
use receiving::Receiving;

/// How long a run that was asked to end may go on writing.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(25);
/// When it ends come what may: the reader of stdout does not read, or somebody keeps the spool locked.
const END_TIMEOUT: Duration = Duration::from_secs(30);
/// How long it may take, when the spool has failed, to answer whoever waits, to finish a line and to write a STATE.
const FAILURE_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration does not say where the spool is.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The spool can't be used, or has failed.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The webhook URLs can't be read.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The run can't begin where the state says.
    #[error(transparent)]
    Start(#[from] StartError),
    /// What is asked for can't be written.
    #[error(transparent)]
    OutputSpec(#[from] OutputSpecError),
    /// The messages can't be written.
    #[error(transparent)]
    Emit(#[from] EmitError),
    /// The run was asked to end, and does not get there.
    #[error(
        "the run did not end within {} seconds after it was asked to: nobody reads stdout, or another process keeps the \
         spool locked. What was not written stays in the spool",
        END_TIMEOUT.as_secs()
    )]
    Stuck,
    /// A thread can't be started.
    #[error("a thread can't be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// What a run is to do.
#[derive(Debug)]
pub struct Plan {
    /// The configuration.
    pub config: Config,
    /// What is written.
    pub shape: OutputSpec,
    /// The file that `--state` names.
    pub state: Option<PathBuf>,
    /// Whether what is written goes nowhere: then it never counts as stored.
    pub discarded: bool,
}

/// Where a run is reached: bound already, and there if somebody is to be there.
#[derive(Debug)]
pub struct Sockets {
    /// Where webhooks arrive, if there is a room for them.
    pub webhooks: Option<TcpListener>,
    /// Where health, readiness and metrics of that room are answered.
    pub admin: Option<TcpListener>,
}

/// What can end a run from outside.
pub struct Ends<S, G> {
    /// Ready when somebody asks the run to end.
    pub stop: S,
    /// Ready when nobody reads what it writes.
    pub reader_gone: G,
}

/// The roles that a run needs on its spool.
#[derive(Debug)]
pub struct Roles {
    listener: Option<RoleLock>,
    emitter: Option<RoleLock>,
}

impl Roles {
    /// Makes the spool at `path`, if there is none, and takes the roles of `rooms` on it.
    pub fn take(path: &Path, rooms: Components) -> Result<Self, RunError> {
        drop(spool::open(path)?);
        let take = |wanted: bool, role| wanted.then(|| RoleLock::take(role, path)).transpose();
        Ok(Roles {
            listener: take(rooms.listener, Role::Listener)?,
            emitter: take(rooms.emitter, Role::Emitter)?,
        })
    }

    fn rooms(&self) -> Components {
        Components { listener: self.listener.is_some(), emitter: self.emitter.is_some() }
    }
}

/// Runs the rooms that `roles` were taken for until something ends them. Messages go to `out`.
pub async fn run<S, G>(
    plan: Plan,
    roles: Roles,
    sockets: Sockets,
    out: impl std::io::Write + Send + 'static,
    line: &LiveLine,
    ends: Ends<S, G>,
) -> Result<(), RunError>
where
    S: Future<Output = ()>,
    G: Future<Output = ()>,
{
    let path = plan.config.spool_path()?;
    info!("tap-mailjet-webhooks {}, spool {}", env!("CARGO_PKG_VERSION"), path.display());
    let (counters, traffic) = (Counters::default(), Traffic::default());
    let watermark = Watermark::default();
    let (mut stop, mut reader_gone) = (std::pin::pin!(ends.stop), std::pin::pin!(ends.reader_gone));
    let time_over = std::pin::pin!(end_of(plan.config.max_runtime()));

    // Whatever can be wrong with spool, state and catalog is found before anybody is told that the tap listens. It may have
    // to wait for a lock or for a slow disk, and so must not keep a run that is asked to end.
    let plan = Arc::new(plan);
    let preparing = tokio::task::spawn_blocking({
        let (plan, path, counters) = (Arc::clone(&plan), path.clone(), counters.clone());
        let rooms = roles.rooms();
        move || {
            let emitter = rooms.emitter.then(|| Prepared::find(&plan, &path, out, counters)).transpose()?;
            Ok::<_, RunError>((emitter, Reader::open(&path)?))
        }
    });
    let (emitter, reader) = tokio::select! {
        biased;
        () = &mut reader_gone => return Err(EmitError::ReaderGone.into()),
        prepared = preparing => prepared.expect("preparing does not panic")?,
        () = &mut stop => {
            info!("stopped before the run had begun");
            return Ok(());
        }
        () = end_of(plan.config.max_runtime().map(|limit| limit.saturating_add(END_TIMEOUT))) => {
            return Err(RunError::Stuck);
        }
    };

    let config = &plan.config;
    let waiting = emitter.as_ref().map_or(Backlog::Exactly(0), |emitter| emitter.waiting);
    let receiving = if let (Some(listener), Some(role)) = (sockets.webhooks, &roles.listener) {
        Some(Receiving::start(config, &path, role, listener, watermark.clone(), traffic.clone())?)
    } else {
        watermark.end();
        None
    };
    let admin = match (sockets.admin, &receiving) {
        (Some(listener), Some(receiving)) => {
            let commits = receiving.handle.commits().clone();
            let figures =
                MetricsExporter::new(roles.rooms(), traffic.clone(), commits, counters.clone(), &path);
            Some(Admin::start(listener, receiving.readiness(traffic.clone()), figures)?)
        }
        _ => None,
    };
    let emitting = emitter
        .map(|emitter| Emitting::start(emitter, config.retention(), watermark, counters.clone()))
        .transpose()?;
    let progress = Progress::start(line, roles.rooms(), (counters, traffic.clone()), reader, waiting)?;
    let whole = supervise(config, receiving, emitting, &traffic, stop, time_over);
    let outcome = tokio::select! {
        biased;
        // At once: whatever is under way is dropped and not waited for.
        () = reader_gone => Err(EmitError::ReaderGone.into()),
        outcome = whole => outcome,
    };
    progress.finish(outcome.is_ok());
    drop(admin);
    if outcome.is_ok() {
        // Who looks only reads, and can't clean up: whoever closes a spool last, and may write, leaves all of it in one file.
        drop(spool::open(&path));
    }
    outcome
}

/// The end of a time that may have none.
async fn end_of(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}

/// Waits for whatever ends the run first, then ends the rooms in the order in which events pass through them.
async fn supervise(
    config: &Config,
    mut receiving: Option<Receiving>,
    mut emitting: Option<Emitting>,
    traffic: &Traffic,
    stop: impl Future<Output = ()>,
    time_over: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let control = emitting.as_ref().map(|emitting| Arc::clone(&emitting.control));
    let idle = async {
        match (&control, config.pace().idle_exit) {
            (Some(control), _) => control.idle.notified().await,
            (None, Some(limit)) => traffic.nothing_for(limit).await,
            (None, None) => std::future::pending().await,
        }
    };
    let first = tokio::select! {
        // A spool that has failed also ends the emitter, which must not hide why.
        biased;
        failure = failed(&mut receiving) => First::SpoolFailed(failure),
        ended = ended(&mut emitting) => First::EmitterEnded(ended),
        () = idle => First::Stop("idle_exit_seconds: nothing has arrived for so long, stopping"),
        () = time_over => First::TimeOver,
        () = stop => First::Stop(""),
    };
    let since = Instant::now();
    match first {
        First::SpoolFailed(error) => {
            let wind_up = async {
                // Whoever waits is told 503: the writer takes nothing any more.
                if let Some(receiving) = &mut receiving {
                    receiving.handle.close();
                    receiving.stop_serving().await;
                }
                if let Some(emitting) = &mut emitting {
                    emitting.control.cut_short_at(since);
                    let _ = emitting.ended().await;
                }
            };
            let _ = tokio::time::timeout(FAILURE_TIMEOUT, wind_up).await;
            return Err(error.into());
        }
        First::EmitterEnded(ended) => {
            tell(ended?);
            if let Some(emitting) = emitting
                && let Ok(trimmed) = tokio::time::timeout(END_TIMEOUT, emitting.confirmed.finish()).await
            {
                trimmed?;
            }
            return Ok(());
        }
        First::TimeOver => {
            info!("max_runtime_seconds: the time is over, stopping");
            if receiving.is_none() {
                // Nothing more comes in, and a scheduler has said how long a backlog may take.
                if let Some(emitting) = &emitting {
                    emitting.control.cut_short_at(since);
                }
            }
        }
        First::Stop(reason) => {
            if !reason.is_empty() {
                info!("{reason}");
            }
        }
    }
    if let Some(emitting) = &emitting {
        emitting.control.cut_short_at(since + DRAIN_TIMEOUT);
    }
    let wind_up = async {
        if let Some(receiving) = receiving {
            receiving.stop().await?;
        }
        if let Some(mut emitting) = emitting {
            tell(emitting.ended().await?);
            emitting.confirmed.finish().await?;
        } else {
            info!("stopped");
        }
        Ok(())
    };
    tokio::time::timeout(END_TIMEOUT.saturating_sub(since.elapsed()), wind_up)
        .await
        .unwrap_or(Err(RunError::Stuck))
}

/// What ends a run first.
enum First {
    SpoolFailed(SpoolError),
    EmitterEnded(Result<Ended, EmitError>),
    TimeOver,
    Stop(&'static str),
}

fn tell(ended: Ended) {
    match ended {
        Ended::Dry => info!("everything in the spool is written; stopped"),
        Ended::CutShort(events) => warn!("stopped with {events} events left in the spool for the next run"),
    }
}

async fn failed(receiving: &mut Option<Receiving>) -> SpoolError {
    match receiving {
        Some(receiving) => receiving.failed().await,
        None => std::future::pending().await,
    }
}

async fn ended(emitting: &mut Option<Emitting>) -> Result<Ended, EmitError> {
    match emitting {
        Some(emitting) => emitting.ended().await,
        None => std::future::pending().await,
    }
}
