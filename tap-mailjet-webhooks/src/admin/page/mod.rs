//! The status page: what an operator sees in a browser, after signing in.
//!
//! It works without JavaScript, loads nothing from other hosts, and has no secrets in its addresses.
//!
//! | file | what it decides |
//! | --- | --- |
//! | this one | the paths, and who may see them |
//! | [`request`], [`response`] | what a browser sends and gets: forms, headers, compression |
//! | [`view`], `templates/` | what is shown |
//! | [`headline`] | what the page says first, and what to do |
//! | [`chart`] | events over time, as a picture and a table |
//! | [`urls`] | webhook URLs: made, shown once, revoked |
//! | [`registration`] | what is registered with Mailjet, checked and registered |
//! | [`items`] | the items that arrived last, and the rows that they become |
//! | [`send_test`] | posts a test event, and shows what came back |
//! | [`wording`] | how numbers, ages and times are written |

mod chart;
mod headline;
mod items;
mod registration;
mod request;
mod response;
mod send_test;
mod urls;
mod view;
mod wording;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::error;
use url::Url;
use warp::http::header::{ALLOW, SET_COOKIE};
use warp::http::{Method, StatusCode};
use warp::reply::Response;

use self::chart::Period;
use self::items::Filter;
use self::response::Answer;
use self::send_test::TestResult;
use self::urls::NewUrl;
use self::view::{Frame, Reading, StatusPage};
use super::access::sessions::{Secret, Sessions, SignInError};
use super::readiness::Readiness;
use crate::emitter::OutputSpec;
use crate::listener::{ActiveTokens, Traffic};
use crate::mailjet::check::{CheckResult, Checker};
use crate::spool::{Spool, SpoolError};
use crate::status::SharedSource;

pub(super) use self::request::Request;

/// How long the page waits for the spool. After that it shows only what is known without it.
const READING_TIMEOUT: Duration = Duration::from_secs(8);

/// How many requests may read or change the spool at a time; others wait.
pub const DISK_SLOTS: usize = 4;

/// What the page needs from the configuration.
#[derive(Debug)]
#[allow(missing_docs)] // The names say what the fields are.
pub struct PageConfig {
    /// The start of webhook URLs, including credentials.
    pub public_url: Url,
    /// What the listener speaks: http or https.
    pub listen_scheme: &'static str,
    pub has_configured_tokens: bool,
    /// How many events are to be registered with Mailjet.
    pub wanted_events: usize,
    /// How often Mailjet's registration is checked; `None` if it never is.
    pub check_interval: Option<Duration>,
    pub spool_max_bytes: u64,
    pub min_free_bytes: u64,
    pub confirm_without_state: bool,
    /// How items become rows.
    pub output: OutputSpec,
}

/// Everything that the page shows or changes.
#[derive(Debug)]
#[allow(missing_docs)] // The types say what the fields are.
pub struct Context {
    pub config: PageConfig,
    pub sessions: Sessions<SessionData>,
    pub spool: Arc<dyn Spool>,
    pub source: SharedSource,
    pub traffic: Traffic,
    /// The tokens that the listener of this process admits.
    pub tokens: ActiveTokens,
    /// Where that listener listens.
    pub listen_address: SocketAddr,
    /// Whether this process also writes to a target.
    pub has_emitter: bool,
    pub registration: CheckResult,
    /// As many as [`DISK_SLOTS`].
    pub disk_slots: Arc<Semaphore>,
    /// Checks the registration; `None` without keys.
    pub checker: Option<Arc<Checker>>,
}

/// What the page keeps for a session.
#[derive(Debug, Default)]
pub struct SessionData {
    /// The webhook URL that was just made and not shown yet.
    new_url: Option<NewUrl>,
    test: Option<TestResult>,
}

/// Answers a request for the page or one of its parts.
pub(super) async fn answer(context: &Arc<Context>, readiness: &Readiness, request: &Request) -> Response {
    let answer = match request.path.as_str() {
        "/page.css" if request.is_look() => Answer::asset("text/css", include_str!("assets/page.css")),
        "/page.js" if request.is_look() => Answer::asset("text/javascript", include_str!("assets/page.js")),
        path if path.starts_with("/icon-") && request.is_look() => view::icon(path),
        "/sign-in" if request.method == Method::GET && !request.query.is_empty() => {
            use_link(context, request)
        }
        "/sign-in" if request.method == Method::POST => sign_in(context, request),
        _ => match context.sessions.form_token(&request.headers) {
            Some(form_token) => signed_in(context, readiness, request, form_token).await,
            // The same for every path, so that nothing shows which ones exist.
            None => Answer::login(None),
        },
    };
    answer.into_response(request.accepts_gzip())
}

async fn signed_in(
    context: &Arc<Context>,
    readiness: &Readiness,
    request: &Request,
    form_token: Secret,
) -> Answer {
    let frame = Frame {
        host: context.config.public_url.host_str().unwrap_or_default().to_owned(),
        version: env!("CARGO_PKG_VERSION"),
        form_token,
    };
    let path: Vec<_> = request.path.trim_matches('/').split('/').collect();
    if request.method == Method::POST {
        let sent = request.field("csrf").unwrap_or_default();
        if !frame.form_token.is(&sent) || !request.is_from_here() {
            let text = "The form is old, or comes from another page. Go back and try again.";
            return Answer::message(frame, StatusCode::FORBIDDEN, "Nothing was changed", text);
        }
        return match path[..] {
            ["sign-out"] => {
                Answer::redirect("/").with_header(SET_COOKIE, &context.sessions.sign_out(&request.headers))
            }
            ["urls"] => urls::make(context, request, frame).await,
            ["urls", id, "revoke"] => urls::revoke(context, id, frame).await,
            ["mailjet", "check"] => registration::check(context, frame).await,
            ["mailjet", "register"] => registration::register(context, frame).await,
            ["test"] => send_test::send(context, request, frame).await,
            _ => no_such_page(frame),
        };
    }
    if !request.is_look() {
        return Answer::message(frame, StatusCode::METHOD_NOT_ALLOWED, "There is no such form", "")
            .with_header(ALLOW, "GET, HEAD, POST");
    }
    match path[..] {
        ["sign-in"] => Answer::redirect("/"),
        [""] => status(context, readiness, request, frame).await,
        ["urls", "new"] if request.method == Method::GET => urls::show_new(context, frame),
        ["mailjet", "register"] => registration::show_plan(context, frame).await,
        ["items", sequence] => items::show(context, sequence, frame).await,
        ["items", sequence, "raw"] => items::download(context, sequence, frame).await,
        _ => no_such_page(frame),
    }
}

async fn status(context: &Arc<Context>, readiness: &Readiness, request: &Request, frame: Frame) -> Answer {
    let period = match request.parameter("period").as_deref() {
        Some("days") => Period::Days,
        _ => Period::Hour,
    };
    let filter =
        Filter::parse(request.parameter("type").as_deref(), request.parameter("rejected").as_deref());
    let shows_all = request.parameter("items").is_some();
    let reasons = readiness.reasons().await;
    let reading = blocking(context, move |context| Reading::take(context, period, filter, shows_all));
    let reading = match timeout(READING_TIMEOUT, reading).await {
        Ok(Ok(reading)) => reading,
        Ok(Err(error)) if reasons.is_empty() => return failed(frame, &error),
        // The headline says what is wrong.
        Ok(Err(_)) | Err(_) => Reading::without_spool(filter),
    };
    Answer::page(StatusCode::OK, &StatusPage::new(context, frame, period, reasons, reading))
}

fn no_such_page(frame: Frame) -> Answer {
    Answer::message(frame, StatusCode::NOT_FOUND, "There is no such page", "")
}

fn sign_in(context: &Context, request: &Request) -> Answer {
    if !request.is_from_here() {
        return Answer::login(Some(
            "The form comes from another address than this page. A proxy in front has to pass the host name \
             on.",
        ));
    }
    let password = request.field("password").unwrap_or_default();
    entered(context.sessions.sign_in(&password, request.is_tls()))
}

fn use_link(context: &Context, request: &Request) -> Answer {
    let secret = request.parameter("once").unwrap_or_default();
    match context.sessions.use_link(&secret, request.is_tls()) {
        Err(SignInError::Wrong) => Answer::login(Some(
            "This link was used already. Start the tap again for another, or set admin_password.",
        )),
        other => entered(other),
    }
}

fn entered(outcome: Result<String, SignInError>) -> Answer {
    match outcome {
        Ok(cookie) => Answer::redirect("/").with_header(SET_COOKIE, &cookie),
        Err(SignInError::Wrong) => Answer::login(Some("Wrong password. Try again.")),
        Err(SignInError::TooMany) => Answer::login(Some("Too many tries. Wait a second, then try again.")),
        Err(SignInError::Random) => Answer::login(Some("The system's random source failed. Try again.")),
    }
}

/// Runs work that may wait for the disk on a thread of its own.
async fn blocking<T: Send + 'static>(
    context: &Arc<Context>,
    work: impl FnOnce(&Context) -> Result<T, SpoolError> + Send + 'static,
) -> Result<T, SpoolError> {
    let context = Arc::clone(context);
    // A page that refreshes itself must not fill the process with threads while the disk hangs.
    let slot = Arc::clone(&context.disk_slots).acquire_owned().await;
    let work = move || {
        let _slot = slot;
        work(&context)
    };
    tokio::task::spawn_blocking(work).await.expect("reading the spool does not panic")
}

fn failed(frame: Frame, failure: &SpoolError) -> Answer {
    error!("the status page: {failure}");
    let text = failure.to_string();
    Answer::message(frame, StatusCode::SERVICE_UNAVAILABLE, "The spool does not answer", text)
}
