//! The state: the file that `--state` names, where a run starts, and what the target has confirmed.

pub(super) mod confirmation;
pub(super) mod file;
pub(super) mod start;
