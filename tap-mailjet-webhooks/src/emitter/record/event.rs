//! An event as the spool stores it, split into its members.

use catalog::members::Members;

use super::primary_key::PrimaryKey;
use crate::os::clock::UnixMillis;
use crate::spool::Sequence;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Event<'b> {
    pub(crate) sequence: Sequence,
    /// When its webhook arrived.
    pub(crate) received_at: UnixMillis,
    /// Its members; none if its text is not a JSON object.
    pub(crate) members: Members<'b, 'b>,
    /// Set if its text is not a JSON object.
    pub(crate) unreadable: Option<Unreadable<'b>>,
}

/// An event whose text is not a JSON object. The listener never stores one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unreadable<'b> {
    pub(crate) key: PrimaryKey,
    /// Its text, as a JSON string.
    pub(crate) text: &'b str,
}

/// Returns bytes as text that every target accepts: U+FFFD stands for what is not UTF-8 and for U+0000.
pub(crate) fn lossy_text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}")
}
