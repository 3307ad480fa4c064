//! The one route: a webhook becomes a batch, and the receipt an answer.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt};
use tokio::time::{Duration, timeout};
use warp::http::header::{
    ALLOW, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER, TRANSFER_ENCODING,
    WWW_AUTHENTICATE,
};
use warp::http::{HeaderMap, Method, StatusCode};
use warp::path::FullPath;
use warp::reply::Response;
use warp::{Filter, Rejection};

use super::body::{self, BodyLimits};
use super::connection_slots::Slot;
use super::event_type::Tally;
use super::guards::token;
use super::refusal::Refusal;
use super::refusal_log::RefusalLog;
use super::split::{self, SplitError};
use super::traffic::Counted;
use super::{Guards, Receipt, Traffic};
use crate::os::clock::UnixMillis;
use crate::spool::{Append, Batch, ItemKind, Items, REJECTED_BODY_BYTES};

/// How much of a refused body is still read, and for how long: a client that is still sending would otherwise find its
/// connection reset and never see the answer.
const LINGER_BYTES: u64 = 64 << 20;
const LINGER_TIME: Duration = Duration::from_secs(5);

/// What every request is answered by.
pub(super) struct Route<S> {
    guards: Guards,
    spool: S,
    log: RefusalLog,
    traffic: Traffic,
}

impl<S: Append> Route<S> {
    pub(super) fn new(guards: Guards, spool: S, traffic: Traffic) -> Arc<Self> {
        Arc::new(Route { guards, spool, log: RefusalLog::default(), traffic })
    }

    /// Counts a connection as open for as long as what is returned lives.
    pub(super) fn count_connection(&self) -> Counted {
        self.traffic.connection()
    }

    /// How long a client may take no answer.
    pub(super) fn write_timeout(&self) -> Duration {
        self.guards.header_timeout
    }
}

/// A connection, as far as its requests need to know.
pub(super) struct Connection<S> {
    pub(super) route: Arc<Route<S>>,
    /// Who is at the other end.
    pub(super) peer: SocketAddr,
    pub(super) slot: Slot,
    /// Counts it as open.
    pub(super) _counted: Counted,
}

/// The filter that answers every request on a connection.
pub(super) fn filter<S: Append>(
    connection: Arc<Connection<S>>,
) -> impl Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static {
    warp::path::full()
        .and(warp::method())
        // As they came: which headers matter, and whether they can be read, is no business of a stranger's.
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .then(move |path, method, headers, body| {
            let connection = Arc::clone(&connection);
            async move {
                let _busy = (connection.slot.mark_busy(), connection.route.traffic.request());
                connection.route.answer(connection.peer, path, method, headers, body).await
            }
        })
        // None of these filters rejects a request.
        .recover(|_: Rejection| async { Ok::<_, Infallible>(refuse(&Refusal::NotFound)) })
        .unify()
}

impl<S: Append> Route<S> {
    async fn answer(
        &self,
        peer: SocketAddr,
        path: FullPath,
        method: Method,
        headers: HeaderMap,
        body: impl Stream<Item = Result<impl Buf + Send + 'static, warp::Error>> + Send + Unpin + 'static,
    ) -> Response {
        let mut body = body;
        match self.receive(peer, &path, &method, &headers, &mut body).await {
            Ok(receipt) => {
                if receipt.rejected > 0 {
                    self.log.tell_rejected(receipt);
                }
                accept(receipt)
            }
            Err(refusal) => {
                if !refusal.is_to_a_stranger() {
                    linger(body);
                }
                self.log.tell(&refusal);
                self.traffic.refused(&refusal);
                refuse(&refusal)
            }
        }
    }

    async fn receive(
        &self,
        peer: SocketAddr,
        path: &FullPath,
        method: &Method,
        headers: &HeaderMap,
        body: &mut (impl Stream<Item = Result<impl Buf, warp::Error>> + Send + Unpin),
    ) -> Result<Receipt, Refusal> {
        let token = path.as_str().strip_prefix(token::PATH).ok_or(Refusal::NotFound)?;
        let admitted = self.guards.tokens.admit(token).ok_or(Refusal::NotFound)?;
        if let Some(addresses) = &self.guards.addresses {
            addresses.check(peer, headers).map_err(|client| Refusal::AddressNotAllowed { client })?;
        }
        if self.guards.credentials.as_ref().is_some_and(|credentials| !credentials.admit(headers)) {
            return Err(Refusal::NotAuthorized);
        }
        if method != Method::POST {
            return Err(Refusal::NotPost);
        }
        let is_encoded = |coding: &HeaderValue| {
            let coding = coding.as_bytes().trim_ascii();
            !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity")
        };
        if headers.get_all(CONTENT_ENCODING).iter().any(is_encoded) {
            return Err(Refusal::BodyEncoded);
        }
        // Any other transfer coding is either an encoding or a way to disagree with a proxy about where the body ends.
        let mut transfer_codings = headers.get_all(TRANSFER_ENCODING).iter();
        let is_chunked = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked");
        if !transfer_codings.next().is_none_or(is_chunked) || transfer_codings.next().is_some() {
            return Err(Refusal::BodyEncoded);
        }
        let length = match headers.get(CONTENT_LENGTH) {
            None => None,
            Some(length) => {
                let number = length.to_str().ok().and_then(|digits| digits.parse().ok());
                Some(number.ok_or(Refusal::BadHeader)?)
            }
        };
        let limits = BodyLimits { max_bytes: self.guards.max_body_bytes, timeout: self.guards.body_timeout };
        let (text, mut reservation) = body::read(body, length, limits, &self.spool).await?;
        let received_at = UnixMillis::now();
        self.guards.tokens.note_use(&admitted, received_at);
        match split::split(&text, &mut reservation) {
            Ok(items) => {
                let tally = Tally::of(&text, &items);
                let batch = Batch::new(text, items, received_at, reservation);
                let receipt = self.spool.append(batch).await.map_err(Refusal::Spool)?;
                self.traffic.accepted(receipt, &tally);
                Ok(receipt)
            }
            Err(SplitError::AppendError(refused)) => Err(Refusal::Spool(refused)),
            Err(SplitError::NotEvents(reason)) => {
                let kept = Bytes::copy_from_slice(&text[..text.len().min(REJECTED_BODY_BYTES)]);
                let mut items = Items::new(reason.clone());
                items.push(0..kept.len(), ItemKind::Rejected, &mut reservation).map_err(Refusal::Spool)?;
                let batch = Batch::new(kept, items, received_at, reservation);
                let receipt = self.spool.append(batch).await.map_err(Refusal::Spool)?;
                self.traffic.kept(receipt);
                Err(Refusal::NotEvents(reason))
            }
        }
    }
}

/// Goes on reading a body that was refused, and throws it away.
fn linger(mut body: impl Stream<Item = Result<impl Buf + Send, warp::Error>> + Send + Unpin + 'static) {
    tokio::spawn(async move {
        let mut left = LINGER_BYTES;
        let discard = async {
            while let Some(Ok(chunk)) = body.next().await {
                match left.checked_sub(chunk.remaining() as u64) {
                    Some(less) => left = less,
                    None => break,
                }
            }
        };
        let _ = timeout(LINGER_TIME, discard).await;
    });
}

fn accept(receipt: Receipt) -> Response {
    let Receipt { accepted, rejected } = receipt;
    if rejected == 0 {
        json(StatusCode::OK, format!("{{\"accepted\": {accepted}}}"))
    } else {
        json(StatusCode::OK, format!("{{\"accepted\": {accepted}, \"rejected\": {rejected}}}"))
    }
}

fn refuse(refusal: &Refusal) -> Response {
    let error = serde_json::to_string(&refusal.to_string()).expect("text is JSON");
    let mut response = json(refusal.status(), format!("{{\"error\": {error}}}"));
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

fn json(status: StatusCode, body: String) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
