//! Every way in which a request can fail, and what the client, the log and the metrics say about it.

use std::borrow::Cow;
use std::net::IpAddr;

use tracing::Level;
use warp::http::StatusCode;

use super::split::MAX_ELEMENTS;
use crate::spool::AppendError;

/// Why a request is not answered with 200.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // The message of each variant says what it is.
pub enum Refusal {
    #[error("not found")]
    NotFound,
    /// The answer is that of [`NotFound`](Refusal::NotFound), but somebody has to correct a URL.
    #[error("not found")]
    WrongPath {
        /// The path without the token.
        shown: String,
    },
    #[error("webhooks are not accepted from this address")]
    AddressNotAllowed {
        /// `None` if a trusted proxy gave something other than an address.
        client: Option<IpAddr>,
    },
    #[error("the user name or password is missing or wrong")]
    NotAuthorized,
    #[error("only POST is allowed here")]
    NotPost,
    #[error("the body did not arrive in time")]
    BodyLate,
    #[error("the body is larger than {limit} bytes")]
    BodyTooLarge { limit: u64 },
    #[error("the body must not be encoded")]
    BodyEncoded,
    #[error("the connection broke before the body was complete")]
    BodyBroken,
    #[error("the header Content-Length is not a number")]
    BadHeader,
    #[error("there is more than one Host header")]
    SeveralHosts,
    /// A proxy that drops bodies must not look like success.
    #[error("the body is empty")]
    BodyEmpty,
    #[error("the body holds more than {MAX_ELEMENTS} values")]
    TooManyElements,
    #[error("{0}; try again later")]
    Spool(AppendError),
}

impl Refusal {
    /// Returns the status of the answer, a tag for logs and metrics that never changes, and the log level.
    ///
    /// Mailjet repeats a webhook after 30 seconds unless the status is 200. The level is low for what anybody
    /// can cause at will, and high for what the operator has to act on.
    pub(crate) fn classify(&self) -> (StatusCode, &'static str, Level) {
        const UNAVAILABLE: StatusCode = StatusCode::SERVICE_UNAVAILABLE;
        match self {
            Refusal::NotFound => (StatusCode::NOT_FOUND, "not_found", Level::DEBUG),
            Refusal::WrongPath { .. } => (StatusCode::NOT_FOUND, "wrong_path", Level::WARN),
            Refusal::AddressNotAllowed { .. } => (StatusCode::FORBIDDEN, "address_not_allowed", Level::WARN),
            Refusal::NotAuthorized => (StatusCode::UNAUTHORIZED, "not_authorized", Level::WARN),
            Refusal::NotPost => (StatusCode::METHOD_NOT_ALLOWED, "not_post", Level::DEBUG),
            Refusal::BodyLate => (StatusCode::REQUEST_TIMEOUT, "body_late", Level::INFO),
            Refusal::BodyTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", Level::WARN),
            Refusal::BodyEncoded => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "body_encoded", Level::WARN),
            Refusal::BodyBroken => (StatusCode::BAD_REQUEST, "body_broken", Level::DEBUG),
            Refusal::BadHeader => (StatusCode::BAD_REQUEST, "bad_header", Level::DEBUG),
            Refusal::SeveralHosts => (StatusCode::BAD_REQUEST, "several_hosts", Level::DEBUG),
            Refusal::BodyEmpty => (StatusCode::BAD_REQUEST, "body_empty", Level::WARN),
            Refusal::TooManyElements => (StatusCode::PAYLOAD_TOO_LARGE, "too_many_elements", Level::WARN),
            Refusal::Spool(AppendError::SpoolFull) => (UNAVAILABLE, "spool_full", Level::WARN),
            Refusal::Spool(AppendError::DiskLow) => (UNAVAILABLE, "disk_low", Level::WARN),
            Refusal::Spool(AppendError::Overloaded) => (UNAVAILABLE, "overloaded", Level::WARN),
            Refusal::Spool(AppendError::Locked) => (UNAVAILABLE, "spool_locked", Level::WARN),
            Refusal::Spool(AppendError::Unavailable) => (UNAVAILABLE, "spool_unavailable", Level::WARN),
            Refusal::Spool(AppendError::NotDurable) => (UNAVAILABLE, "not_durable", Level::WARN),
            Refusal::Spool(AppendError::OutcomeUnknown) => (UNAVAILABLE, "outcome_unknown", Level::WARN),
            Refusal::Spool(AppendError::Failed) => (UNAVAILABLE, "spool_failed", Level::WARN),
            Refusal::Spool(AppendError::Closed) => (UNAVAILABLE, "stopping", Level::INFO),
        }
    }

    /// Returns the end of the log line: what the operator should know and the client need not.
    pub(crate) fn detail(&self) -> Cow<'static, str> {
        match self {
            Refusal::AddressNotAllowed { client: Some(client) } => {
                format!(": {client} is not in allowed_networks").into()
            }
            Refusal::AddressNotAllowed { client: None } => {
                ": a proxy in trusted_proxies sent an X-Forwarded-For entry that is not an address".into()
            }
            Refusal::WrongPath { shown } => format!(
                ": a request with a valid token came to {shown}, where nothing is; the path must be \
                 /v1/mailjet/<token>. Correct the URL at Mailjet, or what a proxy makes of it"
            )
            .into(),
            Refusal::NotAuthorized => {
                ": the URL at Mailjet must contain basic_auth_username and basic_auth_password".into()
            }
            Refusal::BodyEmpty => {
                ": Mailjet never sends that; does something on the way drop bodies? Mailjet repeats the \
                 webhook for 24 hours and then suspends the URL"
                    .into()
            }
            Refusal::BodyTooLarge { .. } | Refusal::TooManyElements | Refusal::BodyEncoded => {
                ": nothing of it is stored; a sender that repeats it gets the same answer".into()
            }
            _ => "".into(),
        }
    }

    /// Returns the number of seconds after which a repeat makes sense.
    ///
    /// Proxies act on it. Mailjet always waits 30 seconds.
    pub(crate) fn retry_after_seconds(&self) -> Option<u32> {
        match self {
            Refusal::Spool(AppendError::Overloaded | AppendError::Locked) => Some(1),
            Refusal::Spool(_) => Some(30),
            _ => None,
        }
    }
}
