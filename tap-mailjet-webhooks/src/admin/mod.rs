//! The admin address: whether the tap is alive, whether it would take a webhook, and its figures.
//!
//! It belongs to no room: it asks each of them, and changes nothing. It has a listener of its own with bounds of its own, so
//! that it answers while all of the connections for webhooks are taken, and it ends with the process.
//!
//! | module | what it decides |
//! | --- | --- |
//! | this one | what can be asked, and what is answered |
//! | [`serve`] | connections |
//! | [`readiness`] | whether a webhook would be taken now, and why not |
//! | [`metrics`] | the figures, in Prometheus's text format |

mod readiness;
mod serve;

use std::convert::Infallible;
use std::sync::Arc;

use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tracing::info;
use warp::Filter;
use warp::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use warp::http::{Method, StatusCode};
use warp::path::FullPath;
use warp::reply::Response;

use crate::status::{SharedSource, prometheus};
pub use readiness::Readiness;

/// Prometheus's text format.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The admin address, served until this is dropped.
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
        // The process that closes a spool last leaves all of it in the one file.
        self.source.close();
    }
}

/// What can be asked.
#[derive(Debug, Clone, Copy)]
enum Question {
    Health,
    Readiness,
    Metrics,
}

impl Question {
    fn at(path: &str) -> Option<Self> {
        match path {
            "/healthz" => Some(Question::Health),
            "/readyz" => Some(Question::Readiness),
            "/metrics" => Some(Question::Metrics),
            _ => None,
        }
    }
}

/// The filter that answers every request; it rejects none.
fn filter(
    readiness: Readiness,
    source: SharedSource,
) -> impl Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static {
    let asked = Arc::new((readiness, source));
    warp::path::full().and(warp::method()).then(move |path: FullPath, method: Method| {
        let asked = Arc::clone(&asked);
        async move {
            let Some(question) = Question::at(path.as_str()) else { return not_found() };
            if method != Method::GET {
                return not_get();
            }
            match question {
                Question::Health => text(StatusCode::OK, "text/plain; charset=utf-8", "ok\n".to_owned()),
                Question::Readiness => ready(&asked.0).await,
                Question::Metrics => metrics(&asked.1).await,
            }
        }
    })
}

async fn ready(readiness: &Readiness) -> Response {
    let reasons = readiness.reasons().await;
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let listed: Vec<_> = reasons
        .iter()
        .map(|reason| json!({ "reason": reason.tag(), "detail": reason.to_string() }))
        .collect();
    let body = json!({ "ready": reasons.is_empty(), "reasons": listed });
    text(status, "application/json", body.to_string() + "\n")
}

async fn metrics(source: &SharedSource) -> Response {
    let source = source.clone();
    // Taking a snapshot reads files.
    let snapshot = tokio::task::spawn_blocking(move || source.snapshot()).await.ok().flatten();
    match snapshot {
        Some(snapshot) => text(StatusCode::OK, PROMETHEUS, prometheus::render(&snapshot)),
        // The tap is stopping.
        None => text(StatusCode::OK, PROMETHEUS, String::new()),
    }
}

fn not_found() -> Response {
    text(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "not found\n".to_owned())
}

fn not_get() -> Response {
    let only_get = "only GET is allowed here\n".to_owned();
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "text/plain; charset=utf-8", only_get);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
    response
}

fn text(status: StatusCode, content_type: &'static str, body: String) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
