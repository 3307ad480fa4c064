//! The accept loop. `warp::serve` sets no timers, has no bound on connections and no deadline for its end, so warp's
//! filters run behind a loop of our own.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_io_timeout::TimeoutStream;
use tracing::{debug, warn};

use super::connection_slots::{ConnectionSlots, Slot};
use super::route::{self, Connection, Route};
use super::{Guards, Tls, Traffic};
use crate::os::log_throttle::LogThrottle;
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
    let stop_timeout = guards.stop_timeout;
    let slots = ConnectionSlots::new(guards.max_connections);
    let (stopping, stopped) = watch::channel(());
    let server = Server::new(guards, spool, traffic.clone(), stopped);
    let graceful = GracefulShutdown::new();
    // Ends when this function does.
    let mut following = JoinSet::new();
    if let Some(tls) = &server.tls {
        following.spawn(tls.clone().follow());
    }
    let mut stop = std::pin::pin!(stop);
    let mut told = LogThrottle::default();
    loop {
        let accept = async {
            let accepted = listener.accept().await?;
            // In this order: while all places are taken, there is at most one connection more.
            Ok((accepted, slots.take().await))
        };
        let accepted = tokio::select! {
            biased;
            () = &mut stop => break,
            accepted = accept => accepted,
        };
        match accepted {
            Ok(((stream, peer), slot)) => server.start(stream, peer, slot, graceful.watcher()),
            Err(error) => pause_after(&error, &mut told).await,
        }
    }
    traffic.close();
    drop(listener);
    drop(stopping);
    if tokio::time::timeout(stop_timeout, graceful.shutdown()).await.is_err() {
        warn!("requests that did not finish in time were broken off; Mailjet repeats them");
    }
}

/// What every connection needs.
struct Server<S> {
    http: http1::Builder,
    tls: Option<Tls>,
    /// How long a handshake may take.
    handshake_timeout: Duration,
    /// Closed when the listener stops: what has not got as far as HTTP is broken off at once.
    stopped: watch::Receiver<()>,
    route: Arc<Route<S>>,
}

impl<S: Append> Server<S> {
    fn new(mut guards: Guards, spool: S, traffic: Traffic, stopped: watch::Receiver<()>) -> Self {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            // Who has said all and closes its side is answered all the same.
            .half_close(true)
            .header_read_timeout(guards.header_timeout)
            .max_buf_size(READ_BUFFER_BYTES);
        let (tls, handshake_timeout) = (guards.tls.take(), guards.header_timeout);
        Server { http, tls, handshake_timeout, stopped, route: Route::new(guards, spool, traffic) }
    }

    fn start(&self, stream: TcpStream, peer: SocketAddr, slot: Slot, watcher: Watcher) {
        // Answers are small and each is waited for.
        let _ = stream.set_nodelay(true);
        let route = Arc::clone(&self.route);
        let counted = route.count_connection();
        let connection = Arc::new(Connection { route, peer, slot, _counted: counted });
        let http = self.http.clone();
        match self.tls.clone() {
            None => drop(tokio::spawn(exchange(http, stream, connection, watcher))),
            Some(tls) => {
                let (limit, mut stopped) = (self.handshake_timeout, self.stopped.clone());
                tokio::spawn(async move {
                    let shaken = tokio::select! {
                        shaken = tokio::time::timeout(limit, tls.handshake(stream)) => shaken,
                        () = connection.slot.evicted() => return,
                        _ = stopped.changed() => return,
                    };
                    match shaken {
                        Ok(Ok(stream)) => exchange(http, stream, connection, watcher).await,
                        Ok(Err(error)) => debug!("a handshake failed: {error}"),
                        Err(_) => debug!("a handshake took too long"),
                    }
                });
            }
        }
    }
}

/// Answers the requests that come on a connection, until it ends or has to make room.
async fn exchange<S: Append>(
    http: http1::Builder,
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    connection: Arc<Connection<S>>,
    watcher: Watcher,
) {
    let service = crate::http::service(route::filter(Arc::clone(&connection)));
    let mut stream = TimeoutStream::new(stream);
    // Who asks and asks, and takes no answer, must not keep a connection from others.
    stream.set_write_timeout(Some(connection.route.write_timeout()));
    tokio::select! {
        biased;
        ended = watcher.watch(http.serve_connection(TokioIo::new(Box::pin(stream)), service)) => {
            if let Err(error) = ended {
                debug!("a connection ended early: {error}");
            }
        }
        () = connection.slot.evicted() => debug!("a connection that was idle made room"),
    }
}

/// One client that went away must not slow the others; a process without file descriptors must not spin.
async fn pause_after(error: &io::Error, told: &mut LogThrottle) {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    if !matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) {
        if let Some(suppressed) = told.allow() {
            warn!("a connection can't be accepted: {error}{suppressed}");
        }
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}
