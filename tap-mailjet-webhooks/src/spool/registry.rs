//! The registry: the few facts that a spool keeps beside its events.

use std::fmt;

use super::{Sequence, SpoolError};
use crate::os::clock::UnixMillis;

/// What a process does with a spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Receives webhooks and appends them to the event log.
    Listener,
    /// Reads the event log, writes Singer messages and trims.
    Emitter,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Listener => "listener",
            Role::Emitter => "emitter",
        })
    }
}

/// A role that this process has. It is given up when this is dropped, and when the process ends, however it ends.
pub struct RoleLock {
    role: Role,
    _held: Box<dyn Send + Sync>,
}

impl RoleLock {
    /// Wraps what an implementation holds for as long as it has `role`.
    pub(super) fn new(role: Role, held: impl Send + Sync + 'static) -> Self {
        RoleLock { role, _held: Box::new(held) }
    }

    /// The role.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }
}

impl fmt::Debug for RoleLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RoleLock({})", self.role)
    }
}

/// The SHA-256 of a webhook URL's token: all that is stored of it.
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
    /// The number by which it is revoked. It is never assigned again.
    pub id: i64,
    /// What its owner calls it.
    pub label: Option<String>,
    /// The hash of its token.
    pub token: TokenHash,
    /// When it was made.
    pub created_at: UnixMillis,
    /// When a webhook last arrived through it, to within a few seconds.
    pub last_used_at: Option<UnixMillis>,
}

/// A column that appeared in events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscoveredColumn {
    /// The stream's name.
    pub stream: String,
    /// The column's name.
    pub name: String,
    /// The JSON type of its first value, such as `string`.
    pub json_type: String,
}

/// Reads what the registry knows.
pub trait RegistryView: fmt::Debug + Send {
    /// Returns the active webhook URLs, oldest first.
    fn webhook_urls(&mut self) -> Result<Vec<WebhookUrl>, SpoolError>;

    /// Returns the columns that appeared, in the order in which they did.
    fn discovered_columns(&mut self) -> Result<Vec<DiscoveredColumn>, SpoolError>;
}

/// Reads and writes the registry. What it has written is durable when the call returns.
///
/// An implementation that can lose the role of the emitter to another process demands it for columns and positions.
pub trait Registry: RegistryView {
    /// Adds a webhook URL and returns its id, or `None` if `most_active` are active already. Of two processes that add
    /// one at once, only as many succeed as there is room for.
    fn add_webhook_url(
        &mut self,
        token: TokenHash,
        label: Option<&str>,
        most_active: usize,
    ) -> Result<Option<i64>, SpoolError>;

    /// Revokes a webhook URL. Returns whether it was active.
    fn revoke_webhook_url(&mut self, id: i64) -> Result<bool, SpoolError>;

    /// Notes that a webhook arrived through a URL at this moment.
    fn note_webhook_url_use(&mut self, id: i64, used_at: UnixMillis) -> Result<(), SpoolError>;

    /// Adds columns, all or none. It waits for as long as another process keeps the spool locked.
    fn add_discovered_columns(&mut self, columns: &[DiscoveredColumn]) -> Result<(), SpoolError>;

    /// Returns whether any run on this spool was ever given a state.
    fn state_was_given(&mut self) -> Result<bool, SpoolError>;

    /// Notes that a run on this spool was given a state: from now on only a state says what the target has stored.
    fn note_state_given(&mut self) -> Result<(), SpoolError>;

    /// Returns a sequence that no bookmark of any STATE written from this spool is past; `None` if no STATE was written.
    fn written_through(&mut self) -> Result<Option<Sequence>, SpoolError>;

    /// Allows the STATEs to come to have bookmarks up to `sequence`. It waits for as long as another process keeps the
    /// spool locked.
    fn note_written_through(&mut self, sequence: Sequence) -> Result<(), SpoolError>;

    /// Notes that the target has stored every event up to `sequence`. A smaller one than before changes nothing: what
    /// one target has confirmed is not taken back by another that is behind it.
    fn note_confirmed_through(&mut self, sequence: Sequence) -> Result<(), SpoolError>;
}
