//! Which components a process runs.

use serde::{Deserialize, Serialize};

/// The components that a process runs, named as the key `mode` names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
pub enum Components {
    /// Webhooks are received: the command `listen`.
    #[serde(skip)]
    Listener,
    /// Messages are written.
    #[serde(rename = "drain")]
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
        matches!(self, Components::Emitter | Components::Both)
    }

    /// What Singer's measurements call a run of these components.
    pub fn job_type(self) -> &'static str {
        match self {
            Components::Listener => "listen",
            Components::Emitter => "drain",
            Components::Both => "continuous",
        }
    }
}
