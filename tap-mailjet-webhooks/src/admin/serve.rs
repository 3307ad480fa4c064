//! The connections of the admin address: few, short, and separate from those for webhooks.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::debug;
use warp::Filter;
use warp::reply::Response;

use crate::http;
use crate::os::log_throttle::LogThrottle;

/// The most connections at a time; others wait. A metrics scraper and a health check need one each.
const MAX_CONNECTIONS: usize = 16;
/// How long a request's header may take, and how long a connection may idle.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may live. This disconnects clients that do not read their answers.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);
/// The size of a connection's read buffer, which also limits the size of a header.
const READ_BUFFER_BYTES: usize = 16 << 10;

/// Serves `filter` until dropped; the connections end with it.
pub(super) async fn serve(
    listener: TcpListener,
    filter: impl Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static,
) {
    let service = http::service(filter);
    let server = http::server(HEADER_TIMEOUT, READ_BUFFER_BYTES);
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut log_throttle = LogThrottle::default();
    let mut open = JoinSet::new();
    loop {
        let slot = Arc::clone(&slots).acquire_owned().await;
        while open.try_join_next().is_some() {}
        let (stream, _) = http::accept(&listener, &mut log_throttle).await;
        let connection = server.serve_connection(TokioIo::new(stream), service.clone());
        open.spawn(async move {
            let _slot = slot;
            if !matches!(timeout(CONNECTION_TIMEOUT, connection).await, Ok(Ok(()))) {
                debug!("an admin connection ended early");
            }
        });
    }
}
