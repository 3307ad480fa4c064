//! The webhook URLs: making, showing once, and revoking them.

use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tracing::info;
use url::Host;
use warp::http::StatusCode;

use super::items::{is_hidden, pieces};
use super::request::Request;
use super::response::Answer;
use super::view::{Frame, UrlCreatedPage};
use super::wording::{ago, day, span};
use super::{Context, PageConfig, blocking, failed};
use crate::listener::token::{MAX_ACTIVE, Token};
use crate::listener::wait_until_accepted;
use crate::os::clock::UnixMillis;
use crate::spool::{Retirement, WebhookUrl};

/// A URL that was used within this time counts as in use.
const IN_USE: Duration = Duration::from_secs(24 * 3600);
/// The longest label.
pub(super) const MAX_LABEL_CHARS: usize = 100;

/// A webhook URL that was just made.
#[derive(Debug)]
pub(super) struct NewUrl {
    id: i64,
    label: String,
    url: SecretString,
}

/// The webhook URLs, as the page shows them.
#[derive(Debug)]
pub(super) struct Urls {
    pub(super) is_configured: bool,
    pub(super) is_full: bool,
    /// The host of `public_url`, if Mailjet cannot reach it.
    pub(super) unreachable_host: Option<String>,
    pub(super) rows: Vec<UrlRow>,
}

/// A webhook URL, as the page shows it.
#[derive(Debug)]
pub(super) struct UrlRow {
    pub(super) id: i64,
    pub(super) label: Option<String>,
    pub(super) made: String,
    pub(super) last_used: String,
    /// When it is revoked by itself, if it is being retired.
    pub(super) retires: Option<String>,
    pub(super) is_in_use: bool,
}

/// Returns the name of a URL on the page.
pub(super) fn name_of(url: &WebhookUrl) -> String {
    url.label.as_deref().map_or_else(|| format!("URL {}", url.id), visible)
}

/// Replaces characters that are invisible, or change how text reads, by their codes.
fn visible(label: &str) -> String {
    pieces(label).into_iter().map(|piece| piece.text).collect()
}

impl Urls {
    pub(super) fn new(config: &PageConfig, now: UnixMillis, active: &[WebhookUrl]) -> Self {
        let row = |url: &WebhookUrl| {
            let unused = url.last_used_at.map(|used| now.since(used));
            UrlRow {
                id: url.id,
                label: url.label.as_deref().map(visible),
                made: day(url.created_at),
                last_used: unused.map_or("never".to_owned(), ago),
                retires: url.retirement.map(|Retirement { after, unused_for }| {
                    format!("retires after {} more without use", span(after.saturating_sub(unused_for)))
                }),
                is_in_use: unused.is_some_and(|unused| unused < IN_USE),
            }
        };
        let is_unreachable = match config.public_url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback() || address.is_unspecified(),
            Some(Host::Ipv6(address)) => address.is_loopback() || address.is_unspecified(),
            None => true,
        };
        let host = || config.public_url.host_str().unwrap_or_default().to_owned();
        Urls {
            is_configured: config.has_configured_tokens,
            is_full: active.len() >= MAX_ACTIVE,
            unreachable_host: is_unreachable.then(host),
            rows: active.iter().map(row).collect(),
        }
    }
}

/// Makes a webhook URL, which the next page shows once.
pub(super) async fn make(context: &Arc<Context>, request: &Request, frame: Frame) -> Answer {
    let not_made = |status, text: &str| Answer::message(frame.clone(), status, "No URL was made", text);
    let label = request.field("label").unwrap_or_default().trim().to_owned();
    if label.chars().any(is_hidden) || label.contains('\n') || label.chars().count() > MAX_LABEL_CHARS {
        return not_made(StatusCode::BAD_REQUEST, "A label has up to 100 visible characters, in one line.");
    }
    if context.config.has_configured_tokens {
        let text = "The tokens come from webhook_tokens in the configuration.";
        return not_made(StatusCode::CONFLICT, text);
    }
    let Ok(token) = Token::random() else {
        return not_made(StatusCode::INTERNAL_SERVER_ERROR, "The system's random source failed.");
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
            info!("webhook URL {id} was made on the status page");
            let label = if label.is_empty() { format!("URL {id}") } else { label };
            let url = token.url(context.config.public_url.as_str()).into();
            let new = NewUrl { id, label, url };
            context.sessions.with_data(&frame.form_token, |session| session.new_url = Some(new));
            Answer::redirect("/urls/new")
        }
        Ok(None) => not_made(
            StatusCode::CONFLICT,
            "Two URLs are active, which is the most there can be. Revoke one before you make another.",
        ),
        Err(error) => failed(frame, &error),
    }
}

/// Shows the URL that was just made, once.
pub(super) fn show_new(context: &Context, frame: Frame) -> Answer {
    let new = context.sessions.with_data(&frame.form_token, |session| session.new_url.take()).flatten();
    let Some(NewUrl { id, label, url }) = new else {
        let text = "This URL was shown already. Make another if you did not copy it.";
        return Answer::message(frame, StatusCode::GONE, "Your new webhook URL", text);
    };
    let url = url.expose_secret().to_owned();
    Answer::page(StatusCode::OK, &UrlCreatedPage { frame, id, label, url })
}

/// Revokes a URL.
pub(super) async fn revoke(context: &Arc<Context>, id: &str, frame: Frame) -> Answer {
    let Ok(id) = id.parse::<i64>() else {
        return Answer::message(frame, StatusCode::NOT_FOUND, "There is no such active URL", "");
    };
    match blocking(context, move |context| context.spool.registry()?.revoke_webhook_url(id)).await {
        Ok(false) => {
            let text = "Perhaps it was revoked before.";
            Answer::message(frame, StatusCode::NOT_FOUND, "There is no such active URL", text)
        }
        Ok(true) => {
            info!("webhook URL {id} was revoked on the status page");
            Answer::redirect("/#urls")
        }
        Err(error) => failed(frame, &error),
    }
}
