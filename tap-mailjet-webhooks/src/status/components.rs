//! Which components a process runs.

use serde::{Deserialize, Serialize};

/// The components that a process runs, named as the key `mode` names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
pub enum Components {
    /// Webhooks are received: the command `listen`.
    #[serde(skip)]
    Listener,
    /// What the spool holds is written.
    #[serde(rename = "drain")]
    Drain,
    /// Messages are written until the run is stopped. Other processes receive.
    #[serde(rename = "emit")]
    Emitter,
    /// Webhooks are received and messages are written.
    #[serde(rename = "continuous")]
    Both,
}

impl Components {
    /// Whether the process receives webhooks.
    pub fn has_listener(self) -> bool {
        matches!(self, Components::Listener | Components::Both)
    }

    /// Whether the process writes messages.
    pub fn has_emitter(self) -> bool {
        matches!(self, Components::Drain | Components::Emitter | Components::Both)
    }

    /// Whether the run ends by itself once the spool is empty.
    pub fn ends_when_empty(self) -> bool {
        self == Components::Drain
    }

    /// What Singer's measurements call a run of these components.
    pub fn job_type(self) -> &'static str {
        match self {
            Components::Listener => "listen",
            Components::Drain => "drain",
            Components::Emitter => "emit",
            Components::Both => "continuous",
        }
    }
}
