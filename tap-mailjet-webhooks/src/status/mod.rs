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
//!
//! [`history`] counts what is received over time.

mod components;
pub mod history;
pub mod json;
pub mod live_line;
pub mod prometheus;
pub mod singer_metrics;
mod source;
pub mod text;

use crate::emitter::progress::ProgressSnapshot;
use crate::listener::Traffic;
use crate::mailjet::check::CheckResult;
use crate::os::clock::UnixMillis;
use crate::spool::{CommitStats, Pending, SpoolStats};

pub use components::Components;
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
    /// How far the emitter of this process is behind; `None` without an emitter, or if the spool cannot be
    /// read now.
    pub behind: Option<Behind>,
    /// The spool; `None` if it cannot be read now, or was not asked for.
    pub spool: Option<SpoolStatus>,
}

impl Snapshot {
    /// A snapshot of nothing, for a tap that is stopping.
    pub fn without_spool(taken_at: UnixMillis) -> Self {
        Snapshot { taken_at, listener: None, emitter: None, behind: None, spool: None }
    }
}

/// What a listener counts. The counters go on counting after the snapshot.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // The types say what the fields are.
pub struct ListenerStatus {
    pub traffic: Traffic,
    pub commits: CommitStats,
    pub registration: CheckResult,
}

/// What a spool holds, and how messages name it.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // The names say what the fields are.
pub struct SpoolStatus {
    pub name: String,
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

/// The processes that have each role on a spool, and the webhook URLs through which it is reached.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // The names say what the fields are.
pub struct SpoolUse {
    pub listeners: Vec<String>,
    pub emitters: Vec<String>,
    pub webhook_urls: WebhookUrls,
}

/// How many webhook URLs are accepted, and when one of them was last used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookUrls {
    /// Those of `webhook_tokens`. Their uses are not recorded.
    Configured(usize),
    /// Those in the spool's registry.
    Registered(usize, Option<UnixMillis>),
}
