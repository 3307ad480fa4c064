//! What happens to a request: guards, body, split, append, answer.

use std::borrow::Cow;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Buf;
use futures_util::{Stream, StreamExt};
use tokio::time::timeout;
use warp::http::StatusCode;
use warp::http::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use warp::reply::Response;
use warp::{Filter, Rejection};

use super::body;
use super::connection_slots::Slot;
use super::guards::{Guards, RequestHead};
use super::refusal::Refusal;
use super::refusal_log::RefusalLog;
use super::split::{Split, split};
use super::traffic::{InProgress, Traffic};
use crate::os::clock::UnixMillis;
use crate::spool::{Append, Batch, Receipt};

/// How much of a refused body is still read, and for how long. Without this, the connection of a client that
/// is still sending would be reset before the client has read the answer.
const DISCARD_BYTES: u64 = 64 << 20;
const DISCARD_TIME: Duration = Duration::from_secs(5);

pub(super) struct Handler<S> {
    guards: Guards,
    body_timeout: Duration,
    spool: S,
    refusal_log: RefusalLog,
    traffic: Traffic,
}

/// A connection, as far as its requests need it.
pub(super) struct Connection<S> {
    pub(super) handler: Arc<Handler<S>>,
    pub(super) peer: SocketAddr,
    pub(super) slot: Slot,
    /// Counts the connection as open.
    pub(super) _open: InProgress,
}

/// Returns the filter that answers every request on a connection.
pub(super) fn filter<S: Append>(
    connection: Arc<Connection<S>>,
) -> impl Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static {
    warp::path::full()
        .and(warp::method())
        // Not parsed here: the answer to a client without a token must not depend on its headers.
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .then(move |path, method, headers, body| {
            let connection = Arc::clone(&connection);
            async move {
                let Connection { handler, peer, slot, .. } = connection.as_ref();
                let _busy = slot.mark_busy();
                let _in_progress = handler.traffic.request_started();
                handler.answer(RequestHead { peer: *peer, path, method, headers }, slot, body).await
            }
        })
        // None of these filters rejects a request.
        .recover(|_: Rejection| async { Ok::<_, Infallible>(refusal_response(&Refusal::NotFound)) })
        .unify()
}

impl<S: Append> Handler<S> {
    pub(super) fn new(guards: Guards, body_timeout: Duration, spool: S, traffic: Traffic) -> Self {
        Handler { guards, body_timeout, spool, refusal_log: RefusalLog::default(), traffic }
    }

    async fn answer(
        &self,
        head: RequestHead,
        slot: &Slot,
        mut body: impl Stream<Item = Result<impl Buf + Send + 'static, warp::Error>> + Send + Unpin + 'static,
    ) -> Response {
        match self.receive(&head, slot, &mut body).await {
            Ok((receipt, error)) => {
                if let Some(error) = &error {
                    self.refusal_log.log_rejected(receipt, error);
                }
                receipt_response(receipt, error.as_deref())
            }
            Err(refusal) => {
                // Only for a client that has shown that it knows a webhook URL.
                if !matches!(refusal, Refusal::NotFound | Refusal::WrongPath { .. }) {
                    discard(body);
                }
                self.refusal_log.log(&refusal);
                self.traffic.note_refused(&refusal);
                refusal_response(&refusal)
            }
        }
    }

    async fn receive(
        &self,
        head: &RequestHead,
        slot: &Slot,
        body: &mut (impl Stream<Item = Result<impl Buf, warp::Error>> + Send + Unpin),
    ) -> Result<(Receipt, Option<Cow<'static, str>>), Refusal> {
        self.guards.tokens.wait_until_known().await;
        let (token, claimed_length) = self.guards.admit(head)?;
        let reservation = body::reserve(claimed_length, &self.spool, slot).await?;
        let read = body::read(body, claimed_length, self.guards.max_body_bytes, reservation, slot);
        let read = timeout(self.body_timeout, read).await;
        let (body, mut reservation) = read.map_err(|_| Refusal::BodyLate)??;
        let received_at = UnixMillis::now();
        self.guards.tokens.note_use(token, received_at);
        let Split { text, items, event_counts, error } = split(&body, &mut reservation)?;
        let batch = Batch::new(text, items, received_at, reservation);
        let receipt = self.spool.append(batch).await.map_err(Refusal::Spool)?;
        self.traffic.note_stored(receipt, &event_counts);
        Ok((receipt, error))
    }
}

/// Reads the rest of a refused body in the background, and discards it.
fn discard(mut body: impl Stream<Item = Result<impl Buf + Send, warp::Error>> + Send + Unpin + 'static) {
    tokio::spawn(async move {
        let mut bytes_left = DISCARD_BYTES;
        let read = async {
            while let Some(Ok(chunk)) = body.next().await {
                match bytes_left.checked_sub(chunk.remaining() as u64) {
                    Some(fewer) => bytes_left = fewer,
                    None => break,
                }
            }
        };
        let _ = timeout(DISCARD_TIME, read).await;
    });
}

fn receipt_response(receipt: Receipt, error: Option<&str>) -> Response {
    let Receipt { accepted, rejected } = receipt;
    let rejected = error.map(|error| {
        let error = serde_json::to_string(error).expect("text is JSON");
        format!(", \"rejected\": {rejected}, \"error\": {error}")
    });
    let body = format!("{{\"accepted\": {accepted}{}}}", rejected.unwrap_or_default());
    json_response(StatusCode::OK, body)
}

fn refusal_response(refusal: &Refusal) -> Response {
    let message = serde_json::to_string(&refusal.to_string()).expect("text is JSON");
    let (status, ..) = refusal.classify();
    let mut response = json_response(status, format!("{{\"error\": {message}}}"));
    if let Some(seconds) = refusal.retry_after_seconds() {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    let header = match refusal {
        Refusal::NotPost => Some((ALLOW, "POST")),
        Refusal::NotAuthorized => Some((WWW_AUTHENTICATE, "Basic realm=\"webhooks\", charset=\"UTF-8\"")),
        _ => None,
    };
    if let Some((name, value)) = header {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn json_response(status: StatusCode, body: String) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
