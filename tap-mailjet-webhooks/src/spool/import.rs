//! Copying a whole spool into another one, sequences kept.

use super::{
    CountStep, DiscoveredColumn, ItemCount, ItemKind, Sequence, SpoolError, StoredItem, TokenHash, WebhookUrl,
};
use crate::os::clock::UnixMillis;

/// Everything of a spool but its items.
#[derive(Debug, Clone)]
pub struct Ledger {
    /// The last sequence that was assigned.
    pub committed_through: Sequence,
    /// Whether any run was given a state.
    pub state_was_given: bool,
    /// The largest bookmark that a STATE can have.
    pub written_through: Option<Sequence>,
    /// Up to where the target has confirmed all events, and when it last confirmed more.
    pub confirmed: Option<(Sequence, UnixMillis)>,
    /// How many discovered columns were forgotten.
    pub columns_forgotten: i64,
    /// The discovered columns in the order in which they appeared.
    pub discovered_columns: Vec<DiscoveredColumn>,
    /// The active webhook URLs.
    pub webhook_urls: Vec<WebhookUrl>,
    /// The tokens of those that were revoked.
    pub revoked_tokens: Vec<TokenHash>,
    /// What was counted over time.
    pub item_counts: Vec<(CountStep, Vec<ItemCount>)>,
}

/// Fills a new spool with the contents of another one. It holds the roles that keep others away meanwhile. A
/// spool whose copy has not been finished cannot be used; the same copy again continues it.
pub trait Importer: std::fmt::Debug {
    /// Returns the last sequence of this kind that is already there.
    fn copied_through(&mut self, kind: ItemKind) -> Result<Sequence, SpoolError>;

    /// Adds items of this kind, which follow those that are there.
    fn add(&mut self, kind: ItemKind, items: &[OwnedItem]) -> Result<(), SpoolError>;

    /// Adds everything else, and makes the spool usable.
    fn finish(&mut self, ledger: &Ledger) -> Result<(), SpoolError>;
}

/// An item that was read from one spool and is not in the other one yet.
#[derive(Debug, Clone)]
pub struct OwnedItem {
    /// Its sequence.
    pub sequence: Sequence,
    /// When its webhook arrived.
    pub received_at: UnixMillis,
    /// Why it is not an event; `None` if it is one.
    pub reason: Option<String>,
    /// The bytes as received.
    pub body: Vec<u8>,
}

impl From<StoredItem<'_>> for OwnedItem {
    fn from(item: StoredItem<'_>) -> Self {
        OwnedItem {
            sequence: item.sequence,
            received_at: item.received_at,
            reason: item.reason.map(str::to_owned),
            body: item.body.to_owned(),
        }
    }
}
