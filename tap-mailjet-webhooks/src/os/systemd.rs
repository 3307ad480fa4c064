//! The service manager: notifications to it (systemd's `Type=notify`), and sockets from it. Without one,
//! nothing happens.

use std::io;
use std::net::TcpListener;

use listenfd::ListenFd;
pub use sd_notify::NotifyState;
use tracing::debug;

/// Notifies the service manager that the tap accepts webhooks, or that it is about to end.
pub fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        debug!("cannot notify the service manager: {error}");
    }
}

/// Sockets that the service manager has bound and passed on (`LISTEN_FDS`).
#[derive(Debug, Default)]
pub struct PassedSockets {
    /// Where webhooks arrive: the socket named `webhooks`, or the first one.
    pub webhooks: Option<TcpListener>,
    /// The admin address: the socket named `admin`, or the second one.
    pub admin: Option<TcpListener>,
}

/// Takes the sockets that were passed to this process. A second call returns none.
pub fn passed_sockets() -> io::Result<PassedSockets> {
    // Colons separate the names. Sockets without a name of ours are taken in their order.
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let names: Vec<&str> = names.split(':').collect();
    let mut passed = ListenFd::from_env();
    let mut sockets = PassedSockets::default();
    for index in 0..passed.len() {
        let Some(socket) = passed.take_tcp_listener(index)? else { continue };
        // The service manager may have made it blocking.
        socket.set_nonblocking(true)?;
        let PassedSockets { webhooks, admin } = &mut sockets;
        let place = match (names.get(index), &webhooks) {
            (Some(&"admin"), _) => admin,
            (Some(&"webhooks"), _) | (_, None) => webhooks,
            _ => admin,
        };
        *place = Some(socket);
    }
    Ok(sockets)
}
