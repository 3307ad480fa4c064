//! Counts the events that no selected stream has, so that the log can say what was not written.

use std::collections::BTreeMap;

use tracing::warn;

/// How many types are counted under their own names. The others are counted together.
const MAX_TYPES: usize = 50;
/// How many characters of a type's name are kept.
const MAX_NAME_CHARACTERS: usize = 100;

#[derive(Debug, Default)]
pub(super) struct UnselectedEvents {
    counts: BTreeMap<String, u64>,
}

impl UnselectedEvents {
    /// Counts an event, and logs a warning at the first one of its type.
    pub(super) fn count(&mut self, mut type_name: String) {
        // A sender may have given it any length.
        if let Some((end, _)) = type_name.char_indices().nth(MAX_NAME_CHARACTERS) {
            type_name.truncate(end);
            type_name.push('…');
        }
        if self.counts.len() >= MAX_TYPES && !self.counts.contains_key(&type_name) {
            "(others)".clone_into(&mut type_name);
        }
        if let Some(count) = self.counts.get_mut(&type_name) {
            *count += 1;
            return;
        }
        warn!(
            "no selected stream has events of type \"{}\": they are not written, and are deleted after \
             retention_days",
            type_name.escape_debug()
        );
        self.counts.insert(type_name, 1);
    }

    /// Logs the counts at the end of a run.
    pub(super) fn log_counts(&self) {
        for (name, count) in &self.counts {
            warn!(
                "{count} events of type \"{}\" were not written: no selected stream has them",
                name.escape_debug()
            );
        }
    }
}
