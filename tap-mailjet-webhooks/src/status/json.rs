//! A status as one JSON object.

use serde::Serialize;

use super::{SpoolStatus, SpoolUse, WebhookUrls};
use crate::os::clock::UnixMillis;
use crate::spool::Sequence;

/// The keys of the object. Moments are RFC 3339, ages are seconds, sizes are bytes.
#[derive(Serialize)]
struct Object<'a> {
    spool: &'a str,
    #[serde(flatten)]
    contents: Contents,
    #[serde(flatten)]
    positions: Positions,
    #[serde(flatten)]
    usage: Usage,
}

#[derive(Serialize)]
struct Contents {
    events: u64,
    oldest_event_at: Option<String>,
    newest_event_at: Option<String>,
    unconfirmed_events: u64,
    oldest_unconfirmed_age_seconds: f64,
    rejected: u64,
    used_bytes: u64,
    free_bytes: Option<u64>,
    disk_free_bytes: Option<u64>,
}

#[derive(Serialize)]
struct Positions {
    committed_through: Sequence,
    written_through: Option<Sequence>,
    confirmed_through: Option<Sequence>,
    trimmed_through: Option<Sequence>,
}

#[derive(Serialize)]
struct Usage {
    /// The process that has the role; null if none has it.
    listener: Option<String>,
    emitter: Option<String>,
    webhook_urls: usize,
    webhook_urls_are_configured: bool,
    webhook_url_last_used_at: Option<String>,
}

/// Renders the status of a spool at the moment `now`.
#[must_use]
pub fn render(status: &SpoolStatus, usage: &SpoolUse, now: UnixMillis) -> String {
    let stats = &status.stats;
    let holders = |holders: &[String]| (!holders.is_empty()).then(|| holders.join(", "));
    let (webhook_urls, webhook_urls_are_configured, last_used_at) = match usage.webhook_urls {
        WebhookUrls::Configured { count } => (count, true, None),
        WebhookUrls::Registered { count, last_used_at } => (count, false, last_used_at),
    };
    let object = Object {
        spool: &status.name,
        contents: Contents {
            events: stats.events,
            oldest_event_at: stats.oldest_event.map(UnixMillis::to_rfc3339),
            newest_event_at: stats.newest_event.map(UnixMillis::to_rfc3339),
            unconfirmed_events: stats.unconfirmed.events,
            oldest_unconfirmed_age_seconds: stats.unconfirmed.age_seconds(now),
            rejected: stats.rejected,
            used_bytes: stats.disk.used,
            free_bytes: stats.disk.free_within,
            disk_free_bytes: stats.disk.disk_free,
        },
        positions: Positions {
            committed_through: stats.committed_through,
            written_through: stats.written_through,
            confirmed_through: stats.confirmed_through,
            trimmed_through: stats.trimmed_through,
        },
        usage: Usage {
            listener: holders(&usage.listeners),
            emitter: holders(&usage.emitters),
            webhook_urls,
            webhook_urls_are_configured,
            webhook_url_last_used_at: last_used_at.map(UnixMillis::to_rfc3339),
        },
    };
    serde_json::to_string_pretty(&object).expect("a status is JSON") + "\n"
}
