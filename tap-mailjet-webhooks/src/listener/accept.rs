//! The accept loop, and what happens on a connection.
//!
//! `warp::serve` sets no timeouts, does not limit the number of connections and has no deadline for stopping.
//! So warp's filters run behind a loop of our own.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_io_timeout::TimeoutStream;
use tracing::{debug, warn};

use super::connection_slots::{ConnectionSlots, Slot};
use super::foreign_protocol::{FirstBytes, ForeignProtocolLog, Noting};
use super::handler::{self, Connection, Handler};
use super::{ConnectionLimits, Setup, Tls, Traffic};
use crate::http;
use crate::os::log_throttle::LogThrottle;
use crate::spool::Append;

/// The size of a connection's read buffer, which also limits the size of a header.
const READ_BUFFER_BYTES: usize = 64 << 10;

/// Receives webhooks from `listener` into `spool` until `stop` is ready, and counts them in `traffic`.
///
/// Then it accepts no more connections, lets the requests in flight finish, and returns. Requests that take
/// longer than [`ConnectionLimits::stop_timeout`] are cut off without an answer.
pub async fn serve<S: Append>(
    listener: TcpListener,
    setup: Setup,
    spool: S,
    traffic: Traffic,
    stop: impl Future<Output = ()>,
) {
    let mut slots = ConnectionSlots::new(setup.limits.max_connections);
    let stop_timeout = setup.limits.stop_timeout;
    let (stopping, stopped) = watch::channel(());
    let graceful = GracefulShutdown::new();
    let server = Server::new(setup, spool, traffic.clone(), stopped);
    let mut stop = std::pin::pin!(stop);
    let mut log_throttle = LogThrottle::default();
    loop {
        let next = async {
            let (stream, peer) = http::accept(&listener, &mut log_throttle).await;
            // In this order, at most one open connection has no slot.
            (stream, peer, slots.take(peer.ip()).await)
        };
        tokio::select! {
            biased;
            () = &mut stop => break,
            (stream, peer, slot) = next => server.start(stream, peer, slot, graceful.watcher()),
        }
    }
    traffic.close();
    drop(listener);
    drop(stopping);
    if timeout(stop_timeout, graceful.shutdown()).await.is_err() {
        warn!("requests that did not finish in time were cut off; Mailjet will repeat them");
    }
}

/// What every connection needs.
struct Server<S> {
    http: http1::Builder,
    tls: Option<Tls>,
    limits: ConnectionLimits,
    /// Closed when the listener stops, which cuts off connections that are still in their handshake.
    stopped: watch::Receiver<()>,
    handler: Arc<Handler<S>>,
    traffic: Traffic,
    foreign: Arc<ForeignProtocolLog>,
}

impl<S: Append> Server<S> {
    fn new(setup: Setup, spool: S, traffic: Traffic, stopped: watch::Receiver<()>) -> Self {
        let Setup { guards, limits, tls } = setup;
        let mut http = http::server(limits.header_timeout, READ_BUFFER_BYTES);
        // A client that closes its side after its request still gets its answer.
        http.half_close(true);
        let handler = Arc::new(Handler::new(guards, limits.body_timeout, spool, traffic.clone()));
        Server { http, tls, limits, stopped, handler, traffic, foreign: Arc::default() }
    }

    fn start(&self, stream: TcpStream, peer: SocketAddr, slot: Slot, watcher: Watcher) {
        // The client waits for each answer, so it is sent at once and not held back to fill a packet.
        let _ = stream.set_nodelay(true);
        let handler = Arc::clone(&self.handler);
        let connection = Connection { handler, peer, slot, _open: self.traffic.connection_opened() };
        let (http, limits) = (self.http.clone(), self.limits);
        let (first, foreign) = (FirstBytes::default(), Arc::clone(&self.foreign));
        let stream = Noting::new(stream, first.clone());
        match self.tls.clone() {
            None => drop(tokio::spawn(async move {
                if serve_requests(http, stream, connection, limits, watcher).await.is_err() {
                    foreign.log(&first, false);
                }
            })),
            Some(tls) => {
                let mut stopped = self.stopped.clone();
                tokio::spawn(async move {
                    let handshake = tokio::select! {
                        handshake = timeout(limits.header_timeout, tls.handshake(stream)) => handshake,
                        () = connection.slot.evicted() => return,
                        _ = stopped.changed() => return,
                    };
                    match handshake {
                        Ok(Ok(stream)) => {
                            let _ = serve_requests(http, stream, connection, limits, watcher).await;
                        }
                        Ok(Err(error)) => {
                            debug!("a TLS handshake failed: {error}");
                            foreign.log(&first, true);
                        }
                        Err(_) => debug!("a TLS handshake took too long"),
                    }
                });
            }
        }
    }
}

/// Answers the requests on a connection until it ends or has to make room for another. Fails if the client
/// cannot be understood, or goes away early.
async fn serve_requests<S: Append>(
    http: http1::Builder,
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    connection: Connection<S>,
    limits: ConnectionLimits,
    watcher: Watcher,
) -> Result<(), hyper::Error> {
    let connection = Arc::new(connection);
    let service = http::service(handler::filter(Arc::clone(&connection)));
    let mut stream = TimeoutStream::new(stream);
    // A client that keeps sending requests and never reads an answer must not hold its connection forever.
    stream.set_write_timeout(Some(limits.header_timeout));
    tokio::select! {
        biased;
        ended = watcher.watch(http.serve_connection(TokioIo::new(Box::pin(stream)), service)) => {
            if let Err(error) = &ended {
                debug!("a connection ended early: {error}");
            }
            ended
        }
        () = connection.slot.evicted() => {
            debug!("an idle connection was closed to make room for a new one");
            Ok(())
        }
    }
}
