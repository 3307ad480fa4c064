//! Mailjet's registration: what is registered, checking it, and registering what is missing.

use std::sync::Arc;
use std::time::Duration;

use tracing::{error, info};
use warp::http::StatusCode;

use super::headline::State;
use super::response::Answer;
use super::view::{Frame, RegisterPage};
use super::wording::{ago, span};
use super::{Context, PageConfig};
use crate::mailjet::check::{CheckedRegistration, Checker};
use crate::mailjet::client::Client;
use crate::mailjet::own_urls::{OwnUrls, Owner};
use crate::mailjet::plan::{Change, Plan, PlannedChange, Target};
use crate::mailjet::registrar::{self, Registrar, RegistrarError};
use crate::mailjet::registration::{EventRegistration, Problem, Registered};
use crate::os::clock::UnixMillis;
use crate::spool::UrlPurpose;

/// An old URL is revoked once it has not been used for this long, for which Mailjet repeats a webhook.
const RETIRE_AFTER: Duration = Duration::from_secs(24 * 3600);

/// Mailjet's registration, as the page shows it.
#[derive(Debug)]
pub(super) struct RegistrationView {
    pub(super) has_keys: bool,
    /// Why the page cannot register anything, if it cannot.
    pub(super) obstacle: Option<&'static str>,
    /// Why the last check failed, if it did.
    pub(super) failure: Option<String>,
    pub(super) summary: String,
    /// Whether registering would change something.
    pub(super) can_be_mended: bool,
    pub(super) rows: Vec<RegistrationRow>,
}

/// What is registered for one event.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RegistrationRow {
    pub(super) event: &'static str,
    /// The receiver of the event.
    pub(super) posts_to: &'static str,
    /// Which of its URLs, and what else there is to say.
    pub(super) detail: String,
    pub(super) state: State,
    pub(super) word: &'static str,
    pub(super) sent_as: &'static str,
}

impl RegistrationView {
    pub(super) fn new(context: &Context, now: UnixMillis, checked: Option<&CheckedRegistration>) -> Self {
        let config = &context.config;
        let failure = context.registration.failure();
        let summary = match checked {
            _ if context.checker.is_none() => {
                "The tap has no Mailjet keys, so it cannot check or register the webhook URL itself. \
                 Receiving does not need them."
                    .to_owned()
            }
            None => "Not checked yet.".to_owned(),
            Some(checked) => summary(config, now, checked),
        };
        let rows = checked.into_iter().flat_map(|checked| checked.registration.events.iter()).filter_map(row);
        RegistrationView {
            has_keys: context.checker.is_some(),
            obstacle: context.checker.as_deref().and_then(obstacle),
            failure,
            summary,
            can_be_mended: checked.is_some_and(|checked| {
                // The URLs of other owners are left alone.
                checked.registration.problems().any(|(_, problem)| !matches!(problem, Problem::Other(_)))
            }),
            rows: rows.collect(),
        }
    }
}

fn summary(config: &PageConfig, now: UnixMillis, checked: &CheckedRegistration) -> String {
    let age = now.since(checked.checked_at);
    let next = config.check_interval.map(|interval| {
        let left = interval.saturating_sub(age);
        if left < Duration::from_secs(60) {
            "; the next check is due".to_owned()
        } else {
            format!("; the next check is in {}", span(left))
        }
    });
    let outcome = match checked.registration.problems().count() {
        0 => "Every event is registered as configured.".to_owned(),
        1 => "1 event is not as configured.".to_owned(),
        wrong => format!("{wrong} events are not as configured."),
    };
    format!("Checked {}{}. {outcome}", ago(age), next.unwrap_or_default())
}

/// Returns why the page cannot register anything.
pub(super) fn obstacle(checker: &Checker) -> Option<&'static str> {
    let setup = checker.setup();
    if setup.configured.is_some() {
        return Some(
            "The tokens come from webhook_tokens in the configuration, so the tap cannot register them \
             itself.",
        );
    }
    setup.wanted.base_url.is_none().then_some(
        "Set public_url to the address that Mailjet can reach; then the tap can register its webhook URL \
         itself.",
    )
}

/// Describes what is registered for an event; `None` if nothing is, and nothing has to be.
fn row(event: &EventRegistration) -> Option<RegistrationRow> {
    if !event.is_wanted && event.primary.is_none() && event.backup.is_none() {
        return None;
    }
    let (state, word) = match (&event.problem, &event.primary) {
        (Some(Problem::Missing), _) => (State::Bad, "not registered"),
        (Some(Problem::Suspended), _) => (State::Bad, "suspended"),
        (Some(Problem::Revoked), _) => (State::Bad, "revoked, gets 404"),
        (Some(Problem::Retiring), _) => (State::Warn, "being retired"),
        (Some(Problem::Address(_)), _) => (State::Warn, "alive, at another address"),
        (Some(Problem::Grouping { .. }), _) => (State::Warn, "alive, grouped differently"),
        (_, Some(Registered { row, .. })) if !row.is_alive => (State::Bad, "suspended"),
        (Some(Problem::Other(_)), _) => (State::Warn, "alive, not ours"),
        (None, Some(_)) => (State::Ok, "alive"),
        (None, None) => (State::Ok, "not wanted"),
    };
    let (posts_to, mut detail) = match &event.primary {
        Some(primary) => described(primary),
        None => ("nothing", String::new()),
    };
    if let Some(backup) = &event.backup {
        let (whom, which) = described(backup);
        let separator = if detail.is_empty() { "" } else { "; " };
        detail = format!("{detail}{separator}backup: {whom}, {which}");
    }
    if !event.is_wanted {
        let separator = if detail.is_empty() { "" } else { "; " };
        detail = format!("{detail}{separator}not in mailjet_events");
    }
    let sent_as = match &event.primary {
        Some(Registered { row, .. }) if row.is_grouped => "grouped, primary",
        Some(_) => "single, primary",
        None => "–",
    };
    Some(RegistrationRow { event: event.event.name(), posts_to, detail, state, word, sent_as })
}

/// Describes the owner of a URL, and the URL. Of other owners' URLs, only the host is shown.
fn described(registered: &Registered) -> (&'static str, String) {
    match registered.owner {
        Owner::Ours { id: Some(id), .. } => ("this tap", format!("URL {id}")),
        Owner::Ours { id: None, .. } => ("this tap", "from webhook_tokens".to_owned()),
        Owner::Revoked => ("this tap", "a URL that is revoked".to_owned()),
        Owner::Other => ("another URL", registered.row.url.shown()),
    }
}

/// Asks Mailjet now.
pub(super) async fn check(context: &Arc<Context>, frame: Frame) -> Answer {
    let checker = match known_checker(context, &frame) {
        Ok(checker) => checker,
        Err(refusal) => return refusal,
    };
    off_thread(move || checker.check()).await;
    // The page shows there whether that worked.
    Answer::redirect("/#mailjet")
}

/// Shows what registering would change.
pub(super) async fn show_plan(context: &Arc<Context>, frame: Frame) -> Answer {
    let checker = match registering_checker(context, &frame) {
        Ok(checker) => checker,
        Err(refusal) => return refusal,
    };
    let planning = {
        let context = Arc::clone(context);
        off_thread(move || plan(&context, &checker))
    };
    match planning.await {
        Ok(plan) => {
            let lines = plan.changes.iter().filter_map(|planned| line(planned, &plan)).collect();
            let changes = plan.changes.iter().filter(|planned| planned.change.is_change()).count();
            let makes_url = matches!(plan.target, Target::New);
            Answer::page(StatusCode::OK, &RegisterPage { frame, changes, lines, makes_url })
        }
        Err(error) => not_registered(frame, &error),
    }
}

fn plan(context: &Context, checker: &Checker) -> Result<Plan, RegistrarError> {
    let setup = checker.setup();
    let own = OwnUrls::read(&mut *context.spool.registry_view()?, setup.configured.as_deref())?;
    let client = Client::impatient(&setup.access);
    registrar::plan(&client, &setup.access.account(), &own, &setup.wanted, UrlPurpose::Register, false)
}

/// Registers what is missing. The URLs of other owners are left alone, so nothing changes beyond the plan.
pub(super) async fn register(context: &Arc<Context>, frame: Frame) -> Answer {
    let checker = match registering_checker(context, &frame) {
        Ok(checker) => checker,
        Err(refusal) => return refusal,
    };
    let registering = {
        let context = Arc::clone(context);
        off_thread(move || {
            let outcome = carry_out(&context, &checker);
            // Also after a failure, some events may be registered.
            checker.check();
            outcome
        })
    };
    match registering.await {
        Ok(()) => {
            info!("Mailjet's registration was changed on the status page");
            Answer::redirect("/#mailjet")
        }
        Err(error) => not_registered(frame, &error),
    }
}

fn carry_out(context: &Context, checker: &Checker) -> Result<(), RegistrarError> {
    let setup = checker.setup();
    let configured = setup.configured.as_deref();
    let mut registrar = Registrar::new(&setup.access, &setup.wanted, &*context.spool, configured)?;
    let plan = registrar.plan(UrlPurpose::Register, false)?;
    registrar.carry_out(UrlPurpose::Register, &plan, RETIRE_AFTER).map(drop)
}

/// Describes a change in words: the event, and the rest of the sentence. What stays as it is needs no line.
fn line(planned: &PlannedChange, plan: &Plan) -> Option<(&'static str, String)> {
    let target = match &plan.target {
        Target::Existing { id, .. } => format!("URL {id}"),
        Target::New => "the new URL".to_owned(),
    };
    let text = match (planned.change, &planned.now.problem) {
        (Change::Keep | Change::Ignore, _) => return None,
        (Change::Create, _) => format!("not registered; it is added, with {target}"),
        (Change::Leave | Change::Replace, problem) => {
            let host = if let Some(Problem::Other(shown)) = problem { shown.as_str() } else { "" };
            format!("posts to another URL ({host}) and is left alone")
        }
        (Change::Update, Some(Problem::Suspended)) => format!("suspended; it gets {target}"),
        (Change::Update, Some(Problem::Revoked)) => {
            format!("has a URL that is revoked; it gets {target}")
        }
        (Change::Update, Some(Problem::Address(shown))) => {
            format!("moves from {shown} to the address in public_url, with {target}")
        }
        (Change::Update, Some(Problem::Grouping { is_grouped: true })) => "will be posted singly".to_owned(),
        (Change::Update, Some(Problem::Grouping { is_grouped: false })) => {
            "will be posted in groups".to_owned()
        }
        (Change::Update, _) => format!("moves to {target}"),
    };
    Some((planned.now.event.name(), text))
}

/// Returns the checker or, if nothing can be registered, the answer that says why.
fn registering_checker(context: &Context, frame: &Frame) -> Result<Arc<Checker>, Answer> {
    let checker = known_checker(context, frame)?;
    match obstacle(&checker) {
        None => Ok(checker),
        Some(obstacle) => {
            let title = "The tap cannot register";
            Err(Answer::message(frame.clone(), StatusCode::CONFLICT, title, obstacle))
        }
    }
}

/// Returns the checker or, without keys, the answer that says so.
fn known_checker(context: &Context, frame: &Frame) -> Result<Arc<Checker>, Answer> {
    context.checker.clone().ok_or_else(|| {
        let text = "Put mailjet_api_key and mailjet_secret_key into the configuration and restart the tap.";
        Answer::message(frame.clone(), StatusCode::CONFLICT, "The tap has no Mailjet keys", text)
    })
}

fn not_registered(frame: Frame, failure: &RegistrarError) -> Answer {
    error!("the status page cannot register with Mailjet: {failure}");
    let text = super::headline::sentence(&failure.to_string());
    Answer::message(frame, StatusCode::BAD_GATEWAY, "Not everything is registered", text)
}

/// Runs work that waits for Mailjet on a thread of its own.
async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("asking Mailjet does not panic")
}
