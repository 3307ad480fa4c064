//! What a running tap and its spool look like from outside, and how that is shown.

pub mod progress;
pub mod prometheus;
pub mod spool_status;
