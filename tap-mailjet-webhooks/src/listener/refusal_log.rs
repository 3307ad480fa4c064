//! The log of requests that were not simply answered with 200. Each kind has a log throttle of its own.

use std::collections::HashMap;

use parking_lot::Mutex;
use tracing::{Level, debug, info, warn};

use super::refusal::Refusal;
use crate::os::log_throttle::{LogThrottle, Suppressed};
use crate::spool::Receipt;

#[derive(Debug, Default)]
pub(super) struct RefusalLog {
    throttle_by_tag: Mutex<HashMap<&'static str, LogThrottle>>,
}

impl RefusalLog {
    /// Logs a refusal, unless one with its tag was logged a moment ago.
    pub(super) fn log(&self, refusal: &Refusal) {
        let (status, tag, level) = refusal.classify();
        let status = status.as_u16();
        if level == Level::DEBUG {
            debug!(status, tag, "refused: {refusal}");
            return;
        }
        let Some(suppressed) = self.allow(tag) else { return };
        let detail = refusal.detail();
        if level == Level::INFO {
            info!(status, tag, "refused: {refusal}{detail}{suppressed}");
        } else {
            warn!(status, tag, "refused: {refusal}{detail}{suppressed}");
        }
    }

    /// Logs that a webhook held something that is not an event, unless that was logged a moment ago.
    pub(super) fn log_rejected(&self, receipt: Receipt, error: &str) {
        let Receipt { accepted, rejected } = receipt;
        if let Some(suppressed) = self.allow("rejected") {
            warn!(
                accepted,
                rejected,
                "a webhook held something that is not an event: {error}. It was answered 200, since a repeat \
                 would be the same; all of it is kept, and goes to the stream _sdc_rejected{suppressed}"
            );
        }
    }

    fn allow(&self, tag: &'static str) -> Option<Suppressed> {
        self.throttle_by_tag.lock().entry(tag).or_default().allow()
    }
}
