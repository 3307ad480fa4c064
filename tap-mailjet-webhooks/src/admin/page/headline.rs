//! The headline: is Mailjet's traffic arriving and being stored; if not, why, and what to do.
//!
//! The worst state wins: refusing, then not receiving, then receiving in part, then behind, then fine.

use std::time::Duration;

use catalog::event::EventType;

use super::wording::{ago, bytes, count, day_and_time, span};
use crate::admin::readiness::Unready;
use crate::listener::Refusal;
use crate::os::clock::UnixMillis;
use crate::spool::AppendError;

/// The target counts as behind once an event has waited this long.
pub(super) const BEHIND: Duration = Duration::from_secs(600);
/// The tap counts as quiet once no event has arrived for this long.
const QUIET: Duration = Duration::from_secs(3600);
/// The percentage from which the spool counts as nearly full.
const NEARLY_FULL: u64 = 90;
/// How long Mailjet repeats a webhook that fails.
const GIVES_UP_AFTER: Duration = Duration::from_secs(24 * 3600);

/// How good something is, from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// All is well.
    Ok,
    /// Nothing is wrong, but something has yet to happen.
    Wait,
    /// Something needs attention.
    Warn,
    /// Events do not arrive.
    Bad,
}

impl State {
    /// The name in the page's style sheet.
    pub(super) fn class(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Wait => "wait",
            State::Warn => "warn",
            State::Bad => "bad",
        }
    }
}

/// A form or link that belongs to a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// The form that makes a webhook URL.
    MakeUrl,
    /// The page that shows what registering would change.
    Register,
    /// The form that sends a test, further down.
    SendTest,
}

/// A webhook URL, as far as the headline needs it.
#[derive(Debug, Clone)]
pub(super) struct UrlUse {
    /// Its name on the page.
    pub name: String,
    /// How long ago it was made.
    pub age: Duration,
}

/// How far the target has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// States confirm what it has stored. The events that wait, and the age of the oldest.
    Confirming {
        /// Events that no state confirms yet.
        waiting: u64,
        /// How long ago the oldest of them arrived.
        oldest: Option<Duration>,
    },
    /// No run was ever given a state, so nothing counts as stored.
    Unconfirmed,
}

/// What the headline follows from.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // The names say what the fields are.
pub(super) struct Facts {
    pub refusing: Vec<Unready>,
    /// `None` with tokens from the configuration.
    pub urls: Option<Vec<UrlUse>>,
    /// Whether Mailjet may have posted something before: an active URL was used, or one is revoked.
    pub may_have_posted: bool,
    /// Whether the page can register webhook URLs with Mailjet.
    pub can_register: bool,
    /// Whether this process also writes to a target.
    pub has_emitter: bool,
    pub last_event: Option<Duration>,
    /// When anything was last stored or, before the first webhook, when the process started.
    pub last_stored: UnixMillis,
    pub wanted_events: usize,
    pub suspended: Vec<EventType>,
    pub target: Target,
    /// When the target last confirmed something.
    pub confirmed_at: Option<UnixMillis>,
    pub used_bytes: u64,
    pub max_bytes: u64,
    pub disk_free: Option<u64>,
    pub min_free_bytes: u64,
    /// How long until the spool is full at the rate of the last hour.
    pub full_in: Option<Duration>,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // The types say what the fields are.
pub(super) struct Step {
    /// What to do, as an imperative.
    pub title: &'static str,
    /// How to do it; may be empty.
    pub text: String,
    pub action: Option<Action>,
}

/// What the page says first.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // The names say what the fields are.
pub(super) struct Headline {
    pub state: State,
    pub title: String,
    pub why: String,
    pub steps: Vec<Step>,
}

impl Headline {
    /// Whether one of the steps has the form that makes a webhook URL.
    pub(super) fn makes_url(&self) -> bool {
        self.steps.iter().any(|step| step.action == Some(Action::MakeUrl))
    }

    /// What stands above the steps.
    pub(super) fn steps_title(&self) -> &'static str {
        if self.state == State::Wait { "Next steps" } else { "What to do" }
    }

    /// Chooses what to say.
    pub(super) fn new(facts: &Facts) -> Self {
        refusing(facts)
            .or_else(|| not_receiving_yet(facts))
            .or_else(|| suspended(facts))
            .or_else(|| filling(facts))
            .or_else(|| behind(facts))
            .unwrap_or_else(|| fine(facts))
    }
}

fn headline(state: State, title: impl Into<String>, why: impl Into<String>, steps: Vec<Step>) -> Headline {
    Headline { state, title: title.into(), why: why.into(), steps }
}

fn step(title: &'static str, text: impl Into<String>) -> Step {
    Step { title, text: text.into(), action: None }
}

impl Step {
    fn with(self, action: Action) -> Self {
        Step { action: Some(action), ..self }
    }
}

fn make_room(facts: &Facts) -> Vec<Step> {
    let free = facts.disk_free.map(|free| format!(" ({} are free on the disk)", bytes(free)));
    vec![
        step(
            "Get the target going again.",
            "Its log says why it stopped. Once its STATE comes back, the spool makes room by itself.",
        ),
        step("Or make room now.", format!("Raise spool_max_bytes{}.", free.unwrap_or_default())),
    ]
}

fn refusing(facts: &Facts) -> Option<Headline> {
    // A missing URL is no failure. It has a headline of its own.
    let reason = facts.refusing.iter().find(|reason| **reason != Unready::NoWebhookUrl)?;
    let bad = |title: &str, why: String, steps| Some(headline(State::Bad, title, why, steps));
    match reason {
        Unready::Refused(Refusal::Spool(AppendError::Closed)) => Some(headline(
            State::Wait,
            "Stopping: no further webhooks are taken.",
            "Mailjet repeats them until the tap is back.",
            Vec::new(),
        )),
        Unready::Refused(Refusal::Spool(AppendError::SpoolFull)) => {
            let (since, until) = (facts.last_stored, facts.last_stored.saturating_add(GIVES_UP_AFTER));
            let why = format!(
                "Webhooks have been answered 503 since {}. Mailjet repeats them every 30 seconds. If nothing \
                 changes by {}, it gives up and suspends the URL.",
                day_and_time(since),
                day_and_time(until)
            );
            bad("Not receiving: the spool is full.", why, make_room(facts))
        }
        Unready::Refused(Refusal::Spool(AppendError::DiskLow)) => {
            let why = format!(
                "{} are free. Below min_free_bytes ({}), webhooks get 503.",
                bytes(facts.disk_free.unwrap_or(0)),
                bytes(facts.min_free_bytes)
            );
            let steps = vec![step("Free space on the disk of the spool.", "The tap then goes on by itself.")];
            bad("Not receiving: the disk is nearly full.", why, steps)
        }
        other => {
            let title = match other {
                Unready::ConnectionsTaken(_) => "Not receiving: every connection is taken.",
                Unready::Refused(Refusal::Spool(AppendError::Overloaded)) => {
                    "Not receiving: too much waits to be written."
                }
                Unready::Refused(Refusal::Spool(AppendError::NotDurable)) => {
                    "Not receiving: the database does not keep what it stores."
                }
                _ => "Not receiving: the spool does not answer.",
            };
            bad(title, sentence(&other.to_string()), Vec::new())
        }
    }
}

/// Makes a sentence of what `/readyz` says.
pub(super) fn sentence(detail: &str) -> String {
    let mut chars = detail.chars();
    let first = chars.next().map(|first| first.to_uppercase().to_string());
    let end = if detail.ends_with('.') { "" } else { "." };
    format!("{}{}{end}", first.unwrap_or_default(), chars.as_str())
}

fn not_receiving_yet(facts: &Facts) -> Option<Headline> {
    let urls = facts.urls.as_ref()?;
    let register = |text| step("Register with Mailjet.", text).with(Action::Register);
    let enter = "Account settings > Event notifications (webhooks). The page that shows the URL says how.";
    let test = "Here, or with Mailjet's test button. The event appears on this page within seconds.";
    if urls.is_empty() {
        let first = match facts.can_register {
            true => vec![register("The tap makes a URL, and Mailjet gets it for every event.")],
            false => vec![
                step("Make a webhook URL.", "").with(Action::MakeUrl),
                step("Enter it in Mailjet.", enter),
            ],
        };
        let last = step("Send a test.", test).with(Action::SendTest);
        return Some(headline(
            State::Wait,
            "Not receiving yet: there is no webhook URL.",
            "The tap runs and listens. It needs a URL that Mailjet can post to.",
            first.into_iter().chain([last]).collect(),
        ));
    }
    if facts.may_have_posted {
        return None;
    }
    let newest = urls.last()?;
    Some(headline(
        State::Wait,
        "Not receiving yet: Mailjet has not posted anything.",
        format!(
            "The URL \u{201c}{}\u{201d} was made {} and has never been used.",
            newest.name,
            ago(newest.age)
        ),
        vec![
            match facts.can_register {
                true => register("This page shows first what would change there."),
                false => step(
                    "Enter it in Mailjet.",
                    "Account settings > Event notifications (webhooks). If you no longer have the URL, make \
                     another one and revoke this one.",
                ),
            },
            step("Check the way in: send a test.", test).with(Action::SendTest),
        ],
    ))
}

fn suspended(facts: &Facts) -> Option<Headline> {
    let names: Vec<_> = facts.suspended.iter().map(|event| event.name()).collect();
    let (last, others) = names.split_last()?;
    let again = step(
        "Register again.",
        "Mailjet revives a suspended event only with a new URL. Registering makes one and gives it to \
         Mailjet. The old URL works until it has not been used for 24 hours.",
    );
    let steps = vec![
        if facts.can_register { again.with(Action::Register) } else { again },
        step("Know what is missing.", "Mailjet does not repeat what happened after it gave up."),
    ];
    let why = "Mailjet stopped posting after 24 hours without a 200. It does not start again by itself.";
    if names.len() >= facts.wanted_events {
        return Some(headline(State::Bad, "Not receiving: Mailjet has suspended the URL.", why, steps));
    }
    let list = match others {
        [] => (*last).to_owned(),
        others => format!("{} and {last}", others.join(", ")),
    };
    let title = format!("Receiving, but Mailjet has suspended the URL for {list}.");
    Some(headline(State::Warn, title, why, steps))
}

fn filling(facts: &Facts) -> Option<Headline> {
    let hundredths = facts.used_bytes.saturating_mul(100) / facts.max_bytes.max(1);
    if hundredths < NEARLY_FULL {
        return None;
    }
    let when = match facts.full_in {
        Some(full_in) => {
            format!("At the present rate it is full in {}. Then webhooks get 503.", span(full_in))
        }
        None => "When it is full, webhooks get 503.".to_owned(),
    };
    let title = format!("Receiving, but the spool is {hundredths} % full.");
    Some(headline(State::Warn, title, when, make_room(facts)))
}

fn behind(facts: &Facts) -> Option<Headline> {
    let (waiting, oldest) = match facts.target {
        Target::Unconfirmed => {
            let (why, start) = match facts.has_emitter {
                true => (
                    "The tap was started without --state, so it cannot know what the target has stored.",
                    "Start it with --state FILE.",
                ),
                false => (
                    "This process only receives. No other one has read the spool with --state yet.",
                    "Run a drain with --state FILE.",
                ),
            };
            let steps = vec![step(start, "Nothing is deleted until then, and the spool fills.")];
            return Some(headline(State::Warn, "Receiving, but nothing is confirmed.", why, steps));
        }
        Target::Confirming { waiting, oldest } => (waiting, oldest?),
    };
    if oldest < BEHIND {
        return None;
    }
    let full =
        facts.full_in.map(|full_in| format!(" At the present rate the spool is full in {}.", span(full_in)));
    let last = facts.confirmed_at.map(|at| format!(" The last STATE came at {}.", day_and_time(at)));
    let why = format!(
        "No event is lost: {} are on disk and wait for the target.{}{}",
        count(waiting, "event"),
        last.unwrap_or_default(),
        full.unwrap_or_default()
    );
    let look = match facts.has_emitter {
        true => step("Look at the target's log.", "It says why rows are not stored."),
        false => step("Look at the drains' log, and the target's.", "They say why rows are not stored."),
    };
    let steps =
        vec![look, step("Check that its STATE comes back.", "The file that --state names has to grow.")];
    let title = format!("Receiving, but the target is more than {} behind.", span(oldest));
    Some(headline(State::Warn, title, why, steps))
}

fn fine(facts: &Facts) -> Headline {
    match facts.last_event {
        Some(age) if age < QUIET => headline(
            State::Ok,
            "Receiving, and the target is up to date.",
            "Mailjet's events arrive, and every one of them is on disk before Mailjet gets its 200. Nothing \
             needs your attention.",
            Vec::new(),
        ),
        age => {
            let last = age.map(|age| format!(" The last event came {}.", ago(age)));
            headline(
                State::Ok,
                format!("Ready.{}", last.unwrap_or_default()),
                "Nothing is wrong here. If you expected events, check Mailjet's registration below.",
                Vec::new(),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn healthy() -> Facts {
        Facts {
            refusing: Vec::new(),
            urls: Some(vec![UrlUse { name: "primary".to_owned(), age: HOUR }]),
            may_have_posted: true,
            can_register: false,
            has_emitter: true,
            last_event: Some(Duration::from_secs(4)),
            last_stored: UnixMillis::new(1_795_652_496_000),
            wanted_events: 7,
            suspended: Vec::new(),
            target: Target::Confirming { waiting: 41, oldest: Some(Duration::from_secs(3)) },
            confirmed_at: Some(UnixMillis::new(1_795_652_495_000)),
            used_bytes: 1 << 30,
            max_bytes: 10 << 30,
            disk_free: Some(48 << 30),
            min_free_bytes: 512 << 20,
            full_in: None,
        }
    }

    fn refuse(error: AppendError) -> Vec<Unready> {
        vec![Unready::Refused(Refusal::Spool(error))]
    }

    #[test]
    fn each_state_has_its_headline_and_the_worst_one_wins() {
        let behind = Target::Confirming { waiting: 9, oldest: Some(2 * HOUR + HOUR / 2) };
        let cases: [(Facts, State, &str); 12] = [
            (healthy(), State::Ok, "Receiving, and the target is up to date."),
            (
                Facts { last_event: Some(3 * HOUR), ..healthy() },
                State::Ok,
                "Ready. The last event came 3 hours ago.",
            ),
            (
                Facts { urls: Some(Vec::new()), ..healthy() },
                State::Wait,
                "Not receiving yet: there is no webhook URL.",
            ),
            (
                Facts {
                    // A test from the page is not a post by Mailjet.
                    may_have_posted: false,
                    ..healthy()
                },
                State::Wait,
                "Not receiving yet: Mailjet has not posted anything.",
            ),
            (
                Facts { target: behind, ..healthy() },
                State::Warn,
                "Receiving, but the target is more than 2 hours behind.",
            ),
            (
                Facts { target: Target::Unconfirmed, ..healthy() },
                State::Warn,
                "Receiving, but nothing is confirmed.",
            ),
            (
                Facts { used_bytes: 92 << 20, max_bytes: 100 << 20, target: behind, ..healthy() },
                State::Warn,
                "Receiving, but the spool is 92 % full.",
            ),
            (
                Facts { suspended: vec![EventType::Bounce, EventType::Blocked], target: behind, ..healthy() },
                State::Warn,
                "Receiving, but Mailjet has suspended the URL for bounce and blocked.",
            ),
            (
                Facts { suspended: EventType::ALL.to_vec(), ..healthy() },
                State::Bad,
                "Not receiving: Mailjet has suspended the URL.",
            ),
            (
                Facts {
                    refusing: refuse(AppendError::SpoolFull),
                    suspended: EventType::ALL.to_vec(),
                    ..healthy()
                },
                State::Bad,
                "Not receiving: the spool is full.",
            ),
            (
                Facts { refusing: vec![Unready::NoAnswer], ..healthy() },
                State::Bad,
                "Not receiving: the spool does not answer.",
            ),
            (
                Facts { refusing: refuse(AppendError::Closed), ..healthy() },
                State::Wait,
                "Stopping: no further webhooks are taken.",
            ),
        ];
        for (facts, state, title) in cases {
            let headline = Headline::new(&facts);
            assert_eq!((headline.state, headline.title.as_str()), (state, title));
            assert!(!headline.why.is_empty() && headline.why.ends_with('.'), "{}", headline.why);
            let has_steps = !headline.steps.is_empty();
            assert!(state != State::Ok || !has_steps, "{title}");
        }
    }

    #[test]
    fn a_full_spool_names_the_time_when_mailjet_gives_up() {
        let full = Headline::new(&Facts { refusing: refuse(AppendError::SpoolFull), ..healthy() });
        assert!(full.why.contains("since 26 Nov, 00:21 UTC"), "{}", full.why);
        assert!(full.why.contains("by 27 Nov, 00:21 UTC"), "{}", full.why);
        assert!(full.steps[1].text.contains("48 GiB are free"), "{:?}", full.steps);
    }
}
