//! From an event to the bytes of its RECORD messages.
//!
//! | file | contents |
//! | --- | --- |
//! | this one | an event, split into its members |
//! | [`primary_key`] | the key of an event |
//! | [`table`] | the columns of a stream, and how a value is written in one |
//! | [`placement`] | the rules for which value goes into which column |
//! | [`row`] | an event's values in their columns, and the extra column |
//! | [`rejected`](mod@rejected) | how a rejected item is written |
//! | [`message`], [`frame`] | the RECORD messages, and their text around the values |
//! | [`field_layout`], [`template`] | what is computed once for all events with the same field names |
//! | [`target_safe`] | what every target can store |

mod field_layout;
mod frame;
mod message;
mod placement;
mod primary_key;
mod rejected;
mod row;
mod table;
mod target_safe;
mod template;

use catalog::members::Members;

pub(super) use message::RecordWriter;
pub(super) use primary_key::PrimaryKey;
pub(super) use table::Table;
pub(crate) use table::stream_with_discovered_columns;
pub use table::{ColumnRules, ExtraColumn, UnknownFields};

use crate::os::clock::UnixMillis;
use crate::spool::Sequence;

/// An event as the spool stores it, split into its members.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Event<'b> {
    pub(crate) sequence: Sequence,
    /// When its webhook arrived.
    pub(crate) received_at: UnixMillis,
    /// Empty if the event is unreadable.
    pub(crate) members: Members<'b, 'b>,
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
