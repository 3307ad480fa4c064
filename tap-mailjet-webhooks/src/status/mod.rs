//! The status of a tap and its spool at one moment, and how it is shown.
//!
//! [`StatusSource`] takes a [`Snapshot`]; each renderer shows it in its own form:
//!
//! | module | form | shown by |
//! | --- | --- | --- |
//! | [`text`], [`json`] | lines for people, one JSON object | `spool status` |
//! | [`prometheus`] | Prometheus's text format | `/metrics` |
//! | [`live_line`] | one line that is redrawn constantly, or a log line a minute | stderr |
//! | [`singer_metrics`] | `INFO METRIC: {…}` | the log |

pub mod json;
pub mod live_line;
pub mod prometheus;
pub mod singer_metrics;
mod source;
pub mod text;

use crate::emitter::progress::ProgressSnapshot;
use crate::listener::Traffic;
use crate::os::clock::UnixMillis;
use crate::spool::{CommitStats, Pending, SpoolStats};

pub use source::{SharedSource, StatusSource};

/// Everything that is shown of a tap, at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// When it was taken.
    pub taken_at: UnixMillis,
    /// The counters of this process's listener, if it has one.
    pub listener: Option<ListenerStatus>,
    /// How far the emitter of this process has got, if it has one.
    pub emitter: Option<ProgressSnapshot>,
    /// How far the emitter of this process is behind; `None` without an emitter, or if the spool cannot be read
    /// now.
    pub behind: Option<Behind>,
    /// The spool; `None` if it cannot be read now, or was not asked for.
    pub spool: Option<SpoolStatus>,
}

/// What a listener counts. The counters go on counting after the snapshot.
#[derive(Debug, Clone)]
pub struct ListenerStatus {
    /// The requests and events.
    pub traffic: Traffic,
    /// The commits of the writer.
    pub commits: CommitStats,
}

/// What a spool holds, and how far each component has got with it.
#[derive(Debug, Clone)]
pub struct SpoolStatus {
    /// How messages name the spool.
    pub name: String,
    /// What it holds.
    pub stats: SpoolStats,
}

/// How far an emitter is behind what the spool holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Behind {
    /// Events that it has not written yet.
    pub unwritten: Pending,
    /// The lag: events that the target has not confirmed or, if nothing is ever confirmed, that the emitter
    /// has not written.
    pub unstored: Pending,
}

/// Who uses a spool, and through which webhook URLs it is reached.
#[derive(Debug, Clone)]
pub struct SpoolUse {
    /// The processes that have the role of the listener.
    pub listeners: Vec<String>,
    /// The processes that have the role of the emitter.
    pub emitters: Vec<String>,
    /// The webhook URLs.
    pub webhook_urls: WebhookUrls,
}

/// Which webhook URLs are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookUrls {
    /// Those of `webhook_tokens`. Their uses are not recorded.
    Configured {
        /// How many.
        count: usize,
    },
    /// Those in the spool's registry.
    Registered {
        /// How many.
        count: usize,
        /// When one of them was last used.
        last_used_at: Option<UnixMillis>,
    },
}
