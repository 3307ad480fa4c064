//! The components wired together: how a run starts, what ends it, and how it ends.
//!
//! | module | what it decides |
//! | --- | --- |
//! | this one | how a run starts |
//! | [`receiving`], [`emitting`] | how the components on either side of the spool are started and stopped |
//! | [`supervisor`] | what ends a run, and in which order its components stop |

mod emitting;
mod receiving;
mod supervisor;

use std::convert::Infallible;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tracing::info;

use crate::admin::Admin;
use crate::admin::access::sessions::Sessions;
use crate::admin::page::{Context, DISK_SLOTS};
use crate::config::{Config, ConfigError};
use crate::emitter::progress::EmitterProgress;
use crate::emitter::{EmitError, OutputSpec, OutputSpecError, StartError};
use crate::listener::Traffic;
use crate::mailjet::check::{CheckResult, CheckSetup, Checker};
use crate::os::systemd::{self, NotifyState};
use crate::os::thread::ThreadError;
use crate::os::worker::Worker;
use crate::spool::{self, Backlog, Role, RoleLock, Spool, SpoolError, SpoolView};
use crate::status::live_line::{LiveLine, ProgressReporter};
use crate::status::singer_metrics::SingerMetrics;
use crate::status::{Components, ListenerStatus, SharedSource, StatusSource};
use emitting::{Emitting, PreparedEmitter};
use receiving::Receiving;
use supervisor::Supervisor;

/// How long a run that was asked to end may take. After that it ends even if the reader of stdout does not
/// read, the disk or the database does not answer, or another process keeps the spool locked.
pub const END_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The message of each variant says what it is.
pub enum RunError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    OutputSpec(#[from] OutputSpecError),
    #[error(transparent)]
    Emit(#[from] EmitError),
    #[error(transparent)]
    Thread(#[from] ThreadError),
    #[error("config key \"{key}\": cannot read the address of its socket: {source}")]
    LocalAddress { key: &'static str, source: std::io::Error },
    #[error(
        "the run did not end within {} seconds after it was asked to: the reader of stdout does not read, \
         the disk or the database does not answer, or another process keeps the spool locked. What was not \
         written stays in the spool",
        END_TIMEOUT.as_secs()
    )]
    Stuck,
}

/// What a run should do.
#[derive(Debug)]
pub struct Plan {
    /// The configuration.
    pub config: Config,
    /// The streams and columns to write.
    pub output: OutputSpec,
    /// The file that `--state` names.
    pub state: Option<PathBuf>,
    /// Whether stdout is the null device. What is written there never counts as stored.
    pub stdout_is_null: bool,
}

/// The sockets of a run, already bound; `None` if nothing listens there.
#[derive(Debug)]
pub struct Sockets {
    /// Where webhooks arrive.
    pub webhooks: Option<TcpListener>,
    /// Where health, readiness and metrics are served.
    pub admin: Option<TcpListener>,
}

impl Sockets {
    /// No sockets.
    pub fn none() -> Self {
        Sockets { webhooks: None, admin: None }
    }
}

/// What ends a run from outside.
pub struct StopCauses<Stop, ReaderGone> {
    /// Completes when the run is asked to end.
    pub stop: Stop,
    /// Completes when the reader of stdout has gone.
    pub reader_gone: ReaderGone,
}

/// A spool, and the roles that a run has taken on it.
#[derive(Debug)]
pub struct Roles {
    spool: Arc<dyn Spool>,
    components: Components,
    listener: Option<RoleLock>,
    emitter: Option<RoleLock>,
}

impl Roles {
    /// Opens the spool of `config`, creating it if necessary, and takes the roles that `components` need.
    pub fn take(config: &Config, components: Components) -> Result<Self, RunError> {
        let spool = spool::open(&config.spool_location()?)?;
        let take = |is_needed: bool, role| is_needed.then(|| spool.take_role(role)).transpose();
        let listener = take(components.has_listener(), Role::Listener)?;
        let emitter = take(components.has_emitter(), Role::Emitter)?;
        Ok(Roles { spool, components, listener, emitter })
    }
}

/// Runs the components that `roles` were taken for until something ends them. Messages go to `out`.
pub async fn run(
    plan: Plan,
    roles: Roles,
    sockets: Sockets,
    out: impl Write + Send + 'static,
    line: &LiveLine,
    stop_causes: StopCauses<impl Future<Output = ()>, impl Future<Output = ()>>,
) -> Result<(), RunError> {
    info!("tap-mailjet-webhooks {}, spool {}", env!("CARGO_PKG_VERSION"), roles.spool);
    let max_runtime = plan.config.max_runtime();
    let (mut stop, mut reader_gone) =
        (std::pin::pin!(stop_causes.stop), std::pin::pin!(stop_causes.reader_gone));
    let time_is_up = std::pin::pin!(or_never(max_runtime.map(tokio::time::sleep)));

    // Everything that can be wrong with the spool, the state and the catalog is found before the tap says
    // that it listens. This may wait for a lock or a slow disk, and must not delay a run that is asked to
    // stop.
    let emitter_progress = EmitterProgress::default();
    let plan = Arc::new(plan);
    let preparing = tokio::task::spawn_blocking({
        let (plan, spool) = (Arc::clone(&plan), Arc::clone(&roles.spool));
        let emitter_progress = emitter_progress.clone();
        let is_emitter = roles.emitter.is_some();
        move || is_emitter.then(|| PreparedEmitter::prepare(&plan, spool, out, emitter_progress)).transpose()
    });
    let emitter = tokio::select! {
        biased;
        () = &mut reader_gone => return Err(EmitError::ReaderGone.into()),
        prepared = preparing => prepared.expect("preparing does not panic")?,
        () = &mut stop => {
            info!("stopped before the run had started");
            return Ok(());
        }
        () = or_never(max_runtime.map(|limit| tokio::time::sleep(limit.saturating_add(END_TIMEOUT)))) => {
            return Err(RunError::Stuck);
        }
    };

    let parts = Parts::start(&plan.config, &roles, sockets, emitter, &emitter_progress, line)?;
    let supervised = parts.supervisor.supervise(&plan.config, stop, time_is_up);
    let outcome = tokio::select! {
        biased;
        // The run ends at once: work in progress is dropped, not waited for.
        () = reader_gone => Err(EmitError::ReaderGone.into()),
        outcome = supervised => outcome,
    };
    parts.progress.finish(&outcome);
    drop(parts.admin);
    if outcome.is_ok() {
        roles.spool.tidy_up();
    }
    outcome
}

struct Parts {
    supervisor: Supervisor,
    admin: Option<Admin>,
    progress: ProgressReporter,
    /// Checks what is registered with Mailjet, until it is dropped. Nothing waits for it.
    _mailjet_check: Option<Worker<Infallible>>,
}

impl Parts {
    fn start(
        config: &Config,
        roles: &Roles,
        sockets: Sockets,
        emitter: Option<PreparedEmitter<impl Write + Send + 'static>>,
        emitter_progress: &EmitterProgress,
        line: &LiveLine,
    ) -> Result<Self, RunError> {
        let (spool, components) = (&roles.spool, roles.components);
        let backlog = emitter.as_ref().map_or(Backlog::Exactly(0), |emitter| emitter.backlog);
        let traffic = Traffic::default();
        let check_setup = if components.has_listener() { mailjet_check(config)? } else { None };
        let receiving = if let (Some(listener), Some(role)) = (sockets.webhooks, &roles.listener) {
            Some(Receiving::start(config, &**spool, role, listener, traffic.clone())?)
        } else {
            systemd::notify(NotifyState::Ready);
            None
        };
        let follower = if components.ends_when_empty() {
            // Nothing more will come.
            spool.watermark().close();
            None
        } else if components.has_emitter() {
            spool.follow_commits(components.has_listener())?
        } else {
            None
        };
        let registration = CheckResult::default();
        let new_checker =
            |setup| Arc::new(Checker::new(setup, Arc::<dyn Spool>::clone(spool), registration.clone()));
        let checker = check_setup.map(new_checker);
        let start_check = |(checker, interval): (&Arc<Checker>, _)| Arc::clone(checker).start(interval);
        let mailjet_check =
            checker.as_ref().zip(config.mailjet_check_interval()).map(start_check).transpose()?;
        let source = || {
            let listener = receiving.as_ref().map(|receiving| ListenerStatus {
                traffic: traffic.clone(),
                commits: receiving.handle.commits.clone(),
                registration: registration.clone(),
            });
            let spool: Arc<dyn SpoolView> = Arc::<dyn Spool>::clone(spool);
            StatusSource::new(spool, listener, components.has_emitter().then(|| emitter_progress.clone()))
        };
        let admin = match (sockets.admin, &receiving) {
            (Some(listener), Some(receiving)) => {
                let readiness = receiving.readiness(traffic.clone());
                let context = Context {
                    config: config.page()?,
                    sessions: Sessions::new(config.admin_password.clone()),
                    spool: Arc::clone(spool),
                    source: SharedSource::new(source()),
                    traffic: traffic.clone(),
                    tokens: receiving.tokens(),
                    listen_address: receiving.address,
                    has_emitter: components.has_emitter(),
                    disk_slots: Arc::new(Semaphore::new(DISK_SLOTS)),
                    registration: registration.clone(),
                    checker,
                };
                let hosts = config.admin_hosts.clone();
                let started =
                    Admin::start(listener, readiness, hosts, context, std::io::stderr().is_terminal());
                Some(started.map_err(|source| RunError::LocalAddress { key: "admin_address", source })?)
            }
            _ => None,
        };
        let start = |emitter| {
            let watermark = spool.watermark().clone();
            Emitting::start(emitter, config.retention(), watermark, emitter_progress.clone())
        };
        let emitting = emitter.map(start).transpose()?;
        let metrics = SingerMetrics::start(components.job_type(), emitter_progress.clone());
        let progress = ProgressReporter::start(line, components, source(), backlog, metrics)?;
        let watermark = spool.watermark().clone();
        let supervisor = Supervisor { receiving, emitting, traffic, follower, watermark };
        Ok(Parts { supervisor, admin, progress, _mailjet_check: mailjet_check })
    }
}

/// Returns how to check what is registered with Mailjet; `None` without keys.
fn mailjet_check(config: &Config) -> Result<Option<CheckSetup>, ConfigError> {
    let Some(access) = config.mailjet_access()? else { return Ok(None) };
    Ok(Some(CheckSetup {
        access,
        wanted: config.wanted_registration()?,
        configured: config.webhook_tokens.configured().map(<[_]>::to_vec),
    }))
}

/// Waits for `future`; forever if there is none.
async fn or_never<F: Future>(future: Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}
