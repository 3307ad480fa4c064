//! The receiving side: the listener, the writer behind it, and the active tokens.

use std::convert::Infallible;
use std::net::SocketAddr;

use futures_util::FutureExt;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use super::{RunError, or_never};
use crate::admin::Readiness;
use crate::config::Config;
use crate::listener::{self, ActiveTokens, Tls, Traffic};
use crate::os::open_files;
use crate::os::systemd::{self, NotifyState};
use crate::os::worker::Worker;
use crate::spool::{RoleLock, Spool, SpoolError, Writer, WriterHandle};
use crate::status::history;

pub(super) struct Receiving {
    writer: Writer,
    pub(super) handle: WriterHandle,
    /// Where webhooks arrive.
    pub(super) address: SocketAddr,
    serving: JoinHandle<()>,
    stop: Option<oneshot::Sender<()>>,
    tokens: ActiveTokens,
    max_connections: usize,
    /// Keeps the tokens up to date, unless they come from the configuration.
    follower: Option<Worker<SpoolError>>,
    /// Counts what is received over time.
    history: Worker<Infallible>,
    /// Keeps the certificate up to date, if the listener speaks TLS.
    _certificate_follower: Option<Worker<Infallible>>,
}

impl Receiving {
    pub(super) fn start(
        config: &Config,
        spool: &dyn Spool,
        role: &RoleLock,
        listener: TcpListener,
        traffic: Traffic,
    ) -> Result<Self, RunError> {
        let (tokens, follower) = tokens(config, spool)?;
        let mut setup = config.listener_setup(tokens.clone())?;
        let certificate_follower = setup.tls.as_ref().map(Tls::follow).transpose()?;
        let (handle, writer) = spool.start_writer(role, config.sequence_unit, config.limits())?;
        let address = listener
            .local_addr()
            .map_err(|source| RunError::LocalAddress { key: "listen_address", source })?;
        let (stop, stopped) = oneshot::channel();
        let stopped = stopped.map(drop);
        let max_connections = open_files::raise_limit(setup.limits.max_connections);
        setup.limits.max_connections = max_connections;
        let history = history::record(traffic.clone(), spool.impatient_registry()?)?;
        let serving = tokio::spawn(listener::serve(listener, setup, handle.clone(), traffic, stopped));
        info!("listening on {}://{address}", config.scheme());
        systemd::notify(NotifyState::Ready);
        Ok(Receiving {
            writer,
            handle,
            address,
            serving,
            stop: Some(stop),
            tokens,
            max_connections,
            follower,
            history,
            _certificate_follower: certificate_follower,
        })
    }

    /// The tokens that are admitted.
    pub(super) fn tokens(&self) -> ActiveTokens {
        self.tokens.clone()
    }

    pub(super) fn readiness(&self, traffic: Traffic) -> Readiness {
        Readiness::new(traffic, self.tokens.clone(), self.max_connections, self.handle.clone())
    }

    /// Waits until the spool has failed, under the writer or under the follower of the webhook URLs.
    pub(super) async fn failed(&mut self) -> SpoolError {
        let follower_failed = or_never(self.follower.as_mut().map(Worker::failed));
        tokio::select! {
            biased;
            // The writer is not closed yet, so it ends only by failing.
            Err(error) = self.writer.ended() => error,
            error = follower_failed => error,
        }
    }

    /// Accepts no more webhooks, answers those that are being read, and closes the writer.
    pub(super) async fn stop(mut self) -> Result<(), RunError> {
        self.stop_serving().await;
        self.handle.close();
        self.writer.ended().await?;
        let Ok(()) = self.history.finish().await;
        if let Some(follower) = self.follower {
            // A failure changes nothing: the last round only notes when each URL was last used.
            let _ = follower.finish().await;
        }
        Ok(())
    }

    /// Accepts no more webhooks, and answers those that are being read.
    pub(super) async fn stop_serving(&mut self) {
        if let Some(stop) = self.stop.take() {
            systemd::notify(NotifyState::Stopping);
            let _ = stop.send(());
            let _ = (&mut self.serving).await;
        }
    }
}

/// Returns the active tokens, and the worker that keeps them up to date if they are in the registry.
fn tokens(
    config: &Config,
    spool: &dyn Spool,
) -> Result<(ActiveTokens, Option<Worker<SpoolError>>), RunError> {
    if let Some(tokens) = config.webhook_tokens.configured() {
        let ignored = spool.registry_view()?.webhook_urls()?.len();
        if ignored > 0 {
            warn!("webhook_tokens is set: {ignored} webhook URLs created by `url new` are not accepted");
        }
        return Ok((ActiveTokens::from_config(tokens), None));
    }
    let (tokens, follower) =
        ActiveTokens::follow::<RunError>(spool.impatient_registry()?, spool.registry_lasts())?;
    if tokens.count() == 0 {
        warn!("there is no webhook URL yet: create one with `url new`; it works at once");
    }
    Ok((tokens, Some(follower)))
}
