//! The listener: HTTP in, batches out. It knows nothing of Singer.
//!
//! Guards run in this order, and each answers before the next is asked: the webhook URL's token, the client's address, its
//! user name and password, the method, the content coding, the claimed size, and, while the body is read, its size and the
//! time it takes. Only then is the body looked at.
//!
//! | module | what it decides |
//! | --- | --- |
//! | [`accept`] | connections: how long for a handshake and a header, how to stop |
//! | [`places`] | how many connections, and which one makes room for a new one |
//! | [`tls`] | the handshake, and a certificate that is replaced |
//! | [`tls_files`] | what is in the files of certificate and key |
//! | [`address`] | where a request comes from, and whether it may |
//! | [`credentials`] | whether it has user name and password |
//! | [`route`] | which request is a webhook, and what it is answered |
//! | [`body`] | how a body is read |
//! | [`payload`] | which slices of a body are events |
//! | [`event_type`] | which of Mailjet's events each is |
//! | [`refusal`] | what a request that fails is told |
//! | [`refusal_log`] | what the log is told of it |
//! | [`traffic`] | what is counted |

mod accept;
mod body;
mod connection_slots;
mod event_type;
mod guards;
mod refusal;
mod refusal_log;
mod route;
mod split;
mod tls;
mod traffic;

use std::time::Duration;

pub use accept::serve;
pub use event_type::{Tally, type_of};
pub use guards::active_tokens::{ActiveTokens, FollowError};
pub use guards::address::{AddressGuard, Networks};
pub use guards::credentials::{Credentials, Password, Username};
pub use guards::token;
pub use refusal::Refusal;
pub use split::{SplitError, split};
pub use tls::Tls;
pub use tls::files::{TlsError, TlsFiles};
pub use traffic::{Answer, Traffic, TypeLabel};

use crate::spool::Receipt;

/// What the listener guards itself with.
#[derive(Debug, Clone)]
pub struct Guards {
    /// The webhook URLs that are taken.
    pub tokens: ActiveTokens,
    /// Where webhooks may come from, unless that is anywhere.
    pub addresses: Option<AddressGuard>,
    /// The user name and password that a webhook has to bring, if any.
    pub credentials: Option<Credentials>,
    /// Bytes of a body, at the most.
    pub max_body_bytes: u64,
    /// Certificate and key, if the listener speaks TLS itself.
    pub tls: Option<Tls>,
    /// Connections at a time, at the most. The one that has been idle for longest makes room for a new one.
    pub max_connections: usize,
    /// How long a handshake and a request's header may take, and how long a connection may stay without a request.
    pub header_timeout: Duration,
    /// How long a request's body may take.
    pub body_timeout: Duration,
    /// How long requests in flight may take once the listener stops.
    pub stop_timeout: Duration,
}
