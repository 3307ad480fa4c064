//! What is registered with Mailjet for each event, and what is wrong with it.

use std::fmt;

use catalog::event::EventType;
use secrecy::SecretString;

use super::callback::{CallbackRow, CallbackUrl};
use super::client::Listing;
use super::own_urls::{OwnUrls, Owner};

/// What has to be registered.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// For which events.
    pub events: Vec<EventType>,
    /// Whether the events of a second come in one request.
    pub is_grouped: bool,
    /// What the webhook URLs start with, including credentials; `None` if `public_url` is not set.
    pub base_url: Option<SecretString>,
}

/// What is registered, event by event, in Mailjet's order.
#[derive(Debug, Clone)]
pub struct Registration {
    /// One entry for each of the documented events.
    pub events: Vec<EventRegistration>,
    /// The ids of our active webhook URLs that Mailjet posts to, or may post to: also as backups, and in rows
    /// that are not understood.
    in_use: Vec<i64>,
}

/// What is registered for one event.
#[derive(Debug, Clone)]
pub struct EventRegistration {
    /// The event.
    pub event: EventType,
    /// Whether `mailjet_events` names it.
    pub is_wanted: bool,
    /// The URL that Mailjet posts to.
    pub primary: Option<Registered>,
    /// The URL that it posts to once the primary one is suspended.
    pub backup: Option<Registered>,
    /// What is wrong; `None` if everything is as configured.
    pub problem: Option<Problem>,
}

/// A row, and whose URL it has.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // The types say what the fields are.
pub struct Registered {
    pub row: CallbackRow,
    pub owner: Owner,
}

/// Why an event is not registered as configured.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Problem {
    /// No URL is registered.
    Missing,
    /// The URL is somebody else's; its shown form.
    Other(String),
    /// Mailjet has suspended our URL.
    Suspended,
    /// Our URL is revoked, so every webhook gets 404.
    Revoked,
    /// Our URL will be revoked soon.
    Retiring,
    /// Our token, below another address than `public_url`, or with other credentials; the shown form.
    Address(String),
    /// Single events although groups are configured, or the other way round.
    Grouping {
        /// What is registered.
        is_grouped: bool,
    },
}

impl Problem {
    /// A short name that never changes.
    pub fn tag(&self) -> &'static str {
        match self {
            Problem::Missing => "missing",
            Problem::Other(_) => "other_url",
            Problem::Suspended => "suspended",
            Problem::Revoked => "revoked",
            Problem::Retiring => "retiring",
            Problem::Address(_) => "address",
            Problem::Grouping { .. } => "grouping",
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Missing => f.write_str("no URL is registered"),
            Problem::Other(shown) => write!(f, "another URL is registered ({shown})"),
            Problem::Suspended => f.write_str("Mailjet has suspended the URL after 24 hours of failures"),
            Problem::Revoked => f.write_str("the URL is revoked or not accepted, so Mailjet gets 404"),
            Problem::Retiring => f.write_str("the URL is being retired"),
            Problem::Address(shown) => {
                write!(f, "the URL has another address or other credentials than configured ({shown})")
            }
            Problem::Grouping { is_grouped: true } => f.write_str("events are posted in groups, not singly"),
            Problem::Grouping { is_grouped: false } => f.write_str("events are posted singly, not in groups"),
        }
    }
}

impl Registration {
    /// Compares what an account has with what is wanted.
    pub fn new(listing: &Listing, own: &OwnUrls, wanted: &Wanted) -> Self {
        let Listing { rows, others } = listing;
        let find = |event, is_backup| {
            let row = rows.iter().find(|row| row.event == event && row.is_backup == is_backup)?;
            Some(Registered { row: row.clone(), owner: own.owner(&row.url) })
        };
        let events = EventType::ALL.map(|event| {
            let (primary, backup) = (find(event, false), find(event, true));
            let is_wanted = wanted.events.contains(&event);
            let problem = is_wanted.then(|| problem(primary.as_ref(), wanted)).flatten();
            EventRegistration { event, is_wanted, primary, backup, problem }
        });
        let alive = rows.iter().filter(|row| row.is_alive).map(|row| &row.url);
        let mut in_use: Vec<_> = alive.chain(others).filter_map(|url| own.owner(url).id()).collect();
        in_use.sort_unstable();
        in_use.dedup();
        Registration { events: events.into(), in_use }
    }

    /// Returns the events that are not registered as configured, and why.
    pub fn problems(&self) -> impl Iterator<Item = (EventType, &Problem)> {
        self.events.iter().filter_map(|event| Some((event.event, event.problem.as_ref()?)))
    }

    /// Returns the ids of our active webhook URLs that must not retire.
    pub fn in_use(&self) -> &[i64] {
        &self.in_use
    }

    /// Returns the ids of our active webhook URLs that some row for a documented event has, alive or not.
    pub fn own_ids(&self) -> Vec<i64> {
        let registered = self.events.iter().flat_map(|event| event.primary.iter().chain(&event.backup));
        let mut ids: Vec<_> = registered.filter_map(|registered| registered.owner.id()).collect();
        ids.extend(&self.in_use);
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Returns the events that have the webhook URL `id` as their backup.
    pub fn backups(&self, id: i64) -> Vec<EventType> {
        let has_it = |event: &&EventRegistration| {
            event.backup.as_ref().is_some_and(|backup| backup.owner.id() == Some(id))
        };
        self.events.iter().filter(has_it).map(|event| event.event).collect()
    }
}

fn problem(primary: Option<&Registered>, wanted: &Wanted) -> Option<Problem> {
    let Some(Registered { row, owner }) = primary else { return Some(Problem::Missing) };
    match owner {
        Owner::Other => return Some(Problem::Other(row.url.shown())),
        Owner::Revoked => return Some(Problem::Revoked),
        Owner::Ours { .. } if !row.is_alive => return Some(Problem::Suspended),
        Owner::Ours { is_retiring: true, .. } => return Some(Problem::Retiring),
        Owner::Ours { .. } => {}
    }
    let expected: Option<CallbackUrl> = wanted.base_url.as_ref().and_then(|base| row.url.moved_to(base));
    if expected.is_some_and(|expected| !expected.is_same(&row.url)) {
        return Some(Problem::Address(row.url.shown()));
    }
    (row.is_grouped != wanted.is_grouped).then_some(Problem::Grouping { is_grouped: row.is_grouped })
}
