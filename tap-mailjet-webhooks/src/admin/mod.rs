//! The admin address: whether the tap is alive, whether it would accept a webhook, and its metrics.
//!
//! Health, readiness and metrics change nothing. The status page does what an operator asks for. The address
//! has its own connections, so it answers even while all those for webhooks are in use.
//!
//! | module | what it decides |
//! | --- | --- |
//! | this one | the paths, and their answers |
//! | [`serve`] | connections |
//! | [`access`] | who may see the status page |
//! | [`page`] | the status page |
//! | [`readiness`] | whether a webhook would be accepted now, and why not |

pub mod access;
pub mod page;
mod readiness;
mod serve;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Buf;
use futures_util::{Stream, StreamExt};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tracing::info;
use warp::Filter;
use warp::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use warp::http::{HeaderMap, Method, StatusCode};
use warp::path::FullPath;
use warp::reply::Response;

use self::access::hosts::AdminHosts;
use self::page::Context;
use crate::http;
use crate::status::{SharedSource, prometheus};
pub use readiness::Readiness;

const PLAIN_TEXT: &str = "text/plain; charset=utf-8";
/// How long a snapshot may take: less than Prometheus waits by default.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(8);
/// How long a form may take to arrive.
const FORM_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest body of a form.
const MAX_FORM_BYTES: usize = 16 << 10;
/// Prometheus's text format.
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The admin address, which answers until this is dropped.
#[derive(Debug)]
pub struct Admin {
    serving: AbortHandle,
    source: SharedSource,
}

impl Admin {
    /// Answers on `listener`. With `prints_link`, it logs a link that signs in once.
    pub fn start(
        listener: TcpListener,
        readiness: Readiness,
        hosts: AdminHosts,
        context: Context,
        prints_link: bool,
    ) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        let source = context.source.clone();
        let link =
            (prints_link && !context.sessions.have_password()).then(|| context.sessions.one_time_link());
        let serving = tokio::spawn(serve::serve(listener, filter(readiness, hosts, context)));
        info!("admin on http://{address}: /healthz, /readyz, /metrics, and the status page at /");
        if let Some(Ok(secret)) = link {
            let address = http::from_this_machine(address);
            info!("this link opens the status page, once: http://{address}/sign-in?once={}", secret.expose());
        }
        Ok(Admin { serving: serving.abort_handle(), source })
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.serving.abort();
        // The run tidies up the spool only after everything that has it open is closed.
        self.source.close();
    }
}

/// The filter that answers every request. It rejects none.
fn filter(
    readiness: Readiness,
    hosts: AdminHosts,
    context: Context,
) -> impl Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static {
    let state = Arc::new((readiness, hosts, Arc::new(context)));
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    let request = warp::method().and(warp::path::full()).and(query).and(warp::header::headers_cloned());
    let answered = request.and(warp::body::stream()).then(
        move |method: Method, path: FullPath, query: String, headers: HeaderMap, body| {
            let state = Arc::clone(&state);
            async move {
                let body = match timeout(FORM_TIMEOUT, read_form(body)).await {
                    Ok(Ok(body)) => body,
                    Ok(Err(())) => {
                        return respond(StatusCode::PAYLOAD_TOO_LARGE, PLAIN_TEXT, "too large\n".to_owned());
                    }
                    // Connections are few.
                    Err(_) => {
                        return respond(StatusCode::REQUEST_TIMEOUT, PLAIN_TEXT, "too slow\n".to_owned());
                    }
                };
                let path = path.as_str().to_owned();
                answer(&state.0, &state.1, &state.2, &page::Request { method, path, query, headers, body })
                    .await
            }
        },
    );
    answered.recover(|_| async { Ok::<_, Infallible>(not_found()) }).unify()
}

async fn answer(
    readiness: &Readiness,
    hosts: &AdminHosts,
    context: &Arc<Context>,
    request: &page::Request,
) -> Response {
    if !hosts.allow(&request.headers) {
        let body = "this host name is not allowed; add it to admin_hosts, or ask by IP address\n".to_owned();
        return respond(StatusCode::MISDIRECTED_REQUEST, PLAIN_TEXT, body);
    }
    match request.path.as_str() {
        "/healthz" | "/readyz" | "/metrics" if ![Method::GET, Method::HEAD].contains(&request.method) => {
            method_not_allowed()
        }
        "/healthz" => respond(StatusCode::OK, PLAIN_TEXT, "ok\n".to_owned()),
        "/readyz" => report_readiness(readiness).await,
        "/metrics" => report_metrics(&context.source).await,
        _ => page::answer(context, readiness, request).await,
    }
}

/// Reads the body of a form. It fails if that is too large, or breaks off.
async fn read_form(body: impl Stream<Item = Result<impl Buf, warp::Error>>) -> Result<Vec<u8>, ()> {
    let mut body = std::pin::pin!(body);
    let mut form = Vec::new();
    while let Some(chunk) = body.next().await {
        let mut chunk = chunk.map_err(drop)?;
        while chunk.has_remaining() {
            let part = chunk.chunk();
            form.extend_from_slice(part);
            let length = part.len();
            chunk.advance(length);
        }
        if form.len() > MAX_FORM_BYTES {
            return Err(());
        }
    }
    Ok(form)
}

fn not_found() -> Response {
    respond(StatusCode::NOT_FOUND, PLAIN_TEXT, "not found\n".to_owned())
}

async fn report_readiness(readiness: &Readiness) -> Response {
    let reasons = readiness.reasons().await;
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let listed = reasons.iter().map(|reason| json!({ "reason": reason.tag(), "detail": reason.to_string() }));
    let body = json!({ "ready": reasons.is_empty(), "reasons": listed.collect::<Vec<_>>() });
    respond(status, "application/json", body.to_string() + "\n")
}

async fn report_metrics(source: &SharedSource) -> Response {
    let source = source.clone();
    // Taking a snapshot reads files. Once the tap is stopping, there are no snapshots.
    let snapshot = tokio::task::spawn_blocking(move || source.snapshot());
    let Ok(snapshot) = timeout(SNAPSHOT_TIMEOUT, snapshot).await else {
        let body = "the spool does not answer: its disk is slow\n".to_owned();
        return respond(StatusCode::SERVICE_UNAVAILABLE, PLAIN_TEXT, body);
    };
    let text = snapshot.ok().flatten().map(|snapshot| prometheus::render(&snapshot)).unwrap_or_default();
    respond(StatusCode::OK, PROMETHEUS_TEXT, text)
}

fn method_not_allowed() -> Response {
    let body = "only GET and HEAD are allowed here\n".to_owned();
    let mut response = respond(StatusCode::METHOD_NOT_ALLOWED, PLAIN_TEXT, body);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

fn respond(status: StatusCode, content_type: &'static str, body: String) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
