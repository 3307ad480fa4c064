//! The check that a listener repeats: is everything still registered, and alive?
//!
//! It never disturbs receiving: it has a thread of its own, and its failures are only reported. Each finding
//! is logged when it appears and when it is gone, not with each check.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use catalog::event::EventType;
use parking_lot::Mutex;
use tracing::{error, info, warn};

use super::access::Access;
use super::client::Client;
use super::error::ApiError;
use super::own_urls::{OwnUrls, Owner};
use super::registrar::names;
use super::registration::{Registration, Wanted};
use crate::os::clock::UnixMillis;
use crate::os::thread::ThreadError;
use crate::os::worker::{Round, Worker};
use crate::spool::{Spool, SpoolError, TokenHash};

/// How often the thread looks whether a check is due.
const TICK: Duration = Duration::from_millis(250);
/// When a check that failed is repeated, if the interval is longer.
const FAILED_INTERVAL: Duration = Duration::from_secs(60);

/// What the last checks have found. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct CheckResult(Arc<Mutex<Option<CheckedRegistration>>>);

/// What the last check that succeeded has found.
#[derive(Debug, Clone)]
pub struct CheckedRegistration {
    /// When that was.
    pub checked_at: UnixMillis,
    /// The events that are wanted, or registered with our URL.
    pub events: Vec<CheckedEvent>,
}

/// What a check has found for one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckedEvent {
    /// The event.
    pub event: EventType,
    /// Whether Mailjet has an active URL of ours for it.
    pub is_registered: bool,
    /// Whether Mailjet posts to that URL, and has not suspended it.
    pub is_alive: bool,
}

impl CheckResult {
    /// Returns what the last check that succeeded has found; `None` before the first one.
    pub fn get(&self) -> Option<CheckedRegistration> {
        self.0.lock().clone()
    }
}

/// What a check needs to know.
#[derive(Debug)]
#[allow(missing_docs)] // The types say what the fields are.
pub struct CheckSetup {
    pub access: Access,
    pub wanted: Wanted,
    pub configured: Option<Vec<TokenHash>>,
    pub interval: Duration,
}

/// A check failed.
#[derive(Debug, thiserror::Error)]
enum CheckError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// Starts the thread that checks, at once and then after each interval, until the worker is dropped.
pub fn start(
    setup: CheckSetup,
    spool: Arc<dyn Spool>,
    result: CheckResult,
) -> Result<Worker<std::convert::Infallible>, ThreadError> {
    let mut checker =
        Checker { client: Client::impatient(&setup.access), setup, spool, result, log: CheckLog::default() };
    let mut due_at = Instant::now();
    Worker::start("mailjet-check", TICK, move |round| {
        if round == Round::Regular && Instant::now() >= due_at {
            due_at = Instant::now() + checker.check();
        }
        Ok(())
    })
}

struct Checker {
    client: Client,
    setup: CheckSetup,
    spool: Arc<dyn Spool>,
    result: CheckResult,
    log: CheckLog,
}

impl Checker {
    /// Checks once, and returns when to check again.
    fn check(&mut self) -> Duration {
        match self.look() {
            Ok(registration) => {
                self.log.note(findings(&registration, self.setup.configured.is_some()));
                let checked =
                    CheckedRegistration { checked_at: UnixMillis::now(), events: checked(&registration) };
                *self.result.0.lock() = Some(checked);
                self.setup.interval
            }
            Err(error) => {
                self.log.note_failure(&error.to_string());
                self.setup.interval.min(FAILED_INTERVAL)
            }
        }
    }

    fn look(&self) -> Result<Registration, CheckError> {
        let listing = self.client.list()?;
        // A registry of its own, so that no lock is held while Mailjet is asked.
        let own = OwnUrls::read(&mut *self.spool.registry_view()?, self.setup.configured.as_deref())?;
        Ok(Registration::new(&listing, &own, &self.setup.wanted))
    }
}

fn checked(registration: &Registration) -> Vec<CheckedEvent> {
    let events = registration.events.iter().map(|event| {
        let ours = event.primary.as_ref().filter(|primary| matches!(primary.owner, Owner::Ours { .. }));
        let checked = CheckedEvent {
            event: event.event,
            is_registered: ours.is_some(),
            is_alive: ours.is_some_and(|primary| primary.row.is_alive),
        };
        (event.is_wanted, checked)
    });
    events.filter(|(is_wanted, event)| *is_wanted || event.is_registered).map(|(_, event)| event).collect()
}

/// Returns a sentence for each kind of problem, with the events that have it.
fn findings(registration: &Registration, by_hand: bool) -> Vec<Finding> {
    let mut by_problem: BTreeMap<(&'static str, String), Vec<EventType>> = BTreeMap::new();
    for (event, problem) in registration.problems() {
        by_problem.entry((problem.tag(), problem.to_string())).or_default().push(event);
    }
    let finding = |((tag, problem), events): ((&'static str, String), Vec<EventType>)| {
        let advice = match tag {
            _ if by_hand => {
                "enter a URL with one of the webhook_tokens yourself in Mailjet, a new one if it was \
                 suspended"
            }
            "suspended" => {
                "Mailjet posts nothing more to it. Find out why webhooks failed, then run `mailjet \
                 register`: it revives these events with a new URL"
            }
            "other_url" => {
                "run `mailjet register --replace` to replace it, or remove these events from mailjet_events"
            }
            _ => "run `mailjet register` to fix that",
        };
        let is_loss = matches!(tag, "suspended" | "revoked" | "missing");
        Finding { text: format!("Mailjet, {}: {problem}; {advice}", names(&events)), is_loss }
    };
    by_problem.into_iter().map(finding).collect()
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    text: String,
    /// Whether events do not arrive because of it.
    is_loss: bool,
}

/// Logs what has changed since the check before.
#[derive(Debug, Default)]
struct CheckLog {
    /// `None` before the first check that succeeded.
    findings: Option<Vec<Finding>>,
    failure: Option<String>,
}

impl CheckLog {
    fn note(&mut self, findings: Vec<Finding>) {
        if self.failure.take().is_some() {
            info!("the registration with Mailjet can be checked again");
        }
        let before = self.findings.as_deref().unwrap_or_default();
        for Finding { text, is_loss } in findings.iter().filter(|finding| !before.contains(finding)) {
            if *is_loss {
                error!("{text}");
            } else {
                warn!("{text}");
            }
        }
        if findings.is_empty() && self.findings.as_ref().is_none_or(|before| !before.is_empty()) {
            info!("Mailjet posts every event of mailjet_events here");
        }
        self.findings = Some(findings);
    }

    fn note_failure(&mut self, failure: &str) {
        if self.failure.as_deref() != Some(failure) {
            warn!("cannot check the registration with Mailjet: {failure}");
        }
        self.failure = Some(failure.to_owned());
    }
}
