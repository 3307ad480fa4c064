//! The accept loop. `warp::serve` sets no timers, has no bound on connections and no deadline for its end, so warp's
//! filters run behind a loop of our own.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tracing::{debug, warn};

use super::{Guards, Traffic, route};
use crate::logging::Sparing;
use crate::spool::Append;

/// What a connection may hold in its read buffer: also the bound on the size of a header.
const READ_BUFFER_BYTES: usize = 64 << 10;
/// How long to wait when the process has no file descriptors left for a new connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Takes webhooks from `listener` into `spool` until `stop` is ready; then takes no further connection, lets the
/// requests in flight finish, and returns. What has not finished after [`Guards::stop_timeout`] is broken off
/// unanswered. What comes and goes is counted in `traffic`.
pub async fn serve<S: Append>(
    listener: TcpListener,
    guards: Guards,
    spool: S,
    traffic: Traffic,
    stop: impl Future<Output = ()>,
) {
    let service = TowerToHyperService::new(warp::service(route::filter(&guards, spool, traffic.clone())));
    let mut server = http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(guards.header_timeout)
        .max_buf_size(READ_BUFFER_BYTES);
    let connections = Arc::new(Semaphore::new(guards.max_connections));
    let graceful = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    let mut told = Sparing::default();
    loop {
        let accept = async {
            let permit = Arc::clone(&connections).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            biased;
            () = &mut stop => break,
            accepted = accept => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                pause_after(&error, &mut told).await;
                continue;
            }
        };
        let connected = traffic.connection();
        // Answers are small and each is waited for.
        let _ = stream.set_nodelay(true);
        let connection = graceful.watch(server.serve_connection(TokioIo::new(stream), service.clone()));
        tokio::spawn(async move {
            let _held = (permit, connected);
            if let Err(error) = connection.await {
                debug!("a connection ended early: {error}");
            }
        });
    }
    traffic.close();
    drop(listener);
    if tokio::time::timeout(guards.stop_timeout, graceful.shutdown()).await.is_err() {
        warn!("requests that did not finish in time were broken off; Mailjet repeats them");
    }
}

/// One client that went away must not slow the others; a process without file descriptors must not spin.
async fn pause_after(error: &io::Error, told: &mut Sparing) {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    if !matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) {
        if let Some(untold) = told.due() {
            warn!("a connection can't be accepted: {error}{untold}");
        }
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}
