//! The log of what requests came to that were not simply answered with 200: each kind is told sparingly.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tracing::{Level, debug, info, warn};

use super::refusal::Refusal;
use crate::os::log_throttle::{LogThrottle, Suppressed};
use crate::spool::Receipt;

/// What was told lately.
#[derive(Debug, Default)]
pub(super) struct RefusalLog {
    /// By tag.
    told: Mutex<HashMap<&'static str, LogThrottle>>,
}

impl RefusalLog {
    /// Tells a refusal, or counts it.
    pub(super) fn tell(&self, refusal: &Refusal) {
        let (status, tag) = (refusal.status().as_u16(), refusal.tag());
        if refusal.log_level() == Level::DEBUG {
            debug!(status, tag, "refused: {refusal}");
            return;
        }
        let Some(suppressed) = self.allow(tag) else { return };
        let detail = refusal.detail();
        if refusal.log_level() == Level::INFO {
            info!(status, tag, "refused: {refusal}{detail}{suppressed}");
        } else {
            warn!(status, tag, "refused: {refusal}{detail}{suppressed}");
        }
    }

    /// Tells that some elements of an array were not events, or counts it.
    pub(super) fn tell_rejected(&self, receipt: Receipt) {
        let Receipt { accepted, rejected } = receipt;
        if let Some(suppressed) = self.allow("elements_rejected") {
            warn!(
                accepted,
                rejected,
                "a webhook held array elements that are not events; they are kept as rejected{suppressed}"
            );
        }
    }

    fn allow(&self, tag: &'static str) -> Option<Suppressed> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).entry(tag).or_default().allow()
    }
}
