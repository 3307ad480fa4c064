//! What the tap and the target share. README.md says what each module is for.
//!
//! All modules but [`plugin`] are the vocabulary of events, streams and messages. They do no I/O and write no
//! log.

pub mod byte_order_mark;
pub mod column;
pub mod event;
pub mod members;
pub mod message;
pub mod plugin;
pub mod schema;
pub mod selection;
pub mod state;
pub mod stream;
