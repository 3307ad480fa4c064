//! The vocabulary that the tap and the target share. Nothing in here does I/O, but for the
//! setting up of a log.
//!
//! - [`event`]: what Mailjet sends, as documented structs from which the JSON Schemas are derived
//! - [`mod@column`]: the types a column can have, and which JSON values fit each of them
//! - [`stream`]: the tables that the tap offers, and the columns of each
//! - [`selection`]: the Singer catalog that `--discover` prints
//! - [`members`]: JSON objects as places in their text, read without a tree
//! - [`message`]: Singer messages as types, written and read a line at a time
//! - [`settings`]: configuration keys, merged and checked
//! - [`about`]: what a program says of itself
//! - [`logging`]: how a program's log lines look, for people and for Meltano
//! - [`state`]: bookmarks, and the STATE value that carries them

pub mod about;
pub mod column;
pub mod event;
pub mod logging;
pub mod members;
pub mod message;
pub mod selection;
pub mod settings;
pub mod state;
pub mod stream;
