//! Carries out plans: registers webhook URLs with Mailjet, moves them, and removes them.
//!
//! A plan is carried out in rounds. Each lists what Mailjet has, and changes what is still to be changed, so
//! a change whose outcome is unknown and one that somebody else has made meanwhile need no treatment of their
//! own. It is complete once a list shows that nothing is left to change.
//!
//! The registry remembers what a process that dies must not forget: that a URL is *pending*, from before it
//! is sent to Mailjet until a list shows it everywhere. The next command goes on with it or, if Mailjet does
//! not have it, lets it retire.

use std::time::Duration;

use catalog::event::EventType;
use secrecy::ExposeSecret;
use tracing::{info, warn};

use super::access::Access;
use super::callback::{CallbackRow, CallbackUrl};
use super::client::{Client, Setting};
use super::error::ApiError;
use super::own_urls::{OwnUrls, Owner};
use super::plan::{Change, Plan, PlannedChange, Replaceable, Target};
use super::registration::{Registered, Registration, Wanted};
use super::retry::CallFailure;
use crate::listener::token::{MAX_ACTIVE, Token};
use crate::listener::wait_until_accepted;
use crate::spool::{
    MailjetAccount, Registry, Role, RoleLock, Spool, SpoolError, TokenHash, UrlPurpose, WebhookUrl,
};

/// How often changes are made before their failure is reported: once, and again for what somebody else has
/// changed meanwhile, and for calls without an answer.
const ROUNDS: usize = 3;

/// For how long a URL must not be used that was created but is not registered.
const LEFTOVER_TIME: Duration = Duration::from_secs(600);

/// The label of the webhook URLs that are created here.
const LABEL: &str = "mailjet";

/// Why a plan cannot be made or was not carried out.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The message of each variant says what it is.
pub enum RegistrarError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error("the system's random source failed: {0}")]
    Random(getrandom::Error),
    #[error(
        "there are too many active webhook URLs to create another one; `url list` shows them. Revoke one \
         that is not used with `url revoke ID`, or wait until one has retired"
    )]
    TooManyUrls,
    #[error("no event is registered with a webhook URL of this spool; run `mailjet register` first")]
    NothingToRotate,
    #[error(
        "not everything was changed at Mailjet: {failed}. {}Run the same command again to finish",
        list(done)
    )]
    Incomplete { done: Vec<EventType>, failed: String },
    #[error(
        "not everything was changed at Mailjet: {failed}. Mailjet has accepted: {}. Run the same command \
         again to check that and to finish",
        if answered.is_empty() { "nothing".to_owned() } else { names(answered) }
    )]
    NotReadBack { answered: Vec<EventType>, failed: String },
}

fn list(done: &[EventType]) -> String {
    if done.is_empty() { "Nothing is done yet. ".to_owned() } else { format!("Done: {}. ", names(done)) }
}

/// Joins the names of events.
pub fn names(events: &[EventType]) -> String {
    events.iter().map(|event| event.name()).collect::<Vec<_>>().join(", ")
}

/// Changes the registration of one account. Only one process at a time can do that on a spool.
#[derive(Debug)]
pub struct Registrar<'a> {
    client: Client,
    account: MailjetAccount,
    wanted: &'a Wanted,
    spool: &'a dyn Spool,
    registry: Box<dyn Registry>,
    configured: Option<&'a [TokenHash]>,
    _role: RoleLock,
}

/// How a plan was carried out.
#[derive(Debug)]
pub struct Outcome {
    /// What is registered now.
    pub registration: Registration,
    /// The webhook URL that the events are registered with; `None` if nothing is registered with ours.
    pub url_id: Option<i64>,
    /// The webhook URLs that retire from now on.
    pub retired: Vec<i64>,
}

/// Makes the plan for `purpose`, given which URLs are ours. If `may_replace`, it replaces URLs of others.
/// This changes nothing, and needs no role.
pub fn plan(
    client: &Client,
    account: &MailjetAccount,
    own: &OwnUrls,
    wanted: &Wanted,
    purpose: UrlPurpose,
    may_replace: bool,
) -> Result<Plan, RegistrarError> {
    let listing = client.list()?;
    let registration = Registration::new(&listing, own, wanted);
    let own_ids = registration.own_ids();
    if purpose == UrlPurpose::Rotate && own_ids.is_empty() {
        return Err(RegistrarError::NothingToRotate);
    }
    let replaceable: Vec<_> = listing.rows.iter().filter(|_| may_replace).map(Replaceable::new).collect();
    let pending = own.pending(account, purpose, &own_ids);
    Ok(Plan::new(purpose, &registration, wanted, pending, &replaceable))
}

impl<'a> Registrar<'a> {
    /// Takes the role of the registrar.
    pub fn new(
        access: &Access,
        wanted: &'a Wanted,
        spool: &'a dyn Spool,
        configured: Option<&'a [TokenHash]>,
    ) -> Result<Self, SpoolError> {
        Ok(Registrar {
            client: Client::new(access),
            account: access.account(),
            wanted,
            spool,
            _role: spool.take_role(Role::Registrar)?,
            registry: spool.registry()?,
            configured,
        })
    }

    /// Makes the plan for `purpose`. If `may_replace`, it replaces URLs of others.
    pub fn plan(&mut self, purpose: UrlPurpose, may_replace: bool) -> Result<Plan, RegistrarError> {
        let own = OwnUrls::read(&mut *self.registry, self.configured)?;
        plan(&self.client, &self.account, &own, self.wanted, purpose, may_replace)
    }

    /// Carries out the plan that was `shown`, as far as it still fits what Mailjet has. Old URLs of ours that
    /// it leaves retire once they have not been used for `retire_after`.
    pub fn carry_out(
        &mut self,
        purpose: UrlPurpose,
        shown: &Plan,
        retire_after: Duration,
    ) -> Result<Outcome, RegistrarError> {
        // What somebody else registers meanwhile is not replaced: the user has not seen it in the plan.
        let replaceable: Vec<_> = shown.changes.iter().filter_map(PlannedChange::replaced).collect();
        let (own, before) = self.look()?;
        self.registry.note_registered(&self.account, &before.own_ids())?;
        self.retire_leftovers(&own, &before)?;
        let pending = own.pending(&self.account, purpose, &before.own_ids());
        let mut plan = Plan::new(purpose, &before, self.wanted, pending, &replaceable);
        if let (Target::Existing { id, .. }, true) = (&plan.target, purpose == UrlPurpose::Rotate) {
            info!("this goes on with a rotation that was not completed, to webhook URL {id}");
        }
        let mut created = None;
        if let (Target::New, false) = (&plan.target, plan.is_empty()) {
            let (id, url) = self.create_url(purpose, &own, &before)?;
            created = Some(id);
            plan.target = Target::Existing { id, url };
        }
        let mut progress = Progress::default();
        let mut own_ids = Vec::new();
        for _ in 0..ROUNDS {
            self.change(&plan, &mut progress);
            // What a list shows counts, not what the calls have answered.
            let (own, registration) = match self.look() {
                Ok(seen) => seen,
                Err(RegistrarError::Api(error)) => return Err(progress.incomplete(&error.to_string(), None)),
                Err(other) => return Err(other),
            };
            own_ids = registration.own_ids();
            let pending = own.pending(&self.account, purpose, &own_ids);
            plan = Plan::with_target(plan.target, purpose, &registration, pending, &replaceable);
            if plan.is_empty() {
                let created = created.filter(|_| !progress.may_have_changed);
                return self.complete(&plan.target, &own, registration, created, retire_after);
            }
            if progress.is_hopeless() {
                break;
            }
        }
        // The last list came after the last call. If a call had no answer, it may still have an effect.
        if let Some(id) = created.filter(|id| !own_ids.contains(id) && !progress.may_have_changed) {
            self.registry.revoke_webhook_url(id)?;
        }
        let rest = plan.changes.iter().filter(|planned| planned.change.is_change());
        let rest: Vec<_> = rest.map(|planned| planned.now.event).collect();
        let done: Vec<_> = progress.done.iter().copied().filter(|event| !rest.contains(event)).collect();
        let otherwise = format!("Mailjet does not show the change of {}", names(&rest));
        Err(progress.incomplete(&otherwise, Some(done)))
    }

    /// Deletes the rows of `events` that have URLs of ours, and returns for which events these were. With
    /// `is_dry_run`, it only returns them.
    pub fn unregister(
        &mut self,
        events: &[EventType],
        is_dry_run: bool,
    ) -> Result<Vec<Registered>, RegistrarError> {
        let ours = self.our_rows(events)?;
        if is_dry_run {
            return Ok(ours);
        }
        let mut progress = Progress::default();
        for Registered { row, .. } in &ours {
            match self.delete(row) {
                Ok(()) => progress.done.push(row.event),
                Err(error) => {
                    return Err(progress.incomplete(&format!("{}: {error}", row.event.name()), None));
                }
            }
        }
        let rest: Vec<_> = self.our_rows(events)?.iter().map(|registered| registered.row.event).collect();
        if rest.is_empty() {
            return Ok(ours);
        }
        let done: Vec<_> = progress.done.iter().copied().filter(|event| !rest.contains(event)).collect();
        Err(progress.incomplete(&format!("Mailjet still has a URL for {}", names(&rest)), Some(done)))
    }

    fn our_rows(&mut self, events: &[EventType]) -> Result<Vec<Registered>, RegistrarError> {
        let wanted = self.look()?.1.events.into_iter().filter(|event| events.contains(&event.event));
        let registered = wanted.flat_map(|event| [event.primary, event.backup]).flatten();
        Ok(registered.filter(|registered| registered.owner != Owner::Other).collect())
    }

    /// Deletes a row, unless somebody has put another URL there meanwhile.
    fn delete(&self, row: &CallbackRow) -> Result<(), ApiError> {
        if self.has_changed(row)? { Ok(()) } else { self.client.delete(row.id) }
    }

    /// Whether a row no longer has the URL with which it was listed.
    fn has_changed(&self, row: &CallbackRow) -> Result<bool, ApiError> {
        Ok(self.client.row(row.id)?.is_none_or(|now| !now.url.is_same(&row.url)))
    }

    /// Lists what Mailjet has, and reads which of it is ours.
    fn look(&mut self) -> Result<(OwnUrls, Registration), RegistrarError> {
        let listing = self.client.list()?;
        let own = OwnUrls::read(&mut *self.registry, self.configured)?;
        let registration = Registration::new(&listing, &own, self.wanted);
        Ok((own, registration))
    }

    /// Lets the URLs retire that a command has created which ended before Mailjet had them. Mailjet may still
    /// be working on the last call of that command.
    fn retire_leftovers(&mut self, own: &OwnUrls, before: &Registration) -> Result<(), SpoolError> {
        let registered = before.own_ids();
        for url in own.of_account(&self.account) {
            let is_leftover = url.pending.is_some() && url.retirement.is_none();
            if is_leftover && url.last_used_at.is_none() && !registered.contains(&url.id) {
                info!("webhook URL {} was created but never registered; it retires", url.id);
                self.registry.retire_webhook_url(url.id, LEFTOVER_TIME)?;
            }
        }
        Ok(())
    }

    /// Creates a webhook URL, which is pending, and waits until a running listener accepts it.
    fn create_url(
        &mut self,
        purpose: UrlPurpose,
        own: &OwnUrls,
        before: &Registration,
    ) -> Result<(i64, CallbackUrl), RegistrarError> {
        let token = Token::random().map_err(RegistrarError::Random)?;
        let base_url = self.wanted.base_url.as_ref().expect("the command has checked it");
        let url = CallbackUrl::new(token.url(base_url.expose_secret()));
        // One more than usual may be active while an old one retires.
        let will_retire = !before.own_ids().is_empty()
            || own.active.iter().any(|url| url.retirement.is_some() || url.pending.is_some());
        let account = Some((&self.account, purpose));
        let max_active = if will_retire { MAX_ACTIVE + 1 } else { MAX_ACTIVE };
        let added = self.registry.add_webhook_url(token.hash(), Some(LABEL), account, max_active)?;
        let id = added.ok_or(RegistrarError::TooManyUrls)?;
        if !wait_until_accepted(self.spool)? {
            warn!("no listener is running on {}: what Mailjet posts fails until one runs", self.spool);
        }
        Ok((id, url))
    }

    /// Changes what a plan says, up to a failure that concerns all calls.
    fn change(&mut self, plan: &Plan, progress: &mut Progress) {
        let Target::Existing { id, url } = &plan.target else { return };
        progress.failures.clear();
        let setting = Setting { url, is_grouped: self.wanted.is_grouped };
        for PlannedChange { now, change } in &plan.changes {
            let changed = match (change, &now.primary) {
                (Change::Create, _) => self.client.create(now.event, &setting),
                (Change::Update | Change::Replace, Some(primary)) => {
                    match self.has_changed(&primary.row) {
                        // The next list shows what to do.
                        Ok(true) => continue,
                        Ok(false) => self.client.update(primary.row.id, &setting),
                        Err(error) => Err(CallFailure { error, may_have_changed: false }),
                    }
                }
                _ => continue,
            };
            match changed {
                Ok(()) => {
                    info!("{}: Mailjet posts to webhook URL {id}", now.event.name());
                    progress.done.push(now.event);
                }
                Err(CallFailure { error, may_have_changed }) => {
                    progress.may_have_changed |= may_have_changed;
                    // Somebody else was faster. The next list shows what to do.
                    if matches!(error, ApiError::AlreadyExists | ApiError::Gone) {
                        continue;
                    }
                    let is_last = error.concerns_all_calls();
                    progress.failures.push((now.event, error));
                    if is_last {
                        return;
                    }
                }
            }
        }
    }

    /// Notes that nothing is left to change.
    fn complete(
        &mut self,
        target: &Target,
        own: &OwnUrls,
        registration: Registration,
        created: Option<i64>,
        retire_after: Duration,
    ) -> Result<Outcome, RegistrarError> {
        let registered = registration.own_ids();
        let Target::Existing { id, .. } = target else {
            return Ok(Outcome { registration, url_id: None, retired: Vec::new() });
        };
        if !registered.contains(id) {
            // Others have registered their URLs for all events meanwhile.
            if let Some(id) = created {
                self.registry.revoke_webhook_url(id)?;
            }
            return Ok(Outcome { registration, url_id: None, retired: Vec::new() });
        }
        let in_use = registration.in_use();
        let retires =
            |url: &WebhookUrl| url.id != *id && url.retirement.is_none() && !in_use.contains(&url.id);
        let retired = own.of_account(&self.account).filter(|url| retires(url)).map(|url| url.id);
        let retired: Vec<_> = retired.collect();
        self.registry.complete_registration(&self.account, *id, &retired, retire_after)?;
        Ok(Outcome { registration, url_id: Some(*id), retired })
    }
}

/// How far a change of several rows has got.
#[derive(Debug, Default)]
struct Progress {
    done: Vec<EventType>,
    /// The failures of the last round.
    failures: Vec<(EventType, ApiError)>,
    /// Whether some call, in any round, may have changed something although it failed.
    may_have_changed: bool,
}

impl Progress {
    /// Whether another round would only fail as well.
    fn is_hopeless(&self) -> bool {
        let mut failures = self.failures.iter();
        failures.any(|(_, error)| error.concerns_all_calls() && !error.outcome_is_unknown())
    }

    /// Returns the error that says what is done and what has failed. `otherwise` is the reason if no call has
    /// failed. `done` is what a list has shown since; `None` if there was no list.
    fn incomplete(self, otherwise: &str, done: Option<Vec<EventType>>) -> RegistrarError {
        let failures = self.failures.iter().map(|(event, error)| format!("{}: {error}", event.name()));
        let failures: Vec<_> = failures.collect();
        let failed = if failures.is_empty() { otherwise.to_owned() } else { failures.join("; ") };
        match done {
            Some(mut done) => {
                done.dedup();
                RegistrarError::Incomplete { done, failed }
            }
            None => RegistrarError::NotReadBack { answered: self.done, failed },
        }
    }
}
