//! From an event to the bytes of its RECORD messages.
//!
//! | file | contents |
//! | --- | --- |
//! | [`event`] | an event, split into its members |
//! | [`primary_key`] | the key of an event |
//! | [`table`], [`column`](mod@column) | the columns of a stream, and how a value is written in one |
//! | [`discovered`] | columns that appeared in events |
//! | [`placement`] | the rules for which value goes into which column |
//! | [`row`] | an event's values in their columns, and the extra column |
//! | [`message`] | the RECORD around the values |
//! | [`field_layout`], [`template`] | what is computed once for all events with the same field names |
//! | [`target_safe`] | what every target can store |

mod column;
mod discovered;
mod event;
mod field_layout;
mod message;
mod placement;
mod primary_key;
mod row;
mod table;
mod target_safe;
mod template;

pub(crate) use discovered::stream_with_discovered_columns;
pub(super) use event::{Event, Unreadable, lossy_text};
pub(super) use message::RecordWriter;
pub(super) use primary_key::PrimaryKey;
pub(super) use table::Table;
pub use table::UnknownFields;
