//! The changes at Mailjet that would make the registration as configured. Nothing here does them.

use super::callback::{CallbackRow, CallbackUrl};
use super::own_urls::Owner;
use super::registration::{EventRegistration, Problem, Registered, Registration, Wanted};
use crate::spool::UrlPurpose;

/// The webhook URL that every change sets.
#[derive(Debug, Clone)]
pub enum Target {
    /// A URL that Mailjet has already. Only Mailjet knows its token.
    Existing {
        /// The number that `url list` shows.
        id: i64,
        /// The URL below the configured address.
        url: CallbackUrl,
    },
    /// A URL that has yet to be created.
    New,
}

/// What has to happen for one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing: all is as configured.
    Keep,
    /// Nothing: `mailjet_events` does not name the event.
    Ignore,
    /// Nothing, although another URL is registered: it is not ours.
    Leave,
    /// A URL is registered.
    Create,
    /// The row, which is ours, is changed.
    Update,
    /// The row, which is somebody else's, is changed.
    Replace,
}

/// The changes, event by event.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // The types say what the fields are.
pub struct Plan {
    pub target: Target,
    pub changes: Vec<PlannedChange>,
}

/// What is registered for an event, and what has to happen.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // The types say what the fields are.
pub struct PlannedChange {
    pub now: EventRegistration,
    pub change: Change,
}

impl Change {
    /// Whether anything changes at Mailjet.
    pub fn is_change(self) -> bool {
        matches!(self, Change::Create | Change::Update | Change::Replace)
    }

    /// A short name that never changes.
    pub fn tag(self) -> &'static str {
        match self {
            Change::Keep => "keep",
            Change::Ignore => "ignore",
            Change::Leave => "leave",
            Change::Create => "create",
            Change::Update => "update",
            Change::Replace => "replace",
        }
    }
}

impl Plan {
    /// Plans what `purpose` needs. `pending` is the URL of a change that was not completed, if there is one.
    /// A URL of somebody else is replaced only if it is in `replaceable`.
    pub fn new(
        purpose: UrlPurpose,
        registration: &Registration,
        wanted: &Wanted,
        pending: Option<i64>,
        replaceable: &[Replaceable],
    ) -> Self {
        let target = choose_target(purpose, registration, wanted, pending);
        Plan::with_target(target, purpose, registration, pending, replaceable)
    }

    /// Plans the same for a target that is known.
    pub fn with_target(
        target: Target,
        purpose: UrlPurpose,
        registration: &Registration,
        pending: Option<i64>,
        replaceable: &[Replaceable],
    ) -> Self {
        // With a new URL, or one that has not reached every event yet, every row of ours moves to it, so that
        // the old URLs can retire.
        let moves_all = match &target {
            Target::New => true,
            Target::Existing { id, .. } => purpose == UrlPurpose::Rotate || pending == Some(*id),
        };
        let target_id = match &target {
            Target::Existing { id, .. } => Some(*id),
            Target::New => None,
        };
        let change = |event: &EventRegistration| match (&event.primary, &event.problem) {
            (None, Some(_)) => Change::Create,
            (Some(primary), Some(Problem::Other(_))) if replaceable.iter().any(|row| row.is(primary)) => {
                Change::Replace
            }
            (_, Some(Problem::Other(_))) => Change::Leave,
            (Some(_), Some(_)) => Change::Update,
            (Some(primary), None)
                if moves_all && primary.row.is_alive && is_elsewhere(primary, target_id) =>
            {
                Change::Update
            }
            (_, None) if event.is_wanted => Change::Keep,
            _ => Change::Ignore,
        };
        let changes = registration.events.iter();
        let changes =
            changes.map(|event| PlannedChange { now: event.clone(), change: change(event) }).collect();
        Plan { target, changes }
    }

    /// Whether anything changes at Mailjet.
    pub fn is_empty(&self) -> bool {
        !self.changes.iter().any(|planned| planned.change.is_change())
    }
}

impl PlannedChange {
    /// Returns the URL that is replaced although it is somebody else's.
    pub fn replaced(&self) -> Option<Replaceable> {
        let primary = self.now.primary.as_ref()?;
        matches!(self.change, Change::Replace).then(|| Replaceable::new(&primary.row))
    }
}

/// A URL of somebody else that the user has agreed to replace: in this row, and no other one.
#[derive(Debug, Clone)]
pub struct Replaceable {
    row: i64,
    url: CallbackUrl,
}

impl Replaceable {
    /// Agrees to replace what a row has now.
    pub fn new(row: &CallbackRow) -> Self {
        Replaceable { row: row.id, url: row.url.clone() }
    }

    fn is(&self, registered: &Registered) -> bool {
        self.row == registered.row.id && self.url.is_same(&registered.row.url)
    }
}

/// Whether a row has an active webhook URL of ours other than the target.
fn is_elsewhere(registered: &Registered, target: Option<i64>) -> bool {
    registered.owner.id().is_some_and(|id| Some(id) != target)
}

/// Returns the URL that changes will set: the newest of ours that Mailjet has and has not suspended. A
/// rotation takes it only if it was created for a rotation that was not completed.
fn choose_target(
    purpose: UrlPurpose,
    registration: &Registration,
    wanted: &Wanted,
    pending: Option<i64>,
) -> Target {
    let id_of = |registered: &Registered| match registered.owner {
        Owner::Ours { id, is_retiring: false } => id,
        _ => None,
    };
    let suspended: Vec<_> = registration
        .events
        .iter()
        .filter(|event| event.problem == Some(Problem::Suspended))
        .filter_map(|event| id_of(event.primary.as_ref()?))
        .collect();
    let primaries = registration.events.iter().filter_map(|event| event.primary.as_ref());
    let usable = primaries.filter_map(|registered| Some((id_of(registered)?, registered)));
    let usable = usable.filter(|(id, _)| !suspended.contains(id));
    let usable = usable.filter(|(id, _)| purpose == UrlPurpose::Register || pending == Some(*id));
    let newest = usable.max_by_key(|(id, _)| *id);
    let base_url = wanted.base_url.as_ref();
    newest
        .and_then(|(id, registered)| {
            Some(Target::Existing { id, url: registered.row.url.moved_to(base_url?)? })
        })
        .unwrap_or(Target::New)
}
