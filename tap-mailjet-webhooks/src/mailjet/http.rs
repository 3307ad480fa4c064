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

/// Says what went wrong without naming the URL.
pub(super) fn reason(error: &ureq::Error) -> String {
    match error {
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => "it is not a valid URL".to_owned(),
        other => other.to_string(),
    }
}
