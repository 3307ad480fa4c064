//! Carries out plans: registers webhook URLs with Mailjet, moves them, and removes them.
//!
//! A plan is carried out in rounds. Each lists what Mailjet has, and changes what is still to be changed, so
//! a change whose outcome is unknown and one that somebody else has made meanwhile need no treatment of their
//! own. It is complete once a list shows that nothing is left to change.
//!
//! The registry remembers what a process that dies must not forget: that a URL is *pending*, from before it
//! is sent to Mailjet until a list shows it everywhere. The next command goes on with it or, if Mailjet does
//! not have it, revokes it.

use std::time::Duration;

use catalog::event::EventType;
use secrecy::ExposeSecret;
use tracing::{info, warn};

use super::access::Access;
use super::callback::CallbackUrl;
use super::client::{Client, Setting};
use super::error::ApiError;
use super::own_urls::{OwnUrls, Owner};
use super::plan::{Change, Plan, PlannedChange, Purpose, Target};
use super::registration::{Registered, Registration, Wanted};
use crate::listener::token::{MAX_ACTIVE, Token};
use crate::listener::wait_until_accepted;
use crate::spool::{MailjetAccount, Registry, Role, RoleLock, Spool, SpoolError, TokenHash, WebhookUrl};

/// How often changes are made before their failure is reported: once, and again for what somebody else has
/// changed meanwhile, and for calls without an answer.
const ROUNDS: usize = 3;

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
    purpose: Purpose,
    may_replace: bool,
) -> Result<Plan, RegistrarError> {
    let rows = client.list()?;
    let registration = Registration::new(&rows, own, wanted);
    let own_ids = registration.own_ids();
    if purpose == Purpose::Rotate && own_ids.is_empty() {
        return Err(RegistrarError::NothingToRotate);
    }
    let replaceable: Vec<_> = rows.iter().filter(|_| may_replace).map(|row| row.id).collect();
    let pending = own.pending(account, &own_ids);
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
    pub fn plan(&mut self, purpose: Purpose, may_replace: bool) -> Result<Plan, RegistrarError> {
        let own = OwnUrls::read(&mut *self.registry, self.configured)?;
        plan(&self.client, &self.account, &own, self.wanted, purpose, may_replace)
    }

    /// Carries out a plan. Old URLs of ours that it leaves retire once they have not been used for
    /// `retire_after`.
    pub fn carry_out(
        &mut self,
        purpose: Purpose,
        mut plan: Plan,
        retire_after: Duration,
    ) -> Result<Outcome, RegistrarError> {
        let (own, before) = self.look()?;
        self.registry.note_registered(&self.account, &before.own_ids())?;
        self.revoke_leftovers(&own, &before)?;
        // What somebody else registers meanwhile is not replaced: the user has not seen it in the plan.
        let replaceable: Vec<_> = plan.changes.iter().filter_map(PlannedChange::replaced_row).collect();
        let mut created = None;
        if let (Target::New, false) = (&plan.target, plan.is_empty()) {
            let (id, url) = self.create_url(&own, &before)?;
            created = Some(id);
            plan.target = Target::Existing { id, url };
        }
        let mut progress = Progress::default();
        for _ in 0..ROUNDS {
            self.change(&plan, &mut progress);
            if progress.is_hopeless() {
                break;
            }
            // What a list shows counts, not what the calls have answered.
            let (own, registration) = match self.look() {
                Ok(seen) => seen,
                Err(RegistrarError::Api(error)) => return Err(progress.incomplete(&error.to_string())),
                Err(other) => return Err(other),
            };
            let pending = own.pending(&self.account, &registration.own_ids());
            plan = Plan::with_target(plan.target, purpose, &registration, pending, &replaceable);
            if plan.is_empty() {
                return self.complete(&plan.target, registration, created, retire_after);
            }
        }
        if let Some(id) = created.filter(|_| progress.nothing_has_changed()) {
            self.registry.revoke_webhook_url(id)?;
        }
        let rest: Vec<_> = plan.changes.iter().filter(|planned| planned.change.is_change()).collect();
        let rest: Vec<_> = rest.iter().map(|planned| planned.now.event).collect();
        Err(progress.incomplete(&format!("Mailjet does not show the change of {}", names(&rest))))
    }

    /// Deletes the rows of `events` that have URLs of ours, and returns for which events these were. With
    /// `is_dry_run`, it only returns them.
    pub fn unregister(
        &mut self,
        events: &[EventType],
        is_dry_run: bool,
    ) -> Result<Vec<Registered>, RegistrarError> {
        let (_, registration) = self.look()?;
        let ours: Vec<_> = registration
            .events
            .into_iter()
            .filter(|event| events.contains(&event.event))
            .flat_map(|event| [event.primary, event.backup])
            .flatten()
            .filter(|registered| registered.owner != Owner::Other)
            .collect();
        let mut progress = Progress::default();
        for Registered { row, .. } in ours.iter().filter(|_| !is_dry_run) {
            match self.client.delete(row.id) {
                Ok(()) => progress.done.push(row.event),
                Err(error) => return Err(progress.incomplete(&format!("{}: {error}", row.event.name()))),
            }
        }
        Ok(ours)
    }

    /// Lists what Mailjet has, and reads which of it is ours.
    fn look(&mut self) -> Result<(OwnUrls, Registration), RegistrarError> {
        let rows = self.client.list()?;
        let own = OwnUrls::read(&mut *self.registry, self.configured)?;
        let registration = Registration::new(&rows, &own, self.wanted);
        Ok((own, registration))
    }

    /// Revokes what a command has created that ended before Mailjet had it.
    fn revoke_leftovers(&mut self, own: &OwnUrls, before: &Registration) -> Result<(), SpoolError> {
        let registered = before.own_ids();
        for url in own.of_account(&self.account) {
            if url.is_pending && url.last_used_at.is_none() && !registered.contains(&url.id) {
                info!("webhook URL {} was created but never registered, so it is revoked", url.id);
                self.registry.revoke_webhook_url(url.id)?;
            }
        }
        Ok(())
    }

    /// Creates a webhook URL, which is pending, and waits until a running listener accepts it.
    fn create_url(
        &mut self,
        own: &OwnUrls,
        before: &Registration,
    ) -> Result<(i64, CallbackUrl), RegistrarError> {
        let token = Token::random().map_err(RegistrarError::Random)?;
        let base_url = self.wanted.base_url.as_ref().expect("the command has checked it");
        let url = CallbackUrl::new(token.url(base_url.expose_secret()));
        // One more than usual may be active while an old one retires.
        let will_retire =
            !before.own_ids().is_empty() || own.active.iter().any(|url| url.retirement.is_some());
        let max_active = if will_retire { MAX_ACTIVE + 1 } else { MAX_ACTIVE };
        let added =
            self.registry.add_webhook_url(token.hash(), Some(LABEL), Some(&self.account), max_active)?;
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
            let changed = match change {
                Change::Create => self.client.create(now.event, &setting),
                Change::Update(row) | Change::Replace(row) => self.client.update(*row, &setting),
                Change::Keep | Change::Ignore | Change::Leave => continue,
            };
            match changed {
                Ok(()) => {
                    info!("{}: Mailjet posts to webhook URL {id}", now.event.name());
                    progress.done.push(now.event);
                }
                // Somebody else was faster. The next list shows what to do.
                Err(ApiError::AlreadyExists | ApiError::Gone) => {}
                Err(error) => {
                    let is_last = error.concerns_all_calls();
                    progress.may_have_changed |= error.outcome_is_unknown();
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
        let retires = |url: &WebhookUrl| url.retirement.is_none() && !registered.contains(&url.id);
        let own = OwnUrls::read(&mut *self.registry, self.configured)?;
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

    fn nothing_has_changed(&self) -> bool {
        self.done.is_empty() && !self.may_have_changed
    }

    /// Returns the error that says what is done and what has failed. `otherwise` is the reason if no call has
    /// failed.
    fn incomplete(mut self, otherwise: &str) -> RegistrarError {
        let failures = self.failures.iter().map(|(event, error)| format!("{}: {error}", event.name()));
        let failures: Vec<_> = failures.collect();
        let failed = if failures.is_empty() { otherwise.to_owned() } else { failures.join("; ") };
        self.done.dedup();
        RegistrarError::Incomplete { done: self.done, failed }
    }
}
