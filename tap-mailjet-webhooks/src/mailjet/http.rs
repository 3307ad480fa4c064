//! What all outbound HTTP shares.

use std::time::Duration;

use ureq::Agent;
use ureq::config::ConfigBuilder;
use ureq::typestate::AgentScope;

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Starts an agent that returns every status, follows no redirect (which would lose the body, or show
/// secrets to another host) and takes at most `timeout` for a request.
pub(super) fn agent(timeout: Duration) -> ConfigBuilder<AgentScope> {
    Agent::config_builder()
        .timeout_global(Some(timeout))
        .timeout_connect(Some(CONNECT_TIMEOUT.min(timeout)))
        .http_status_as_error(false)
        .max_redirects(0)
}

/// Whether the name of the host has no address.
pub(super) fn is_host_unknown(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::HostNotFound => true,
        // The standard library has no kind of error for it.
        ureq::Error::Io(error) => error.to_string().starts_with("failed to lookup address information"),
        _ => false,
    }
}

/// Says what went wrong without naming the URL.
pub(super) fn reason(error: &ureq::Error) -> String {
    match error {
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => "it is not a valid URL".to_owned(),
        ureq::Error::Io(error) => error.to_string(),
        other => other.to_string(),
    }
}
