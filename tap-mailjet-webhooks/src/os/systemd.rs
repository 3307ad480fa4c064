//! What the service manager is told (systemd's `Type=notify`). Without one, nothing happens.

use sd_notify::NotifyState;
use tracing::debug;

/// The tap takes webhooks.
pub fn is_ready() {
    tell(NotifyState::Ready);
}

/// The tap takes none any more, and is coming to its end.
pub fn is_stopping() {
    tell(NotifyState::Stopping);
}

fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        debug!("the service manager can't be told: {error}");
    }
}
