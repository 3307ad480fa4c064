//! A status as one JSON object.

use serde_json::json;

use super::{SpoolStatus, SpoolUse, WebhookUrls};
use crate::os::clock::UnixMillis;

/// Renders the status of a spool at the moment `now`. Moments are in RFC 3339, ages in seconds and sizes in
/// bytes. Values that are unknown or do not exist are null.
pub fn render(status: &SpoolStatus, usage: &SpoolUse, now: UnixMillis) -> String {
    let stats = &status.stats;
    let moment = |moment: Option<UnixMillis>| moment.map(UnixMillis::to_rfc3339);
    let holders = |holders: &[String]| (!holders.is_empty()).then(|| holders.join(", "));
    let (webhook_urls, are_configured, last_used_at) = match usage.webhook_urls {
        WebhookUrls::Configured(count) => (count, true, None),
        WebhookUrls::Registered(count, last_used_at) => (count, false, last_used_at),
    };
    let object = json!({
        "spool": status.name,
        "events": stats.events,
        "oldest_event_at": moment(stats.oldest_event),
        "newest_event_at": moment(stats.newest_event),
        "unconfirmed_events": stats.unconfirmed.events,
        "oldest_unconfirmed_age_seconds": stats.unconfirmed.age_seconds(now),
        "rejected": stats.rejected,
        "used_bytes": stats.disk.used,
        "free_bytes": stats.disk.free_within,
        "disk_free_bytes": stats.disk.disk_free,
        "committed_through": stats.committed_through,
        "written_through": stats.written_through,
        "confirmed_through": stats.confirmed_through,
        "trimmed_through": stats.trimmed_through,
        "listener": holders(&usage.listeners),
        "emitter": holders(&usage.emitters),
        "webhook_urls": webhook_urls,
        "webhook_urls_are_configured": are_configured,
        "webhook_url_last_used_at": moment(last_used_at),
    });
    format!("{object:#}\n")
}
