//! A status as lines for people.

use indicatif::{BinaryBytes, HumanCount, HumanDuration};

use super::{SpoolStatus, SpoolUse, WebhookUrls};
use crate::os::clock::UnixMillis;
use crate::spool::Sequence;

/// Renders the status of a spool at the moment `now`.
pub fn render(status: &SpoolStatus, usage: &SpoolUse, now: UnixMillis) -> String {
    let stats = &status.stats;
    let range = match (stats.oldest_event, stats.newest_event) {
        (Some(oldest), Some(newest)) => format!(" ({} to {})", oldest.to_rfc3339(), newest.to_rfc3339()),
        _ => String::new(),
    };
    let age = stats.unconfirmed.oldest.map(|oldest| HumanDuration(now.since(oldest)));
    let oldest = age.map(|age| format!(" (the oldest is {age} old)")).unwrap_or_default();
    let (count, urls) = match usage.webhook_urls {
        WebhookUrls::Configured(count) => (count, "given by webhook_tokens".to_owned()),
        WebhookUrls::Registered(count, None) => (count, "never used".to_owned()),
        WebhookUrls::Registered(count, Some(last)) => (count, format!("last used {}", last.to_rfc3339())),
    };
    let lines = [
        ("spool", status.name.clone()),
        ("events", format!("{}{range}", HumanCount(stats.events))),
        ("unconfirmed events", format!("{}{oldest}", HumanCount(stats.unconfirmed.events))),
        ("rejected items", HumanCount(stats.rejected).to_string()),
        ("used", BinaryBytes(stats.disk.used).to_string()),
        ("free within the file", bytes(stats.disk.free_within)),
        ("free on the disk", bytes(stats.disk.disk_free)),
        ("committed through", position(Some(stats.committed_through))),
        ("written through", position(stats.written_through)),
        ("confirmed through", position(stats.confirmed_through)),
        ("trimmed through", position(stats.trimmed_through)),
        ("listener", holders(&usage.listeners)),
        ("emitter", holders(&usage.emitters)),
        ("webhook URLs", format!("{count} ({urls})")),
    ];
    lines.map(|(name, value)| format!("{name:22}{value}\n")).concat()
}

fn bytes(bytes: Option<u64>) -> String {
    bytes.map_or("unknown".to_owned(), |bytes| BinaryBytes(bytes).to_string())
}

fn position(position: Option<Sequence>) -> String {
    position.map_or("none".to_owned(), |sequence| sequence.to_string())
}

fn holders(holders: &[String]) -> String {
    match holders {
        [] => "none".to_owned(),
        [process] => format!("process {process}"),
        several => format!("processes {}", several.join(", ")),
    }
}
