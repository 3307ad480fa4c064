//! The one route: a webhook becomes a batch, and the receipt an answer.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt};
use tokio::time::{Duration, timeout};
use warp::http::header::{ALLOW, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use warp::http::{HeaderMap, Method, StatusCode};
use warp::path::FullPath;
use warp::reply::Response;
use warp::{Filter, Rejection};

use super::body::{self, BodyLimits};
use super::event_type::Tally;
use super::payload::{self, Unsplit};
use super::refusal::Refusal;
use super::refusal_log::RefusalLog;
use super::{Guards, Receipt, Traffic};
use crate::spool::{Append, Batch, Items, REJECTED_BODY_BYTES};
use crate::{clock, webhook_url};

/// How much of a refused body is still read, and for how long: a client that is still sending would otherwise find its
/// connection reset and never see the answer.
const LINGER_BYTES: u64 = 64 << 20;
const LINGER_TIME: Duration = Duration::from_secs(5);

/// The filter that answers every request.
pub(super) fn filter<S: Append>(
    guards: &Guards,
    spool: S,
    traffic: Traffic,
) -> impl Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static {
    let webhook = Webhook {
        spool,
        tokens: guards.tokens.clone(),
        limits: BodyLimits { max_bytes: guards.max_body_bytes, timeout: guards.body_timeout },
        log: Arc::new(RefusalLog::default()),
        traffic,
    };
    warp::path::full()
        .and(warp::method())
        // As they came: which headers matter, and whether they can be read, is no business of a stranger's.
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .then(move |path, method, headers, body| {
            let webhook = webhook.clone();
            async move { webhook.answer(path, method, headers, body).await }
        })
        // None of these filters rejects a request.
        .recover(|_: Rejection| async { Ok::<_, Infallible>(refuse(&Refusal::NotFound)) })
        .unify()
}

#[derive(Clone)]
struct Webhook<S> {
    spool: S,
    tokens: webhook_url::ActiveTokens,
    limits: BodyLimits,
    log: Arc<RefusalLog>,
    traffic: Traffic,
}

impl<S: Append> Webhook<S> {
    async fn answer(
        self,
        path: FullPath,
        method: Method,
        headers: HeaderMap,
        body: impl Stream<Item = Result<impl Buf + Send + 'static, warp::Error>> + Send + Unpin + 'static,
    ) -> Response {
        let mut body = body;
        match self.receive(&path, &method, &headers, &mut body).await {
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
        path: &FullPath,
        method: &Method,
        headers: &HeaderMap,
        body: &mut (impl Stream<Item = Result<impl Buf, warp::Error>> + Send + Unpin),
    ) -> Result<Receipt, Refusal> {
        let token = path.as_str().strip_prefix(webhook_url::PATH).ok_or(Refusal::NotFound)?;
        if !self.tokens.admit(token, clock::unix_millis()) {
            return Err(Refusal::NotFound);
        }
        if method != Method::POST {
            return Err(Refusal::NotPost);
        }
        let is_encoded =
            |coding: &HeaderValue| !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity");
        if headers.get_all(CONTENT_ENCODING).iter().any(is_encoded) {
            return Err(Refusal::BodyEncoded);
        }
        let length = match headers.get(CONTENT_LENGTH) {
            None => None,
            Some(length) => {
                let number = length.to_str().ok().and_then(|digits| digits.parse().ok());
                Some(number.ok_or(Refusal::BadHeader)?)
            }
        };
        let (text, mut reservation) = body::read(body, length, self.limits, &self.spool).await?;
        let received_at = clock::unix_millis();
        match payload::split(&text, &mut reservation) {
            Ok(items) => {
                let tally = Tally::of(&text, &items);
                let batch = Batch::new(text, items, received_at, reservation);
                let receipt = self.spool.append(batch).await.map_err(Refusal::Spool)?;
                self.traffic.accepted(receipt, &tally);
                Ok(receipt)
            }
            Err(Unsplit::Refused(refused)) => Err(Refusal::Spool(refused)),
            Err(Unsplit::NotEvents(reason)) => {
                let kept = Bytes::copy_from_slice(&text[..text.len().min(REJECTED_BODY_BYTES)]);
                let mut items = Items::new(reason.clone());
                items.push(0..kept.len(), false, &mut reservation).map_err(Refusal::Spool)?;
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
    if *refusal == Refusal::NotPost {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
    }
    response
}

fn json(status: StatusCode, body: String) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
