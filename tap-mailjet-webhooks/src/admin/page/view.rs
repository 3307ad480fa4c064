//! What the templates show. Askama escapes every value.

use std::time::Duration;

use askama::Template;
use url::Host;

use super::chart::{Chart, Period};
use super::headline::{Facts, Headline, State, Target, UrlUse};
use super::items::{self, FIRST_SHOWN, Filter, Item};
use super::wording::{bytes, count, day, number, span, time_of_day};
use super::{Context, PageConfig};
use crate::admin::readiness::Unready;
use crate::mailjet::check::CheckedRegistration;
use crate::os::clock::UnixMillis;
use crate::spool::{CountStep, ItemCount, Retirement, SpoolError, WebhookUrl};
use crate::status::Snapshot;

/// The longest time since its last use for which a URL counts as in use.
const IN_USE: Duration = Duration::from_secs(24 * 3600);

/// What every page shows to somebody who is signed in.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    pub(super) host: String,
    pub(super) version: &'static str,
    pub(super) form_token: String,
}

#[derive(Debug, Template)]
#[template(path = "login.html")]
pub(super) struct LoginPage {
    pub(super) error: Option<&'static str>,
}

#[derive(Debug, Template)]
#[template(path = "message.html")]
pub(super) struct MessagePage {
    pub(super) frame: Frame,
    pub(super) title: &'static str,
    pub(super) text: String,
}

#[derive(Debug, Template)]
#[template(path = "url_created.html")]
pub(super) struct UrlCreatedPage {
    pub(super) frame: Frame,
    pub(super) id: i64,
    pub(super) label: String,
    pub(super) url: String,
}

#[derive(Debug, Template)]
#[template(path = "status.html")]
pub(super) struct StatusPage {
    frame: Frame,
    short_state: &'static str,
    headline: Headline,
    as_of: String,
    as_of_iso: String,
    stages: Vec<Stage>,
    chart: Chart,
    urls: Urls,
    registration: RegistrationView,
    items: Items,
}

/// The items that arrived last.
#[derive(Debug)]
struct Items {
    /// The filter's name in the address; empty for all.
    filter: &'static str,
    rows: Vec<Item>,
    /// The address that shows more, if there is more.
    all_link: Option<String>,
}

#[derive(Debug)]
struct Stage {
    state: State,
    title: &'static str,
    figures: Vec<Figure>,
}

#[derive(Debug)]
struct Figure {
    name: &'static str,
    value: String,
    /// Hundredths of a bar below the value.
    meter: Option<u64>,
}

#[derive(Debug)]
struct Urls {
    is_configured: bool,
    is_full: bool,
    unreachable_host: Option<String>,
    rows: Vec<UrlRow>,
}

#[derive(Debug)]
struct UrlRow {
    id: i64,
    name: String,
    made: String,
    last_used: String,
    retires: Option<String>,
    is_in_use: bool,
}

#[derive(Debug)]
struct RegistrationView {
    has_keys: bool,
    summary: String,
    rows: Vec<RegistrationRow>,
}

#[derive(Debug)]
struct RegistrationRow {
    event: &'static str,
    posts_to: &'static str,
    state: State,
    word: &'static str,
    sent_as: &'static str,
}

/// Everything that is read for the page, at one moment.
pub(super) struct Reading {
    snapshot: Snapshot,
    urls: Vec<WebhookUrl>,
    last_hour: Vec<ItemCount>,
    shown: Vec<ItemCount>,
    state_was_given: bool,
    filter: Filter,
    shows_all: bool,
    items: Vec<Item>,
}

impl Reading {
    /// Reads the spool. This may take a while on a slow disk.
    pub(super) fn take(
        context: &Context,
        period: Period,
        filter: Filter,
        shows_all: bool,
    ) -> Result<Self, SpoolError> {
        let now = UnixMillis::now();
        let mut registry = context.spool.registry()?;
        let last_hour = registry.item_counts(CountStep::Minute, Period::Hour.since(now))?;
        let shown = match period {
            Period::Hour => last_hour.clone(),
            Period::Days => registry.item_counts(period.step(), period.since(now))?,
        };
        let urls = registry.webhook_urls()?;
        let state_was_given = registry.state_was_given()? || context.config.confirm_without_state;
        let snapshot = context.source.snapshot().unwrap_or_else(|| Snapshot::without_spool(now));
        let stats = snapshot.spool.as_ref().map(|spool| &spool.stats);
        let items = items::newest(&mut *context.spool.reader()?, filter, stats)?;
        Ok(Reading { snapshot, urls, last_hour, shown, state_was_given, filter, shows_all, items })
    }
}

impl StatusPage {
    pub(super) fn new(
        context: &Context,
        frame: Frame,
        period: Period,
        refusing: Vec<Unready>,
        mut reading: Reading,
    ) -> Self {
        let items = items_shown(&mut reading);
        let reading = &reading;
        let now = reading.snapshot.taken_at;
        let checked = context.registration.get();
        let facts = facts(context, refusing, reading, checked.as_ref());
        let headline = Headline::new(&facts);
        StatusPage {
            frame,
            short_state: match headline.state {
                State::Ok => "Receiving",
                State::Wait => "Not yet",
                State::Warn => "Attention",
                State::Bad => "Not receiving",
            },
            as_of: time_of_day(now),
            as_of_iso: now.to_rfc3339(),
            stages: stages(&facts, &headline, reading),
            chart: Chart::new(period, now, &reading.shown),
            urls: urls(&context.config, now, &reading.urls),
            registration: registration(&context.config, now, checked.as_ref()),
            headline,
            items,
        }
    }
}

fn items_shown(reading: &mut Reading) -> Items {
    let mut rows = std::mem::take(&mut reading.items);
    let (filter, query) = match reading.filter {
        Filter::All => ("", String::new()),
        Filter::Type(name) => (name, format!("&type={name}")),
        Filter::Rejected => ("rejected", "&rejected=1".to_owned()),
    };
    let has_more = !reading.shows_all && rows.len() > FIRST_SHOWN;
    if has_more {
        rows.truncate(FIRST_SHOWN);
    }
    Items { filter, rows, all_link: has_more.then(|| format!("/?items=100{query}#items")) }
}

fn facts(
    context: &Context,
    refusing: Vec<Unready>,
    reading: &Reading,
    checked: Option<&CheckedRegistration>,
) -> Facts {
    let config = &context.config;
    let now = reading.snapshot.taken_at;
    let stats = reading.snapshot.spool.as_ref().map(|spool| &spool.stats);
    let newest = stats.and_then(|stats| stats.newest_event).map(|newest| now.since(newest));
    let suspended = checked.into_iter().flat_map(|checked| &checked.events);
    let suspended = suspended.filter(|event| event.is_registered && !event.is_alive);
    let used_bytes = stats.map_or(0, |stats| stats.disk.used);
    Facts {
        refusing,
        urls: (!config.has_configured_tokens).then(|| {
            let use_of = |url: &WebhookUrl| UrlUse {
                name: name_of(url),
                age: now.since(url.created_at),
                is_used: url.last_used_at.is_some(),
            };
            reading.urls.iter().map(use_of).collect()
        }),
        last_event: context.traffic.since_last_event().or(newest),
        last_stored: now.saturating_sub(context.traffic.since_last_stored()),
        wanted_events: config.wanted_events,
        suspended: suspended.map(|event| event.event).collect(),
        target: match stats {
            Some(stats) if reading.state_was_given => Target::Confirming {
                waiting: stats.unconfirmed.events,
                oldest: stats.unconfirmed.oldest.map(|oldest| now.since(oldest)),
            },
            _ => Target::Unconfirmed,
        },
        used_bytes,
        max_bytes: config.spool_max_bytes,
        disk_free: stats.and_then(|stats| stats.disk.disk_free),
        min_free_bytes: config.min_free_bytes,
        full_in: stats.and_then(|stats| full_in(stats.events, used_bytes, config, &reading.last_hour)),
    }
}

/// Estimates how long it takes to fill the spool, if it grows as in the last hour.
fn full_in(events: u64, used: u64, config: &PageConfig, last_hour: &[ItemCount]) -> Option<Duration> {
    let in_hour: u64 = last_hour.iter().map(|count| count.count).sum();
    let bytes_per_event = used.checked_div(events)?.max(1);
    let per_hour = in_hour.saturating_mul(bytes_per_event);
    let left = config.spool_max_bytes.saturating_sub(used);
    Some(Duration::from_secs(left.saturating_mul(3600).checked_div(per_hour)?))
}

fn stages(facts: &Facts, headline: &Headline, reading: &Reading) -> Vec<Stage> {
    let figure = |name, value: String| Figure { name, value, meter: None };
    let is_refusing = facts.refusing.iter().any(|reason| *reason != Unready::NoWebhookUrl);
    let in_hour: u64 = reading.last_hour.iter().map(|count| count.count).sum();
    let last = facts.last_event.map_or("never".to_owned(), |age| format!("{} ago", span(age)));
    let received = match headline.state {
        State::Bad | State::Wait => headline.state,
        _ if !facts.suspended.is_empty() => State::Warn,
        _ => State::Ok,
    };
    let used = facts.used_bytes.saturating_mul(100) / facts.max_bytes.max(1);
    let disk = facts.disk_free.map_or("unknown".to_owned(), |free| format!("{} free", bytes(free)));
    let kept = match used {
        _ if is_refusing => State::Bad,
        90.. => State::Warn,
        _ => State::Ok,
    };
    let (state, lag, waiting) = match facts.target {
        Target::Unconfirmed => (State::Warn, "nothing is confirmed".to_owned(), "unknown".to_owned()),
        Target::Confirming { waiting, oldest } => {
            let is_behind = oldest.is_some_and(|oldest| oldest >= Duration::from_secs(600));
            let lag = oldest.map_or("none".to_owned(), |oldest| format!("{} behind", span(oldest)));
            (if is_behind { State::Warn } else { State::Ok }, lag, count(waiting, "event"))
        }
    };
    vec![
        Stage {
            state: received,
            title: "Received",
            figures: vec![figure("Last event", last), figure("Last hour", count(in_hour, "event"))],
        },
        Stage {
            state: kept,
            title: "Kept on disk",
            figures: vec![
                Figure {
                    name: "Spool",
                    value: format!("{} of {}", bytes(facts.used_bytes), bytes(facts.max_bytes)),
                    meter: Some(used.min(100)),
                },
                figure("Disk", disk),
            ],
        },
        Stage {
            state,
            title: "Stored by the target",
            figures: vec![figure("Lag", lag), figure("Waiting", waiting)],
        },
    ]
}

fn name_of(url: &WebhookUrl) -> String {
    url.label.clone().unwrap_or_else(|| format!("URL {}", url.id))
}

fn urls(config: &PageConfig, now: UnixMillis, active: &[WebhookUrl]) -> Urls {
    let row = |url: &WebhookUrl| {
        let unused = url.last_used_at.map(|used| now.since(used));
        UrlRow {
            id: url.id,
            name: name_of(url),
            made: day(url.created_at),
            last_used: unused.map_or("never".to_owned(), |unused| format!("{} ago", span(unused))),
            retires: url.retirement.map(|Retirement { after, unused_for }| {
                format!("retires after {} more without use", span(after.saturating_sub(unused_for)))
            }),
            is_in_use: unused.is_some_and(|unused| unused < IN_USE),
        }
    };
    let is_loopback = match config.public_url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback() || address.is_unspecified(),
        Some(Host::Ipv6(address)) => address.is_loopback() || address.is_unspecified(),
        None => true,
    };
    Urls {
        is_configured: config.has_configured_tokens,
        is_full: active.len() >= crate::listener::token::MAX_ACTIVE,
        unreachable_host: is_loopback.then(|| config.public_url.host_str().unwrap_or_default().to_owned()),
        rows: active.iter().map(row).collect(),
    }
}

fn registration(
    config: &PageConfig,
    now: UnixMillis,
    checked: Option<&CheckedRegistration>,
) -> RegistrationView {
    let Some(checked) = checked else {
        let summary = match config.has_keys {
            true => "Not checked yet.",
            false => {
                "The tap has no Mailjet keys, so it cannot check or register the webhook URL itself. Receiving \
                 does not need them."
            }
        };
        return RegistrationView { has_keys: config.has_keys, summary: summary.to_owned(), rows: Vec::new() };
    };
    let row = |event: &crate::mailjet::check::CheckedEvent| {
        let (state, word) = match (event.is_registered, event.is_alive) {
            (false, _) => (State::Bad, "not registered"),
            (true, false) => (State::Bad, "suspended"),
            (true, true) => (State::Ok, "alive"),
        };
        RegistrationRow {
            event: event.event.name(),
            posts_to: if event.is_registered { "this tap" } else { "nothing here" },
            state,
            word,
            sent_as: if event.is_registered { "primary" } else { "" },
        }
    };
    let rows: Vec<_> = checked.events.iter().map(row).collect();
    let wrong = rows.iter().filter(|row| row.state != State::Ok).count() as u64;
    let outcome = match wrong {
        0 => "Every event is registered.".to_owned(),
        wrong => format!("{} of {} need attention: run mailjet register.", number(wrong), rows.len()),
    };
    let summary = format!("Checked {} ago. {outcome}", span(now.since(checked.checked_at)));
    RegistrationView { has_keys: true, summary, rows }
}
