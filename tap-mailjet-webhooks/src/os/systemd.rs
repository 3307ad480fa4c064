//! Notifications to the service manager (systemd's `Type=notify`). Without one, nothing happens.

use sd_notify::NotifyState;
use tracing::debug;

/// Notifies that the tap accepts webhooks.
pub fn notify_ready() {
    notify(NotifyState::Ready);
}

/// Notifies that the tap no longer accepts webhooks and is about to end.
pub fn notify_stopping() {
    notify(NotifyState::Stopping);
}

fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        debug!("cannot notify the service manager: {error}");
    }
}
