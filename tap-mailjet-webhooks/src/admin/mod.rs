//! The admin address: whether the tap is alive, whether it would accept a webhook, and its metrics.
//!
//! It only asks the components and changes nothing. It has its own connections, so it answers even while all
//! those for webhooks are in use.
//!
//! | module | what it decides |
//! | --- | --- |
//! | this one | the paths, and their answers |
//! | [`serve`] | connections |
//! | [`access`] | who may see the status page |
//! | [`readiness`] | whether a webhook would be accepted now, and why not |

pub mod access;
mod page;
mod readiness;
mod serve;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tracing::info;
use warp::Filter;
use warp::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use warp::http::{Method, StatusCode};
use warp::path::FullPath;
use warp::reply::Response;

use crate::status::{SharedSource, prometheus};
pub use readiness::Readiness;

const PLAIN_TEXT: &str = "text/plain; charset=utf-8";
/// How long a snapshot may take: less than Prometheus waits by default.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(8);
/// Prometheus's text format.
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The admin address, which answers until this is dropped.
#[derive(Debug)]
pub struct Admin {
    serving: AbortHandle,
    source: SharedSource,
}

impl Admin {
    /// Answers on `listener`.
    pub fn start(listener: TcpListener, readiness: Readiness, source: SharedSource) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        let serving = tokio::spawn(serve::serve(listener, filter(readiness, source.clone())));
        info!("admin on http://{address}: /healthz, /readyz, /metrics");
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
    source: SharedSource,
) -> impl Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static {
    let state = Arc::new((readiness, source));
    warp::path::full().and(warp::method()).then(move |path: FullPath, method: Method| {
        let state = Arc::clone(&state);
        async move {
            let (readiness, source) = &*state;
            match path.as_str() {
                "/healthz" | "/readyz" | "/metrics" if ![Method::GET, Method::HEAD].contains(&method) => {
                    method_not_allowed()
                }
                "/healthz" => respond(StatusCode::OK, PLAIN_TEXT, "ok\n".to_owned()),
                "/readyz" => report_readiness(readiness).await,
                "/metrics" => report_metrics(source).await,
                _ => respond(StatusCode::NOT_FOUND, PLAIN_TEXT, "not found\n".to_owned()),
            }
        }
    })
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
