//! Whether a webhook would be accepted now, by the same facts that decide how the listener answers.

use std::time::Duration;

use tokio::sync::Mutex;

use crate::listener::{ActiveTokens, Refusal, Traffic};
use crate::spool::{AppendError, WriterHandle};

/// How long the writer may take to answer. Kubernetes, for one, waits a second in all.
const WRITER_TIMEOUT: Duration = Duration::from_millis(800);

/// Checks whether a webhook would be accepted now.
#[derive(Debug)]
pub struct Readiness {
    traffic: Traffic,
    tokens: ActiveTokens,
    max_connections: usize,
    /// Locked for each probe, so that many probes do not queue up in front of webhooks.
    writer: Mutex<WriterHandle>,
}

/// Why no webhook would be accepted now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unready {
    #[error("{0}")]
    Refused(Refusal),
    #[error("there is no webhook URL (create one with `url new`)")]
    NoWebhookUrl,
    #[error("all of max_connections ({0}) are in use by webhooks that are being answered")]
    ConnectionsTaken(usize),
    #[error(
        "the spool does not answer: its disk is slow, another process keeps it locked, or its database or \
         the standbys do not answer"
    )]
    NoAnswer,
}

impl Unready {
    /// A short name that never changes. A refusal has the same name here as in the log and in the metrics.
    pub(super) fn tag(&self) -> &'static str {
        match self {
            Unready::Refused(refusal) => refusal.classify().1,
            Unready::NoWebhookUrl => "no_webhook_url",
            Unready::ConnectionsTaken(_) => "connections_taken",
            Unready::NoAnswer => "no_answer",
        }
    }
}

impl Readiness {
    /// Creates a check of these facts.
    pub fn new(traffic: Traffic, tokens: ActiveTokens, max_connections: usize, writer: WriterHandle) -> Self {
        Readiness { traffic, tokens, max_connections, writer: Mutex::new(writer) }
    }

    /// Returns why no webhook would be accepted now; nothing if one would be.
    pub(super) async fn reasons(&self) -> Vec<Unready> {
        let mut reasons = Vec::new();
        if self.traffic.is_closed() {
            reasons.push(Unready::Refused(Refusal::Spool(AppendError::Closed)));
        }
        if self.tokens.count() == 0 {
            reasons.push(Unready::NoWebhookUrl);
        }
        if self.traffic.busy_connections() >= self.max_connections {
            reasons.push(Unready::ConnectionsTaken(self.max_connections));
        }
        let ask = async { self.writer.lock().await.probe().await };
        let from_writer = match tokio::time::timeout(WRITER_TIMEOUT, ask).await {
            Ok(Ok(())) => None,
            Ok(Err(refused)) => Some(Unready::Refused(Refusal::Spool(refused))),
            Err(_) => Some(Unready::NoAnswer),
        };
        reasons.extend(from_writer.filter(|reason| !reasons.contains(reason)));
        reasons
    }
}
