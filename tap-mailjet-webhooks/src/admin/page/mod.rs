//! The status page: what an operator sees in a browser, after signing in.
//!
//! It works without a script, asks no other host for anything, and keeps no secret in an address.
//!
//! | file | what it decides |
//! | --- | --- |
//! | this one | the paths, who may see them, and the headers of every answer |
//! | [`view`], `templates/` | what is shown |
//! | [`headline`] | what the page says first, and what to do |
//! | [`chart`] | events over time, as a picture and a table |
//! | [`items`] | the items that arrived last, and the rows that they become |
//! | [`wording`] | how numbers, ages and times are written |

mod chart;
mod headline;
mod items;
mod view;
mod wording;

use std::collections::HashMap;
use std::sync::Arc;

use askama::Template;
use parking_lot::Mutex;
use tracing::{error, info};
use url::{Url, form_urlencoded};
use warp::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderName, HeaderValue, LOCATION, ORIGIN,
    REFERRER_POLICY, SET_COOKIE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use warp::http::{HeaderMap, Method, StatusCode};
use warp::reply::Response;

use self::chart::Period;
use self::items::{Filter, ItemPage};
use self::view::{Frame, LoginPage, MessagePage, Reading, StatusPage, UrlCreatedPage};
use super::access::sessions::{Secret, Sessions, SignInError};
use super::readiness::Readiness;
use crate::emitter::OutputSpec;
use crate::listener::token::{MAX_ACTIVE, Token};
use crate::listener::{Traffic, wait_until_accepted};
use crate::mailjet::check::CheckResult;
use crate::spool::{Sequence, Spool, SpoolError};
use crate::status::SharedSource;

/// What a browser may load and do: only what comes from this address.
const CONTENT_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
    img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What the page needs from the configuration.
#[derive(Debug)]
#[allow(missing_docs)] // The names say what the fields are.
pub struct PageConfig {
    /// The start of webhook URLs, including credentials.
    pub public_url: Url,
    pub has_configured_tokens: bool,
    pub has_keys: bool,
    /// How many events are to be registered with Mailjet.
    pub wanted_events: usize,
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
    pub sessions: Sessions,
    pub spool: Arc<dyn Spool>,
    pub source: SharedSource,
    pub traffic: Traffic,
    pub registration: CheckResult,
    /// New webhook URLs that were not shown yet, by the form token of the session that made them.
    pub unseen: Mutex<HashMap<String, NewUrl>>,
}

/// A webhook URL that was just made.
#[derive(Debug)]
pub struct NewUrl {
    id: i64,
    label: String,
    url: secrecy::SecretString,
}

/// A request to the admin address.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Request {
    fn parameter(&self, name: &str) -> Option<String> {
        let mut pairs = form_urlencoded::parse(self.query.as_bytes());
        pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    }

    fn field(&self, name: &str) -> Option<String> {
        let mut pairs = form_urlencoded::parse(&self.body);
        pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    }

    /// Whether a proxy in front has taken the request over TLS.
    fn is_tls(&self) -> bool {
        self.headers.get("x-forwarded-proto").is_some_and(|scheme| scheme.as_bytes() == b"https")
    }

    /// Whether the request was made by a page of this address, as far as the browser says. Browsers send
    /// `Origin` with every form.
    fn is_from_here(&self) -> bool {
        let (Some(origin), Some(host)) = (self.headers.get(ORIGIN), self.headers.get(HOST)) else {
            return !self.headers.contains_key(ORIGIN);
        };
        let host = host.as_bytes();
        let origin = origin.as_bytes();
        ["http://", "https://"].iter().any(|scheme| origin.strip_prefix(scheme.as_bytes()) == Some(host))
    }
}

/// Answers a request for the page or one of its parts.
pub(super) async fn answer(context: &Arc<Context>, readiness: &Readiness, request: &Request) -> Response {
    match (&request.method, request.path.as_str()) {
        (&Method::GET | &Method::HEAD, "/page.css") => asset("text/css", include_str!("assets/page.css")),
        (&Method::GET | &Method::HEAD, "/page.js") => {
            asset("text/javascript", include_str!("assets/page.js"))
        }
        (&Method::GET | &Method::HEAD, "/icon.svg") => {
            asset("image/svg+xml", include_str!("assets/icon.svg"))
        }
        (&Method::GET, "/sign-in") if !request.query.is_empty() => use_link(context, request),
        (&Method::POST, "/sign-in") if request.is_from_here() => sign_in(context, request),
        _ => match context.sessions.form_token(&request.headers) {
            Some(form_token) => signed_in(context, readiness, request, &form_token).await,
            // The same for every path, so that nothing shows which ones exist.
            None => login(None),
        },
    }
}

async fn signed_in(
    context: &Arc<Context>,
    readiness: &Readiness,
    request: &Request,
    form_token: &Secret,
) -> Response {
    let frame = Frame {
        host: context.config.public_url.host_str().unwrap_or_default().to_owned(),
        version: env!("CARGO_PKG_VERSION"),
        form_token: form_token.expose().to_owned(),
    };
    if request.method == Method::POST {
        let is_ours =
            request.field("csrf").is_some_and(|sent| form_token.is(&sent)) && request.is_from_here();
        if !is_ours {
            let text = "The form is old, or comes from another page. Go back and try again.".to_owned();
            return message(frame, StatusCode::FORBIDDEN, "Nothing was changed", text);
        }
        return post(context, request, frame).await;
    }
    match request.path.as_str() {
        "/" => {
            let period = match request.parameter("period").as_deref() {
                Some("days") => Period::Days,
                _ => Period::Hour,
            };
            let reasons = readiness.reasons().await;
            let filter =
                Filter::parse(request.parameter("type").as_deref(), request.parameter("rejected").as_deref());
            let shows_all = request.parameter("items").is_some();
            let reading =
                blocking(context, move |context| Reading::take(context, period, filter, shows_all)).await;
            match reading {
                Ok(reading) => {
                    html(StatusCode::OK, &StatusPage::new(context, frame, period, reasons, reading))
                }
                Err(error) => failed(frame, &error),
            }
        }
        "/urls/new" => show_new_url(context, frame),
        path if path.starts_with("/items/") => show_item(context, path, frame).await,
        _ => message(frame, StatusCode::NOT_FOUND, "There is no such page", String::new()),
    }
}

async fn post(context: &Arc<Context>, request: &Request, frame: Frame) -> Response {
    let path: Vec<_> = request.path.trim_matches('/').split('/').collect();
    match path[..] {
        ["sign-out"] => {
            let cookie = context.sessions.sign_out(&request.headers);
            redirect("/", Some(&cookie))
        }
        ["urls"] => make_url(context, request, frame).await,
        ["urls", id, "revoke"] => {
            let Ok(id) = id.parse::<i64>() else {
                return message(frame, StatusCode::NOT_FOUND, "There is no such URL", String::new());
            };
            let revoked = blocking(context, move |context| context.spool.registry()?.revoke_webhook_url(id));
            match revoked.await {
                Ok(_) => {
                    info!("webhook URL {id} is revoked, by the status page");
                    redirect("/#urls", None)
                }
                Err(error) => failed(frame, &error),
            }
        }
        _ => message(frame, StatusCode::NOT_FOUND, "There is no such page", String::new()),
    }
}

/// Makes a webhook URL, which the next page shows once.
async fn make_url(context: &Arc<Context>, request: &Request, frame: Frame) -> Response {
    let label = request.field("label").unwrap_or_default().trim().to_owned();
    if label.chars().any(char::is_control) || label.chars().count() > 100 {
        let text = "A label has up to 100 characters, in one line.".to_owned();
        return message(frame, StatusCode::BAD_REQUEST, "No URL was made", text);
    }
    if context.config.has_configured_tokens {
        let text = "The tokens come from webhook_tokens in the configuration.".to_owned();
        return message(frame, StatusCode::CONFLICT, "No URL was made", text);
    }
    let Ok(token) = Token::random() else {
        let text = "The system's random source failed.".to_owned();
        return message(frame, StatusCode::INTERNAL_SERVER_ERROR, "No URL was made", text);
    };
    let hash = token.hash();
    let name = (!label.is_empty()).then(|| label.clone());
    let added = blocking(context, move |context| {
        let id = context.spool.registry()?.add_webhook_url(hash, name.as_deref(), None, MAX_ACTIVE)?;
        wait_until_accepted(&*context.spool)?;
        Ok(id)
    });
    match added.await {
        Ok(Some(id)) => {
            info!("webhook URL {id} was made, by the status page");
            let label = if label.is_empty() { format!("URL {id}") } else { label };
            let url = token.url(context.config.public_url.as_str()).into();
            context.unseen.lock().insert(frame.form_token.clone(), NewUrl { id, label, url });
            redirect("/urls/new", None)
        }
        Ok(None) => {
            let text =
                "Two URLs are active, which is the most there can be. Revoke one before you make another.";
            message(frame, StatusCode::CONFLICT, "No URL was made", text.to_owned())
        }
        Err(error) => failed(frame, &error),
    }
}

fn show_new_url(context: &Context, frame: Frame) -> Response {
    let Some(new) = context.unseen.lock().remove(&frame.form_token) else {
        let text = "This URL was shown already. Make another if you did not copy it.".to_owned();
        return message(frame, StatusCode::GONE, "Your new webhook URL", text);
    };
    let url = secrecy::ExposeSecret::expose_secret(&new.url).to_owned();
    html(StatusCode::OK, &UrlCreatedPage { frame, id: new.id, label: new.label, url })
}

async fn show_item(context: &Arc<Context>, path: &str, frame: Frame) -> Response {
    let sequence = path.trim_start_matches("/items/").parse::<i64>().ok().map(Sequence::new);
    let (for_item, Some(sequence)) = (frame.clone(), sequence) else {
        return message(frame, StatusCode::NOT_FOUND, "There is no such item", String::new());
    };
    let read = blocking(context, move |context| {
        let stats = context.spool.stats_reader()?.read()?;
        ItemPage::read(context, for_item, sequence, Some(&stats))
    });
    match read.await {
        Ok(Some(page)) => html(StatusCode::OK, &page),
        Ok(None) => {
            let text = "It was deleted after the target had stored it, or never existed.".to_owned();
            message(frame, StatusCode::NOT_FOUND, "There is no such item", text)
        }
        Err(error) => failed(frame, &error),
    }
}

fn sign_in(context: &Context, request: &Request) -> Response {
    let password = request.field("password").unwrap_or_default();
    entered(context.sessions.sign_in(&password, request.is_tls()))
}

fn use_link(context: &Context, request: &Request) -> Response {
    let secret = request.parameter("once").unwrap_or_default();
    match context.sessions.use_link(&secret, request.is_tls()) {
        Err(SignInError::Wrong) => {
            login(Some("This link was used already. Start the tap again for another, or set admin_password."))
        }
        other => entered(other),
    }
}

fn entered(outcome: Result<String, SignInError>) -> Response {
    match outcome {
        Ok(cookie) => redirect("/", Some(&cookie)),
        Err(SignInError::Wrong) => login(Some("Wrong password. Try again.")),
        Err(SignInError::TooMany) => login(Some("Too many tries. Wait a second, then try again.")),
        Err(SignInError::Random) => login(Some("The system's random source failed. Try again.")),
    }
}

/// Does what may wait for the disk on a thread of its own.
async fn blocking<T: Send + 'static>(
    context: &Arc<Context>,
    work: impl FnOnce(&Context) -> Result<T, SpoolError> + Send + 'static,
) -> Result<T, SpoolError> {
    let context = Arc::clone(context);
    tokio::task::spawn_blocking(move || work(&context)).await.expect("reading the spool does not panic")
}

fn login(error: Option<&'static str>) -> Response {
    html(StatusCode::UNAUTHORIZED, &LoginPage { error })
}

fn message(frame: Frame, status: StatusCode, title: &'static str, text: String) -> Response {
    html(status, &MessagePage { frame, title, text })
}

fn failed(frame: Frame, error: &SpoolError) -> Response {
    error!("the status page: {error}");
    message(frame, StatusCode::SERVICE_UNAVAILABLE, "The spool does not answer", error.to_string())
}

fn html(status: StatusCode, page: &impl Template) -> Response {
    let body = page.render().expect("templates render into memory");
    respond(status, "text/html; charset=utf-8", body)
}

fn asset(content_type: &'static str, text: &'static str) -> Response {
    respond(StatusCode::OK, content_type, text.to_owned())
}

fn redirect(path: &'static str, cookie: Option<&str>) -> Response {
    let mut response = respond(StatusCode::SEE_OTHER, "text/plain; charset=utf-8", String::new());
    response.headers_mut().insert(LOCATION, HeaderValue::from_static(path));
    if let Some(cookie) = cookie.and_then(|cookie| HeaderValue::from_str(cookie).ok()) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}

fn respond(status: StatusCode, content_type: &'static str, body: String) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers: [(HeaderName, &'static str); 6] = [
        (CONTENT_TYPE, content_type),
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, CONTENT_POLICY),
        // With "no-referrer", browsers would send `Origin: null` with our own forms.
        (REFERRER_POLICY, "same-origin"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
    ];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
