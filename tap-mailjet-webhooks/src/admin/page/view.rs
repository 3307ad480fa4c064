//! What the templates show. Askama escapes every value.

use std::time::Duration;

use askama::Template;
use catalog::event::EventType;

use super::chart::{Chart, Period};
use super::headline::{Action, BEHIND, Facts, Headline, State, Target, UrlUse};
use super::items::{self, FIRST_SHOWN, Filter, Item, Newest};
use super::registration::{RegistrationView, obstacle};
use super::response::Answer;
use super::send_test::TestView;
use super::urls::{self, MAX_LABEL_CHARS, Urls};
use super::wording::{ago, bytes, count, span, time_of_day};
use super::{Context, PageConfig};
use crate::admin::access::sessions::Secret;
use crate::admin::readiness::Unready;
use crate::mailjet::check::CheckedRegistration;
use crate::os::clock::UnixMillis;
use crate::spool::{CountStep, ItemCount, SpoolError, WebhookUrl};
use crate::status::Snapshot;

/// Returns the icon at a path. An unknown path has the icon of the state that is fine.
pub(super) fn icon(path: &str) -> Answer {
    let text = match path {
        "/icon-bad.svg" => include_str!("assets/icon-bad.svg"),
        "/icon-warn.svg" => include_str!("assets/icon-warn.svg"),
        "/icon-wait.svg" => include_str!("assets/icon-wait.svg"),
        _ => include_str!("assets/icon-ok.svg"),
    };
    Answer::asset("image/svg+xml", text)
}

/// The page says when the spool will be full only if that is sooner than this.
const MAX_FULL_IN: Duration = Duration::from_secs(30 * 24 * 3600);

/// What every page shows to a user who is signed in.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    pub(super) host: String,
    pub(super) version: &'static str,
    pub(super) form_token: Secret,
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

/// What registering with Mailjet would change.
#[derive(Debug, Template)]
#[template(path = "register.html")]
pub(super) struct RegisterPage {
    pub(super) frame: Frame,
    /// How many events change.
    pub(super) changes: usize,
    /// The event, and what happens to it.
    pub(super) lines: Vec<(&'static str, String)>,
    pub(super) makes_url: bool,
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
    /// Where a test is posted to.
    test_place: String,
    test: Option<TestView>,
    event_names: [&'static str; EventType::ALL.len()],
}

/// The items that arrived last.
#[derive(Debug)]
struct Items {
    /// The filter's name in the address; empty for all.
    filter: &'static str,
    rows: Vec<Item>,
    /// Whether older items were too large to be listed.
    is_cut: bool,
    /// The address that shows more, if there is more.
    all_link: Option<String>,
}

#[derive(Debug)]
struct Stage {
    state: State,
    title: &'static str,
    figures: Vec<Figure>,
    note: Option<String>,
}

#[derive(Debug)]
struct Figure {
    name: &'static str,
    value: String,
    /// How much of the bar below the value is filled, in percent.
    meter: Option<u64>,
}

/// Everything that is read for the page, at one moment.
pub(super) struct Reading {
    snapshot: Snapshot,
    urls: Vec<WebhookUrl>,
    has_revoked_urls: bool,
    last_hour: Vec<ItemCount>,
    shown: Vec<ItemCount>,
    state_was_given: bool,
    filter: Filter,
    shows_all: bool,
    items: Newest,
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
        let has_revoked_urls = !registry.revoked_tokens()?.is_empty();
        let state_was_given = registry.state_was_given()? || context.config.confirm_without_state;
        let snapshot = context.source.snapshot().unwrap_or_else(|| Snapshot::without_spool(now));
        let stats = snapshot.spool.as_ref().map(|spool| &spool.stats);
        let items = items::newest(&mut *context.spool.reader()?, filter, stats)?;
        Ok(Reading {
            snapshot,
            urls,
            has_revoked_urls,
            last_hour,
            shown,
            state_was_given,
            filter,
            shows_all,
            items,
        })
    }

    /// An empty reading, for a spool that does not answer.
    pub(super) fn without_spool(filter: Filter) -> Self {
        Reading {
            snapshot: Snapshot::without_spool(UnixMillis::now()),
            urls: Vec::new(),
            has_revoked_urls: false,
            last_hour: Vec::new(),
            shown: Vec::new(),
            state_was_given: true,
            filter,
            shows_all: false,
            items: Newest::default(),
        }
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
        let facts = facts(context, refusing, reading, checked.as_deref());
        let headline = Headline::new(&facts);
        let stats = reading.snapshot.spool.as_ref().map(|spool| &spool.stats);
        let test = context.sessions.with_data(&frame.form_token, |session| session.test.clone()).flatten();
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
            urls: Urls::new(&context.config, now, &reading.urls),
            registration: RegistrationView::new(context, now, checked.as_deref()),
            headline,
            items,
            test_place: context.config.public_url.origin().ascii_serialization(),
            test: test.map(|test| test.view(stats)),
            event_names: EventType::ALL.map(EventType::name),
        }
    }
}

fn items_shown(reading: &mut Reading) -> Items {
    let Newest { items: mut rows, is_cut } = std::mem::take(&mut reading.items);
    let (filter, query) = match reading.filter {
        Filter::All => ("", String::new()),
        Filter::Type(name) => (name, format!("&type={name}")),
        Filter::Rejected => ("rejected", "&rejected=1".to_owned()),
    };
    let has_more = !reading.shows_all && rows.len() > FIRST_SHOWN;
    if has_more {
        rows.truncate(FIRST_SHOWN);
    }
    Items { filter, rows, is_cut, all_link: has_more.then(|| format!("/?items=100{query}#items")) }
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
    let suspended = checked.into_iter().flat_map(CheckedRegistration::events);
    let suspended = suspended.filter(|event| event.is_registered && !event.is_alive);
    let used_bytes = stats.map_or(0, |stats| stats.disk.used);
    Facts {
        refusing,
        urls: (!config.has_configured_tokens).then(|| {
            let use_of =
                |url: &WebhookUrl| UrlUse { name: urls::name_of(url), age: now.since(url.created_at) };
            reading.urls.iter().map(use_of).collect()
        }),
        may_have_posted: reading.has_revoked_urls
            || reading.urls.iter().any(|url| url.last_used_at.is_some()),
        can_register: context.checker.as_deref().is_some_and(|checker| obstacle(checker).is_none()),
        has_emitter: context.has_emitter,
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
        confirmed_at: stats.and_then(|stats| stats.confirmed_at),
        used_bytes,
        max_bytes: config.spool_max_bytes,
        disk_free: stats.and_then(|stats| stats.disk.disk_free),
        min_free_bytes: config.min_free_bytes,
        full_in: stats.and_then(|stats| full_in(stats.events, used_bytes, config, &reading.last_hour)),
    }
}

/// Estimates how long it takes to fill the spool, if it grows as in the last hour; `None` if that is too far
/// off to matter.
fn full_in(events: u64, used: u64, config: &PageConfig, last_hour: &[ItemCount]) -> Option<Duration> {
    let in_hour: u64 = last_hour.iter().map(|count| count.count).sum();
    let bytes_per_event = used.checked_div(events)?.max(1);
    let per_hour = in_hour.saturating_mul(bytes_per_event);
    let left = config.spool_max_bytes.saturating_sub(used);
    let full_in = Duration::from_secs(left.saturating_mul(3600).checked_div(per_hour)?);
    (full_in < MAX_FULL_IN).then_some(full_in)
}

fn stages(facts: &Facts, headline: &Headline, reading: &Reading) -> Vec<Stage> {
    let figure = |name, value: String| Figure { name, value, meter: None };
    let is_refusing = facts.refusing.iter().any(|reason| *reason != Unready::NoWebhookUrl);
    let in_hour: u64 = reading.last_hour.iter().map(|count| count.count).sum();
    let last = facts.last_event.map_or("never".to_owned(), ago);
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
    let holds_nothing = reading.snapshot.spool.as_ref().is_none_or(|spool| spool.stats.events == 0);
    let (state, lag, waiting) = match facts.target {
        Target::Unconfirmed if holds_nothing => (State::Wait, "–".to_owned(), count(0, "event")),
        Target::Unconfirmed => (State::Warn, "nothing is confirmed".to_owned(), "unknown".to_owned()),
        Target::Confirming { waiting, oldest } => {
            let state = if oldest.is_some_and(|oldest| oldest >= BEHIND) { State::Warn } else { State::Ok };
            let lag = match oldest {
                None => "none".to_owned(),
                Some(oldest) if oldest < Duration::from_secs(1) => "under a second".to_owned(),
                Some(oldest) => format!("{} behind", span(oldest)),
            };
            (state, lag, count(waiting, "event"))
        }
    };
    let now = reading.snapshot.taken_at;
    let note = (!facts.has_emitter).then(|| {
        let last = facts.confirmed_at.map(|at| format!(" Last confirmed {}.", ago(now.since(at))));
        format!("Drains run beside this process.{}", last.unwrap_or_default())
    });
    vec![
        Stage {
            state: received,
            title: "Received",
            figures: vec![figure("Last event", last), figure("Last hour", count(in_hour, "event"))],
            note: None,
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
            note: None,
        },
        Stage {
            state,
            title: "Stored by the target",
            figures: vec![figure("Lag", lag), figure("Waiting", waiting)],
            note,
        },
    ]
}
