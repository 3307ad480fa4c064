//! The connections of the admin address: few, short, and separate from those for webhooks.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::debug;
use warp::Filter;
use warp::reply::Response;

use crate::http;

/// The most connections at a time; others wait. A metrics scraper and a health check need one each.
const MAX_CONNECTIONS: usize = 16;
/// How long a request's header may take, and how long a connection may idle.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may live. This disconnects clients that do not read their answers.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);
/// The size of a connection's read buffer, which also limits the size of a header.
const READ_BUFFER_BYTES: usize = 16 << 10;
/// How long to wait after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `filter` until dropped; the connections end with it.
pub(super) async fn serve(
    listener: TcpListener,
    filter: impl Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static,
) {
    let service = http::service(filter);
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(READ_BUFFER_BYTES);
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut open = JoinSet::new();
    loop {
        let permit = Arc::clone(&connections).acquire_owned().await;
        while open.try_join_next().is_some() {}
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                debug!("an admin connection cannot be accepted: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let connection = server.serve_connection(TokioIo::new(stream), service.clone());
        open.spawn(async move {
            let _permit = permit;
            if !matches!(timeout(CONNECTION_TIMEOUT, connection).await, Ok(Ok(()))) {
                debug!("an admin connection ended early");
            }
        });
    }
}
