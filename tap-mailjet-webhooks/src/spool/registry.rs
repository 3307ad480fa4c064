//! The registry: the few facts that a spool keeps beside its events.

use std::fmt;
use std::time::Duration;

use super::{Sequence, SpoolError};
use crate::os::clock::{UnixMillis, millis};

/// What a process does with a spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Receives webhooks and appends them to the event log.
    Listener,
    /// Reads the event log, writes Singer messages and trims.
    Emitter,
    /// Registers webhook URLs with Mailjet.
    Registrar,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Listener => "listener",
            Role::Emitter => "emitter",
            Role::Registrar => "registrar",
        })
    }
}

/// A role that this process has until this is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct RoleLock {
    pub(super) role: Role,
    _held: Box<dyn fmt::Debug + Send + Sync>,
}

impl RoleLock {
    /// Wraps whatever an implementation has to hold to keep `role`.
    pub(super) fn new(role: Role, held: impl fmt::Debug + Send + Sync + 'static) -> Self {
        RoleLock { role, _held: Box::new(held) }
    }
}

/// The SHA-256 of a webhook URL's token. The token itself is not stored.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenHash(pub [u8; 32]);

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(secret)")
    }
}

/// An active webhook URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookUrl {
    /// The number that `url revoke` takes. It is never reused.
    pub id: i64,
    /// A name that its owner chose.
    pub label: Option<String>,
    /// The hash of its token.
    pub token: TokenHash,
    /// When it was created.
    pub created_at: UnixMillis,
    /// When a webhook last arrived through it, to within a few seconds.
    pub last_used_at: Option<UnixMillis>,
    /// The Mailjet account that it is, was or will be registered with; `None` if this spool has registered it
    /// with none.
    pub account: Option<MailjetAccount>,
    /// What it was created for, if that has not been completed yet.
    pub pending: Option<UrlPurpose>,
    /// Set once it is being retired.
    pub retirement: Option<Retirement>,
}

/// What a webhook URL was created for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UrlPurpose {
    /// To be registered with Mailjet.
    Register,
    /// To take the place of another one there.
    Rotate,
}

impl UrlPurpose {
    /// The name by which it is stored.
    pub(super) fn name(self) -> &'static str {
        match self {
            UrlPurpose::Register => "register",
            UrlPurpose::Rotate => "rotate",
        }
    }

    /// The purpose with this name, which is one of the two.
    pub(super) fn from_name(name: &str) -> Self {
        if name == UrlPurpose::Rotate.name() { UrlPurpose::Rotate } else { UrlPurpose::Register }
    }
}

/// The progress of a webhook URL that is revoked once it has not been used for long enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retirement {
    /// How long it must not have been used.
    pub after: Duration,
    /// How long it has not been used so far, counting only the time in which a listener would have accepted
    /// webhooks. No clock that is set can change it.
    pub unused_for: Duration,
}

/// Identifies an account of Mailjet, which is an API key with rows of its own. It is a hash of the API key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailjetAccount(String);

impl MailjetAccount {
    /// Wraps the hash of an API key.
    pub fn new(hash: String) -> Self {
        MailjetAccount(hash)
    }

    /// The hash of the API key.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An undocumented column that was found in events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscoveredColumn {
    /// The stream's name.
    pub stream: String,
    /// The column's name.
    pub name: String,
    /// The JSON type of its first value, such as `string`.
    pub json_type: String,
}

/// How finely items are counted over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CountStep {
    /// By minute. These counts are kept for at least an hour.
    Minute,
    /// By hour. These counts are kept for at least 14 days.
    Hour,
}

impl CountStep {
    /// Both steps.
    pub const ALL: [CountStep; 2] = [CountStep::Minute, CountStep::Hour];

    /// The length of a step.
    pub const fn length(self) -> Duration {
        match self {
            CountStep::Minute => Duration::from_secs(60),
            CountStep::Hour => Duration::from_secs(3600),
        }
    }

    /// How long a count is kept.
    pub(super) const fn kept_for(self) -> Duration {
        match self {
            CountStep::Minute => Duration::from_secs(2 * 3600),
            CountStep::Hour => Duration::from_secs(15 * 24 * 3600),
        }
    }

    /// Returns when the step began that `moment` is in.
    pub fn start_of(self, moment: UnixMillis) -> UnixMillis {
        UnixMillis::new(moment.get() - moment.get().rem_euclid(millis(self.length())))
    }
}

/// How many items of one name were received in one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemCount {
    /// When the step began.
    pub start: UnixMillis,
    /// What was counted: the type of an event, or another name that the listener has chosen.
    pub name: String,
    /// How many.
    pub count: u64,
}

/// Reads the registry.
pub trait RegistryView: fmt::Debug + Send {
    /// Returns the active webhook URLs, oldest first.
    fn webhook_urls(&mut self) -> Result<Vec<WebhookUrl>, SpoolError>;

    /// Returns the counts of the steps that began at `since` or later, in order of time and name.
    fn item_counts(&mut self, step: CountStep, since: UnixMillis) -> Result<Vec<ItemCount>, SpoolError>;

    /// Returns the tokens of webhook URLs that were revoked.
    fn revoked_tokens(&mut self) -> Result<Vec<TokenHash>, SpoolError>;

    /// Returns the discovered columns in the order in which they appeared.
    fn discovered_columns(&mut self) -> Result<Vec<DiscoveredColumn>, SpoolError>;
}

/// Reads and writes the registry. Each write is durable when its call returns.
///
/// If an implementation can lose the role of the emitter to another process, it checks that it still has it
/// before it writes columns or positions.
pub trait Registry: RegistryView {
    /// Adds a webhook URL and returns its id, or `None` if `max_active` are active already. This limit holds
    /// even if two processes add URLs at the same time. A URL for an `account` is pending until
    /// [`complete_registration`](Registry::complete_registration).
    fn add_webhook_url(
        &mut self,
        token: TokenHash,
        label: Option<&str>,
        account: Option<(&MailjetAccount, UrlPurpose)>,
        max_active: usize,
    ) -> Result<Option<i64>, SpoolError>;

    /// Revokes a webhook URL. Returns whether it was active.
    fn revoke_webhook_url(&mut self, id: i64) -> Result<bool, SpoolError>;

    /// Notes that the rows of `account` at Mailjet name these webhook URLs. A URL that belongs to another
    /// account stays with it.
    fn note_registered(&mut self, account: &MailjetAccount, ids: &[i64]) -> Result<(), SpoolError>;

    /// Notes that `account` is registered with the webhook URL `id`, which is no longer pending, and lets the
    /// URLs `retired` retire.
    fn complete_registration(
        &mut self,
        account: &MailjetAccount,
        id: i64,
        retired: &[i64],
        retire_after: Duration,
    ) -> Result<(), SpoolError>;

    /// Revokes a webhook URL once it has not been used for `after`. Returns whether it is active.
    fn retire_webhook_url(&mut self, id: i64, after: Duration) -> Result<bool, SpoolError>;

    /// Starts the time anew for which a retiring webhook URL has not been used.
    fn note_webhook_url_attempt(&mut self, id: i64) -> Result<(), SpoolError>;

    /// Adds to the time for which a retiring webhook URL has not been used. Returns whether this was long
    /// enough, so that it is now revoked.
    fn note_webhook_url_disuse(&mut self, id: i64, more: Duration) -> Result<bool, SpoolError>;

    /// Notes that a webhook arrived through a URL. If the URL is being retired, its time starts again.
    fn note_webhook_url_use(&mut self, id: i64, used_at: UnixMillis) -> Result<(), SpoolError>;

    /// Adds to the counts of the steps that `at` is in, and forgets old ones. They are only shown, so they
    /// need not be durable.
    fn add_item_counts(&mut self, at: UnixMillis, counts: &[(&str, u64)]) -> Result<(), SpoolError>;

    /// Forgets a discovered column. Returns whether it was known.
    fn forget_discovered_column(&mut self, stream: &str, name: &str) -> Result<bool, SpoolError>;

    /// Returns how many discovered columns were ever forgotten, so that a running emitter notices it.
    fn columns_forgotten(&mut self) -> Result<i64, SpoolError>;

    /// Adds all columns or none. It waits for as long as another process keeps the spool locked.
    fn add_discovered_columns(&mut self, columns: &[DiscoveredColumn]) -> Result<(), SpoolError>;

    /// Returns whether any run on this spool was ever given a state.
    fn state_was_given(&mut self) -> Result<bool, SpoolError>;

    /// Notes that a run on this spool was given a state. From then on, only a state can confirm what the
    /// target has stored.
    fn note_state_given(&mut self) -> Result<(), SpoolError>;

    /// Returns the largest bookmark that any STATE written from this spool can have; `None` if none was
    /// written.
    fn written_through(&mut self) -> Result<Option<Sequence>, SpoolError>;

    /// Allows STATEs with bookmarks up to `sequence`. It waits for as long as another process keeps the spool
    /// locked.
    fn note_written_through(&mut self, sequence: Sequence) -> Result<(), SpoolError>;

    /// Checks that no other process has taken the role of the emitter from this one. The error is of the
    /// kind [`RoleLost`](super::SpoolErrorKind::RoleLost). An implementation that cannot lose it has
    /// nothing to do.
    fn demand_emitter(&mut self) -> Result<(), SpoolError>;

    /// Notes that the target has stored every event up to `sequence`. A smaller sequence than before changes
    /// nothing: a target that is behind does not take back what another one has confirmed. This note need
    /// not be durable, because only what is shown depends on it.
    fn note_confirmed_through(&mut self, sequence: Sequence) -> Result<(), SpoolError>;
}
