//! SIGTERM and SIGINT: a request to end, which takes its time.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::info;

/// The two signals that ask a run to end. From the moment this exists they end nothing by themselves, however often they
/// come: what cuts a slow end short is its deadline.
#[derive(Debug)]
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Begins to watch for the signals.
    pub fn watch() -> std::io::Result<Self> {
        Ok(StopSignals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the first of them.
    pub async fn first(mut self) {
        let name = tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        };
        info!("{name}: stopping");
    }
}
