//! The listener: HTTP in, batches out. It knows nothing of Singer.
//!
//! A request passes the [`guards`]. Then its body is read, split into events and appended to the spool. It is
//! answered only after the spool has stored it.
//!
//! | module | what it decides |
//! | --- | --- |
//! | [`accept`] | how long a handshake and a header may take, and how the listener stops |
//! | [`connection_slots`] | how many connections may be open, and which one is closed for a new one |
//! | [`tls`] | how a handshake goes, and which certificate it shows |
//! | [`guards`] | which requests are admitted, before their bodies are read |
//! | [`handler`] | how a request becomes a batch and is answered |
//! | [`body`] | how a body is read |
//! | [`split`](mod@split), [`salvage`] | which slices of a body are events, and what is left of a broken
//! one |
//! | [`foreign_protocol`] | clients that speak another protocol |
//! | [`foreign_format`] | what a body that is not JSON looks like |
//! | [`event_counts`] | how many events of each type a body holds |
//! | [`refusal`] | how a request can fail: status, message, tag and log level |
//! | [`refusal_log`] | which failures are logged |
//! | [`traffic`] | what is counted |

mod accept;
mod body;
mod connection_slots;
mod event_counts;
mod foreign_format;
mod foreign_protocol;
mod guards;
mod handler;
mod refusal;
mod refusal_log;
mod repair;
mod salvage;
mod scanner;
mod split;
mod tls;
mod traffic;

use std::time::Duration;

pub use accept::serve;
pub use event_counts::EventCounts;
pub(crate) use guards::active_tokens::wait_until_accepted;
pub use guards::active_tokens::{ActiveTokens, TemporaryToken};
pub use guards::address::{AddressGuard, Networks};
pub use guards::credentials::{Credentials, Password, Username};
pub use guards::{Guards, token};
pub use refusal::Refusal;
pub use split::{Split, split};
pub use tls::Tls;
pub use tls::files::{TlsError, TlsFiles};
pub use traffic::{EventLabels, RequestLabels, Traffic};

/// How a listener is set up.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Which requests are admitted.
    pub guards: Guards,
    /// The bounds on connections and time.
    pub limits: ConnectionLimits,
    /// The certificate and its key; `None` if the listener does not speak TLS.
    pub tls: Option<Tls>,
}

/// How many connections may be open, and how long each of their steps may take.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// The most connections at a time. Past it, the longest idle one is closed for a new one.
    pub max_connections: usize,
    /// How long a handshake may take, and then a request's header. Also, how long a connection may be idle,
    /// and how long a client may leave an answer unread.
    pub header_timeout: Duration,
    /// How long a request's body may take.
    pub body_timeout: Duration,
    /// How long requests in flight may take once the listener stops.
    pub stop_timeout: Duration,
}
