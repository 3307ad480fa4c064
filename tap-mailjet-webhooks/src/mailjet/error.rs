//! How a call of Mailjet's API can fail.

use std::time::Duration;

use indicatif::HumanDuration;

/// A call of Mailjet's API failed. The message is one line and shows no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // The message of each variant says what it is.
pub enum ApiError {
    #[error(
        "Mailjet refuses the keys (401); check mailjet_api_key and mailjet_secret_key, and that their \
         account is on {api_url} (mailjet_api_url)"
    )]
    Unauthorized { api_url: String },
    #[error(
        "Mailjet does not allow these keys to manage webhooks (403{}); use the keys of the account or \
         sub-account whose events you want",
        detail(message)
    )]
    Forbidden { message: String },
    #[error("Mailjet answers that there were too many requests (429){}", after(*waited))]
    TooManyRequests { waited: Duration },
    #[error("the host of {api_url} is unknown; check mailjet_api_url and the name server of this machine")]
    HostUnknown { api_url: String },
    #[error(
        "no answer from {api_url}: {reason}; check mailjet_api_url, and whether this machine may connect to \
         it"
    )]
    NoAnswer { api_url: String, reason: String },
    #[error("{api_url} answers {status} with {what}; check mailjet_api_url and any proxy in between")]
    NotTheApi { api_url: String, status: u16, what: &'static str },
    #[error("Mailjet is not available ({status}{})", detail(message))]
    Unavailable { status: u16, message: String },
    #[error("Mailjet refuses the change ({status}{})", detail(message))]
    Refused { status: u16, message: String },
    /// Somebody else has registered a URL for the event.
    #[error("Mailjet already has a webhook URL for this event")]
    AlreadyExists,
    /// Somebody else has deleted the row.
    #[error("Mailjet no longer has this webhook URL")]
    Gone,
}

impl ApiError {
    /// Whether another call would fail as well, so that there is no point in going on.
    pub(super) fn concerns_all_calls(&self) -> bool {
        !matches!(self, ApiError::Refused { .. } | ApiError::AlreadyExists | ApiError::Gone)
    }

    /// Whether the change may have been made although the call failed.
    pub(super) fn outcome_is_unknown(&self) -> bool {
        matches!(self, ApiError::NoAnswer { .. } | ApiError::NotTheApi { .. } | ApiError::Unavailable { .. })
    }
}

fn after(waited: Duration) -> String {
    match waited.is_zero() {
        true => String::new(),
        false => format!(", also after {} of waiting; try again in a few minutes", HumanDuration(waited)),
    }
}

fn detail(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}
