//! Notifications to the service manager (systemd's `Type=notify`). Without one, nothing happens.

pub use sd_notify::NotifyState;
use tracing::debug;

/// Notifies the service manager that the tap accepts webhooks, or that it is about to end.
pub fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        debug!("cannot notify the service manager: {error}");
    }
}
