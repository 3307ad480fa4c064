//! What the tap and the target share.
//!
//! The vocabulary, which does no I/O and writes no log:
//!
//! - [`event`]: what Mailjet sends, as documented structs from which the JSON Schemas are derived
//! - [`mod@column`]: the types a column can have, and which JSON values fit each of them
//! - [`stream`]: the tables that the tap offers, and the columns of each
//! - [`selection`]: the Singer catalog that `--discover` prints and `--catalog` reads
//! - [`message`]: Singer messages as types, written and read a line at a time
//! - [`state`]: bookmarks, and the STATE value that carries them
//! - [`members`]: the members of a JSON object, found in its text without building a tree
//! - [`schema`]: JSON Schemas derived from documented structs
//!
//! And [`plugin`]: the command-line conventions of a Singer plugin.

pub mod column;
pub mod event;
pub mod members;
pub mod message;
pub mod plugin;
pub mod schema;
pub mod selection;
pub mod state;
pub mod stream;
