//! The guards that a request passes before its body is read.

pub(super) mod active_tokens;
pub(super) mod address;
pub(super) mod credentials;
pub mod token;
