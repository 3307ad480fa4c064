//! Every way in which a request can fail, and what the client, the log and the metrics say about it.

use std::borrow::Cow;
use std::net::IpAddr;

use tracing::Level;
use warp::http::StatusCode;

use crate::spool::AppendError;

/// Why a request is not answered with 200.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // The message of each variant says what it is.
pub enum Refusal {
    #[error("not found")]
    NotFound,
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
    /// The body has been stored as a rejected item.
    #[error("{0}")]
    NotEvents(Cow<'static, str>),
    #[error("{0}; try again later")]
    Spool(AppendError),
}

impl Refusal {
    /// Returns the status of the answer.
    ///
    /// Mailjet repeats a webhook after 30 seconds unless the status is 200.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Refusal::NotFound => StatusCode::NOT_FOUND,
            Refusal::AddressNotAllowed { .. } => StatusCode::FORBIDDEN,
            Refusal::NotAuthorized => StatusCode::UNAUTHORIZED,
            Refusal::NotPost => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::BodyLate => StatusCode::REQUEST_TIMEOUT,
            Refusal::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::BodyEncoded => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Refusal::BodyBroken | Refusal::BadHeader | Refusal::NotEvents(_) => StatusCode::BAD_REQUEST,
            Refusal::Spool(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Returns a short name that never changes, for logs and metrics.
    pub(crate) fn tag(&self) -> &'static str {
        match self {
            Refusal::NotFound => "not_found",
            Refusal::AddressNotAllowed { .. } => "address_not_allowed",
            Refusal::NotAuthorized => "not_authorized",
            Refusal::NotPost => "not_post",
            Refusal::BodyLate => "body_late",
            Refusal::BodyTooLarge { .. } => "body_too_large",
            Refusal::BodyEncoded => "body_encoded",
            Refusal::BodyBroken => "body_broken",
            Refusal::BadHeader => "bad_header",
            Refusal::NotEvents(_) => "not_events",
            Refusal::Spool(AppendError::SpoolFull) => "spool_full",
            Refusal::Spool(AppendError::DiskLow) => "disk_low",
            Refusal::Spool(AppendError::Overloaded) => "overloaded",
            Refusal::Spool(AppendError::Locked) => "spool_locked",
            Refusal::Spool(AppendError::OutcomeUnknown) => "outcome_unknown",
            Refusal::Spool(AppendError::Failed) => "spool_failed",
            Refusal::Spool(AppendError::Closed) => "stopping",
        }
    }

    /// Returns the level of the log line.
    ///
    /// It is low for what anybody can cause at will, and high for what the operator has to act on.
    pub(crate) fn log_level(&self) -> Level {
        match self {
            Refusal::NotFound | Refusal::NotPost | Refusal::BodyBroken | Refusal::BadHeader => Level::DEBUG,
            Refusal::BodyLate | Refusal::Spool(AppendError::Closed) => Level::INFO,
            Refusal::AddressNotAllowed { .. }
            | Refusal::NotAuthorized
            | Refusal::BodyTooLarge { .. }
            | Refusal::BodyEncoded
            | Refusal::NotEvents(_)
            | Refusal::Spool(_) => Level::WARN,
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
            Refusal::NotAuthorized => {
                ": the URL at Mailjet must contain basic_auth_username and basic_auth_password".into()
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

    /// Returns whether the client has shown that it knows a webhook URL.
    pub(crate) fn client_knows_url(&self) -> bool {
        !matches!(self, Refusal::NotFound)
    }
}
