//! The listener: HTTP in, batches out. It knows nothing of Singer.
//!
//! Guards run in this order, and each answers before the next is asked: the webhook URL's token, the method, the
//! content coding, the claimed size, and, while the body is read, its size and the time it takes. Only then is the
//! body looked at.
//!
//! | module | what it decides |
//! | --- | --- |
//! | [`accept`] | connections: how many, how long for a header, how to stop |
//! | [`route`] | which request is a webhook, and what it is answered |
//! | [`body`] | how a body is read |
//! | [`payload`] | which slices of a body are events |
//! | [`event_type`] | which of Mailjet's events each is |
//! | [`refusal`] | what a request that fails is told |
//! | [`refusal_log`] | what the log is told of it |
//! | [`traffic`] | what is counted |

mod accept;
mod body;
mod event_type;
mod payload;
mod refusal;
mod refusal_log;
mod route;
mod traffic;

use std::time::Duration;

pub use accept::serve;
pub use event_type::{Tally, type_of};
pub use payload::{Unsplit, split};
pub use refusal::Refusal;
pub use traffic::{Answer, Traffic, TypeLabel};

use crate::spool::Receipt;
use crate::webhook_url::ActiveTokens;

/// What the listener guards itself with.
#[derive(Debug, Clone)]
pub struct Guards {
    /// The webhook URLs that are taken.
    pub tokens: ActiveTokens,
    /// Bytes of a body, at the most.
    pub max_body_bytes: u64,
    /// Connections at a time, at the most. Others wait in the kernel's queue.
    pub max_connections: usize,
    /// How long a request's header may take, and how long a connection may stay without a request.
    pub header_timeout: Duration,
    /// How long a request's body may take.
    pub body_timeout: Duration,
    /// How long requests in flight may take once the listener stops.
    pub stop_timeout: Duration,
}
