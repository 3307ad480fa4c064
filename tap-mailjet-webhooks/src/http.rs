//! What the two HTTP servers share: the one for webhooks, and the one for the admin address.
//!
//! Both run warp's filters on hyper's connections, behind an accept loop of their own.

use std::convert::Infallible;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioTimer;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tracing::warn;
use warp::Filter;
use warp::http::Uri;
use warp::reply::Response;

use crate::os::log_throttle::LogThrottle;

/// How long to wait before the next attempt when a connection cannot be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Returns the address by which a program on this machine reaches a socket that is bound to `address`.
pub(crate) fn from_this_machine(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Accepts the next connection.
///
/// If one client has gone away, the next gets its turn at once. After any other error, such as a process
/// without free file descriptors, there is a pause before the next attempt, so that the loop does not spin.
pub(crate) async fn accept(listener: &TcpListener, throttle: &mut LogThrottle) -> (TcpStream, SocketAddr) {
    use ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) if matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) => {}
            Err(error) => {
                if let Some(suppressed) = throttle.allow() {
                    warn!("cannot accept a connection: {error}{suppressed}");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Returns a server that closes a connection whose next header takes longer than `header_timeout` to arrive,
/// and answers 431 to a header that does not fit into `read_buffer_bytes`.
pub(crate) fn server(header_timeout: Duration, read_buffer_bytes: usize) -> http1::Builder {
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(header_timeout).max_buf_size(read_buffer_bytes);
    server
}

/// Returns a service that answers every request with `filter`.
pub(crate) fn service(
    filter: impl Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static,
) -> impl Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send> + Clone {
    let filter = TowerToHyperService::new(warp::service(filter));
    service_fn(move |mut request: Request<Incoming>| {
        // A CONNECT request has no path, and warp 0.4.3 panics when asked for it.
        if request.uri().path_and_query().is_none() {
            *request.uri_mut() = Uri::from_static("/");
        }
        filter.call(request)
    })
}
