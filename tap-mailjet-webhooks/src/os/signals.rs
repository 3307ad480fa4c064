//! The signals that ask a run to end in good order.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

/// Returns a future that waits for SIGTERM or SIGINT. From now on, they no longer end the process by
/// themselves, however often they come. If the run takes too long to end, its deadline ends it.
pub fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        info!("{name}: stopping");
    })
}
