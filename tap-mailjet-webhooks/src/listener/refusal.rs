//! Every way in which a request can fail, with what the client, the log and the metrics are told.

use std::borrow::Cow;
use std::net::IpAddr;

use tracing::Level;
use warp::http::StatusCode;

use crate::spool::AppendError;

/// Why a request is not answered with 200.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The path is not that of an active webhook URL.
    #[error("not found")]
    NotFound,
    /// The address is not in `allowed_networks`.
    #[error("webhooks are not taken from this address")]
    AddressNotAllowed {
        /// The client's address, unless a trusted proxy says something that is none.
        client: Option<IpAddr>,
    },
    /// The Basic credentials are missing or wrong.
    #[error("user name or password are missing or wrong")]
    NotAuthorized,
    /// A webhook URL, but not POST.
    #[error("only POST is allowed here")]
    NotPost,
    /// The body did not arrive in time.
    #[error("the body did not arrive in time")]
    BodyLate,
    /// The body is larger than `max_body_bytes`.
    #[error("the body is larger than {limit} bytes")]
    BodyTooLarge {
        /// `max_body_bytes`.
        limit: u64,
    },
    /// The body has a content coding, such as gzip.
    #[error("the body must not be encoded")]
    BodyEncoded,
    /// The connection broke before the body was complete.
    #[error("the body broke off")]
    BodyBroken,
    /// A header that the answer depends on can't be read.
    #[error("a header can't be read")]
    BadHeader,
    /// The body is not JSON, or neither an object nor an array. It has been kept as a rejected row.
    #[error("{0}")]
    NotEvents(Cow<'static, str>),
    /// The spool does not take anything now.
    #[error("{0}; try again later")]
    Spool(AppendError),
}

impl Refusal {
    /// The status of the answer. Mailjet takes anything but 200 as "repeat in 30 seconds".
    #[must_use]
    pub fn status(&self) -> StatusCode {
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

    /// A short name that never changes, for logs and metrics.
    #[must_use]
    pub fn tag(&self) -> &'static str {
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

    /// How loudly the log tells it. What a stranger can cause at will is quiet; what needs the operator is not.
    #[must_use]
    pub fn log_level(&self) -> Level {
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

    /// What the log tells besides, and the client does not need to know.
    #[must_use]
    pub fn detail(&self) -> Cow<'static, str> {
        match self {
            Refusal::AddressNotAllowed { client: Some(client) } => {
                format!(": {client} is not in allowed_networks").into()
            }
            Refusal::AddressNotAllowed { client: None } => {
                ": a proxy of trusted_proxies puts something into X-Forwarded-For that is no address".into()
            }
            Refusal::NotAuthorized => {
                ": what Mailjet has in its URL is not basic_auth_username and basic_auth_password".into()
            }
            _ => "".into(),
        }
    }

    /// Seconds after which a repeat makes sense. Mailjet waits 30 seconds whatever it is told; proxies listen.
    #[must_use]
    pub fn retry_after_seconds(&self) -> Option<u32> {
        match self {
            Refusal::Spool(AppendError::Overloaded | AppendError::Locked) => Some(1),
            Refusal::Spool(_) => Some(30),
            _ => None,
        }
    }

    /// Whether the client has shown that it knows a webhook URL.
    #[must_use]
    pub fn is_to_a_stranger(&self) -> bool {
        matches!(self, Refusal::NotFound)
    }
}
