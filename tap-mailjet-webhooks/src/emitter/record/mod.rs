//! From an event to a row: columns, values, keys, and the bytes of a RECORD.

pub(super) mod discovered;
pub(super) mod field_layout;
pub(super) mod primary_key;
pub(super) mod row;
pub(super) mod table;
pub(super) mod target_safe;
pub(super) mod template;
