//! The room that receives: the listener, the writer behind it, and the tokens that it takes.

use std::path::Path;

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use super::RunError;
use crate::admin::Readiness;
use crate::config::Config;
use crate::listener;
use crate::listener::Traffic;
use crate::listener::token::{ActiveTokens, UrlStore, Watch};
use crate::os::{clock, open_files, systemd};
use crate::spool::{RoleLock, SpoolError, Watermark, Writer, WriterHandle};

/// The listener, and the writer behind it.
pub(super) struct Receiving {
    writer: Writer,
    pub(super) handle: WriterHandle,
    serving: JoinHandle<()>,
    stop: Option<oneshot::Sender<()>>,
    tokens: ActiveTokens,
    max_connections: usize,
    watch: Option<Watch>,
}

impl Receiving {
    /// Starts to take webhooks from `listener` into the spool at `path`.
    pub(super) fn start(
        config: &Config,
        path: &Path,
        role: &RoleLock,
        listener: TcpListener,
        watermark: Watermark,
        traffic: Traffic,
    ) -> Result<Self, RunError> {
        let (tokens, watch) = tokens(config, path)?;
        let mut guards = config.guards(tokens.clone())?;
        let (handle, writer) =
            Writer::start(path, role, config.sequence_unit, config.limits(), watermark, clock::unix_millis)?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let stopped = async {
            let _ = stopped.await;
        };
        guards.max_connections = open_files::allow(guards.max_connections);
        let max_connections = guards.max_connections;
        let serving = tokio::spawn(listener::serve(listener, guards, handle.clone(), traffic, stopped));
        info!("listening on {}://{address}", config.scheme());
        systemd::is_ready();
        Ok(Receiving { writer, handle, serving, stop: Some(stop), tokens, max_connections, watch })
    }

    /// Whether webhooks are taken, by the facts that they are answered by.
    pub(super) fn readiness(&self, traffic: Traffic) -> Readiness {
        Readiness::new(traffic, self.tokens.clone(), self.max_connections, self.handle.clone())
    }

    /// Waits until the spool has failed, under the writer or under whoever follows the webhook URLs.
    pub(super) async fn failed(&mut self) -> SpoolError {
        let urls_failed = async {
            match &mut self.watch {
                Some(watch) => watch.failed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            // A writer that was not closed ends only by failing.
            Err(error) = self.writer.ended() => error,
            error = urls_failed => error,
        }
    }

    /// Takes no further webhook, answers those that are being read, and closes the spool.
    pub(super) async fn stop(mut self) -> Result<(), RunError> {
        self.stop_serving().await;
        self.handle.close();
        self.writer.ended().await?;
        if let Some(watch) = self.watch {
            watch.finish().await;
        }
        Ok(())
    }

    /// Takes no further webhook, and answers those that are being read.
    pub(super) async fn stop_serving(&mut self) {
        if let Some(stop) = self.stop.take() {
            systemd::is_stopping();
            let _ = stop.send(());
            let _ = (&mut self.serving).await;
        }
    }
}

fn tokens(config: &Config, path: &Path) -> Result<(ActiveTokens, Option<Watch>), RunError> {
    let store = UrlStore::open(path)?;
    if let Some(tokens) = config.webhook_tokens.given() {
        let unused = store.list()?.len();
        if unused > 0 {
            warn!("{unused} webhook URLs made by `url new` are not taken, since webhook_tokens is set");
        }
        return Ok((ActiveTokens::from_config(tokens), None));
    }
    let (tokens, watch) = ActiveTokens::watch(store)?;
    if tokens.count() == 0 {
        warn!("there is no webhook URL yet: make one with `url new`, it works at once");
    }
    Ok((tokens, Some(watch)))
}
