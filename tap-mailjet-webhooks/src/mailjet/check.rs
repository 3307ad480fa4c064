//! The check that a listener repeats: is everything still registered, and alive?
//!
//! It never disturbs receiving: it has a thread of its own, and its failures are only reported. Each finding
//! is logged when it appears and when it is gone, not with each check.

use std::collections::BTreeMap;
use std::convert::Infallible;
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
use super::registration::{Problem, Registration, Wanted};
use crate::os::clock::UnixMillis;
use crate::os::thread::ThreadError;
use crate::os::worker::{Round, Worker};
use crate::spool::{Spool, SpoolError, TokenHash};

/// How often the thread looks whether a check is due.
const TICK: Duration = Duration::from_millis(250);
/// When a check that failed is repeated, if the interval is longer.
const FAILED_INTERVAL: Duration = Duration::from_secs(60);

/// What the checks have found. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct CheckResult(Arc<Mutex<Found>>);

#[derive(Debug, Default)]
struct Found {
    checked: Option<Arc<CheckedRegistration>>,
    failure: Option<String>,
}

/// What the last check that succeeded has found.
#[derive(Debug)]
pub struct CheckedRegistration {
    /// When that was.
    pub checked_at: UnixMillis,
    /// What Mailjet had.
    pub registration: Registration,
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
    pub fn get(&self) -> Option<Arc<CheckedRegistration>> {
        self.0.lock().checked.clone()
    }

    /// Returns why the last check failed; `None` if it succeeded.
    pub fn failure(&self) -> Option<String> {
        self.0.lock().failure.clone()
    }
}

impl CheckedRegistration {
    /// Returns the events that are wanted, or registered with our URL.
    pub fn events(&self) -> impl Iterator<Item = CheckedEvent> {
        let events = self.registration.events.iter().map(|event| {
            let ours = event.primary.as_ref().filter(|primary| matches!(primary.owner, Owner::Ours { .. }));
            let checked = CheckedEvent {
                event: event.event,
                is_registered: ours.is_some(),
                is_alive: ours.is_some_and(|primary| primary.row.is_alive),
            };
            (event.is_wanted, checked)
        });
        events.filter(|(is_wanted, event)| *is_wanted || event.is_registered).map(|(_, event)| event)
    }
}

/// What a check needs to know.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // The types say what the fields are.
pub struct CheckSetup {
    pub access: Access,
    pub wanted: Wanted,
    pub configured: Option<Vec<TokenHash>>,
}

/// A check failed.
#[derive(Debug, thiserror::Error)]
enum CheckError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// Checks what is registered. Several threads may check at the same time.
#[derive(Debug)]
pub struct Checker {
    client: Client,
    setup: CheckSetup,
    spool: Arc<dyn Spool>,
    result: CheckResult,
    log: Mutex<CheckLog>,
}

impl Checker {
    /// Puts what it finds into `result`. It has not checked yet.
    pub fn new(setup: CheckSetup, spool: Arc<dyn Spool>, result: CheckResult) -> Self {
        let client = Client::impatient(&setup.access);
        Checker { client, setup, spool, result, log: Mutex::default() }
    }

    /// What is checked.
    pub fn setup(&self) -> &CheckSetup {
        &self.setup
    }

    /// Starts the thread that checks, at once and then after each `interval`, until the worker is dropped.
    pub fn start(self: Arc<Self>, interval: Duration) -> Result<Worker<Infallible>, ThreadError> {
        let mut due_at = Instant::now();
        Worker::start("mailjet-check", TICK, move |round| {
            if round == Round::Regular && Instant::now() >= due_at {
                let is_checked = self.check();
                due_at = Instant::now() + if is_checked { interval } else { interval.min(FAILED_INTERVAL) };
            }
            Ok(())
        })
    }

    /// Checks once. Returns whether that succeeded.
    pub fn check(&self) -> bool {
        match self.look() {
            Ok(registration) => {
                self.log.lock().note(findings(&registration, self.setup.configured.is_some()));
                let checked = CheckedRegistration { checked_at: UnixMillis::now(), registration };
                *self.result.0.lock() = Found { checked: Some(Arc::new(checked)), failure: None };
                true
            }
            Err(error) => {
                self.log.lock().note_failure(&error.to_string());
                self.result.0.lock().failure = Some(error.to_string());
                false
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

/// Returns a sentence for each kind of problem, with the events that have it.
fn findings(registration: &Registration, by_hand: bool) -> Vec<Finding> {
    let mut by_problem: BTreeMap<&Problem, Vec<EventType>> = BTreeMap::new();
    for (event, problem) in registration.problems() {
        by_problem.entry(problem).or_default().push(event);
    }
    let finding = |(problem, events): (&Problem, Vec<EventType>)| {
        let advice = match problem {
            _ if by_hand => {
                "enter a URL with one of the webhook_tokens yourself in Mailjet, a new one if it was \
                 suspended"
            }
            Problem::Suspended => {
                "Mailjet posts nothing more to it. Find out why webhooks failed, then run `mailjet \
                 register`: it revives these events with a new URL"
            }
            Problem::Other(_) => {
                "run `mailjet register --replace` to replace it, or remove these events from mailjet_events"
            }
            _ => "run `mailjet register` to fix that",
        };
        let is_loss = matches!(problem, Problem::Suspended | Problem::Revoked | Problem::Missing);
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
