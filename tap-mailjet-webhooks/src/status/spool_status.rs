//! `spool status`: what the spool holds and how far everybody has got with it, for people and for scripts.
//!
//! The figures are those of the metrics ([`SpoolStats`]). They are taken from the files, beside a running tap or without one.

use std::path::{Path, PathBuf};

use indicatif::{BinaryBytes, HumanCount};
use serde::Serialize;

use crate::listener::token::{UrlError, UrlStore};
use crate::os::clock;
use crate::spool::{Role, SpoolError, SpoolStats, StatsReader, holder_of};

/// Why there is nothing to tell.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// There is no spool, or it can't be read.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The webhook URLs can't be read.
    #[error(transparent)]
    Url(#[from] UrlError),
}

/// What `spool status` tells. Moments are RFC 3339, ages are seconds, sizes bytes.
#[derive(Debug, Serialize)]
pub struct Status {
    spool: PathBuf,
    events: u64,
    oldest_event_at: Option<String>,
    newest_event_at: Option<String>,
    unconfirmed_events: u64,
    oldest_unconfirmed_age_seconds: f64,
    rejected: u64,
    used_bytes: u64,
    free_bytes: u64,
    disk_free_bytes: u64,
    committed_through: i64,
    written_through: Option<i64>,
    confirmed_through: Option<i64>,
    trimmed_through: Option<i64>,
    /// Id of the process that has the role; null if none has.
    listener: Option<String>,
    emitter: Option<String>,
    webhook_urls: usize,
    /// Whether they come from `webhook_tokens`: when those are used is not noted.
    webhook_urls_are_configured: bool,
    webhook_url_last_used_at: Option<String>,
}

impl Status {
    /// Looks at the spool at `path`. `tokens`: how many the configuration gives instead of the spool, if it does.
    pub fn of(path: &Path, tokens: Option<usize>, unix_millis: i64) -> Result<Self, StatusError> {
        let none = || SpoolError::Missing { path: path.to_owned() };
        let (survey, _) = StatsReader::open(path)?.ok_or_else(none)?.survey(0)?;
        let urls = match tokens {
            Some(_) => Vec::new(),
            None => UrlStore::look(path)?.ok_or_else(none)?.list()?,
        };
        let SpoolStats { events, rejected, space, unconfirmed, .. } = survey;
        Ok(Status {
            spool: path.to_owned(),
            events,
            oldest_event_at: survey.oldest_event.map(clock::rfc3339),
            newest_event_at: survey.newest_event.map(clock::rfc3339),
            unconfirmed_events: unconfirmed.events,
            oldest_unconfirmed_age_seconds: unconfirmed.age_seconds(unix_millis),
            rejected,
            used_bytes: space.used,
            free_bytes: space.free_within,
            disk_free_bytes: space.disk_free,
            committed_through: survey.committed_through,
            written_through: survey.written_through,
            confirmed_through: survey.confirmed_through,
            trimmed_through: survey.trimmed_through,
            listener: holder_of(Role::Listener, path)?,
            emitter: holder_of(Role::Emitter, path)?,
            webhook_urls: tokens.unwrap_or(urls.len()),
            webhook_urls_are_configured: tokens.is_some(),
            webhook_url_last_used_at: urls
                .iter()
                .filter_map(|url| url.last_used_at)
                .max()
                .map(clock::rfc3339),
        })
    }

    /// As JSON, with a line ending.
    #[must_use]
    pub fn as_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a status is JSON") + "\n"
    }

    /// As lines for people.
    #[must_use]
    pub fn as_text(&self) -> String {
        let range = match (&self.oldest_event_at, &self.newest_event_at) {
            (Some(oldest), Some(newest)) => format!(" ({oldest} to {newest})"),
            _ => String::new(),
        };
        let oldest = match self.unconfirmed_events {
            0 => String::new(),
            _ => format!(" (the oldest is {} old)", age(self.oldest_unconfirmed_age_seconds)),
        };
        let position =
            |position: Option<i64>| position.map_or("none".to_owned(), |sequence| sequence.to_string());
        let holder =
            |holder: &Option<String>| holder.as_ref().map_or("none".to_owned(), |id| format!("process {id}"));
        let urls = match (self.webhook_urls_are_configured, &self.webhook_url_last_used_at) {
            (true, _) => "given by webhook_tokens".to_owned(),
            (false, None) => "never used".to_owned(),
            (false, Some(last_used)) => format!("last used {last_used}"),
        };
        let lines = [
            ("spool", self.spool.display().to_string()),
            ("events", format!("{}{range}", HumanCount(self.events))),
            ("unconfirmed events", format!("{}{oldest}", HumanCount(self.unconfirmed_events))),
            ("rejected items", HumanCount(self.rejected).to_string()),
            ("used", BinaryBytes(self.used_bytes).to_string()),
            ("free within the file", BinaryBytes(self.free_bytes).to_string()),
            ("free on the disk", BinaryBytes(self.disk_free_bytes).to_string()),
            ("committed through", position(Some(self.committed_through))),
            ("written through", position(self.written_through)),
            ("confirmed through", position(self.confirmed_through)),
            ("trimmed through", position(self.trimmed_through)),
            ("listener", holder(&self.listener)),
            ("emitter", holder(&self.emitter)),
            ("webhook URLs", format!("{} ({urls})", self.webhook_urls)),
        ];
        lines.map(|(name, value)| format!("{name:22}{value}\n")).concat()
    }
}

/// A time that has passed, as people say it.
fn age(seconds: f64) -> String {
    const UNITS: [(f64, &str); 3] = [(86_400.0, "days"), (3600.0, "h"), (60.0, "min")];
    let unit = UNITS.into_iter().find(|(length, _)| seconds >= 2.0 * length);
    let (length, name) = unit.unwrap_or((1.0, "s"));
    format!("{:.0} {name}", (seconds / length).floor())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_told_as_people_do() {
        let cases =
            [(0.4, "0 s"), (119.0, "119 s"), (120.0, "2 min"), (7_200.0, "2 h"), (200_000.0, "2 days")];
        for (seconds, expected) in cases {
            assert_eq!(age(seconds), expected);
        }
    }
}
