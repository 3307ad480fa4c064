//! The names of single facts that a spool keeps about itself: every implementation stores them as numbers.

/// The largest sequence that was ever trimmed.
pub(super) const TRIMMED_THROUGH: &str = "trimmed_through";
/// Present once a run was given a state.
pub(super) const STATE_GIVEN: &str = "state_given";
/// The largest bookmark that any STATE can have.
pub(super) const WRITTEN_THROUGH: &str = "written_through";
/// The largest sequence up to which the target has confirmed all events.
pub(super) const CONFIRMED_THROUGH: &str = "confirmed_through";
/// When that was last raised, in Unix milliseconds.
pub(super) const CONFIRMED_AT: &str = "confirmed_at";
/// How many discovered columns were forgotten.
pub(super) const COLUMNS_FORGOTTEN: &str = "columns_forgotten";
/// Present while another spool is being copied into this one.
pub(super) const COPY_UNFINISHED: &str = "copy_unfinished";
/// How far that has got.
pub(super) const COPIED_EVENTS: &str = "copied_events";
pub(super) const COPIED_REJECTED: &str = "copied_rejected";
/// The spool's time when it was last noted, in Unix milliseconds.
pub(super) const TIME: &str = "time";
/// Which boot of the machine that was in, and how many milliseconds after it.
pub(super) const TIME_BOOT: &str = "time_boot";
pub(super) const TIME_UPTIME: &str = "time_uptime";
/// Two moments of the spool's time, and the last sequence at each of them.
pub(super) const OLDER_MARK: MarkNames =
    MarkNames { time: "older_mark_time", sequence: "older_mark_sequence" };
pub(super) const NEWER_MARK: MarkNames =
    MarkNames { time: "newer_mark_time", sequence: "newer_mark_sequence" };

/// The names of the two facts that make a [`Mark`](super::retention::Mark).
#[derive(Debug, Clone, Copy)]
pub(super) struct MarkNames {
    pub(super) time: &'static str,
    pub(super) sequence: &'static str,
}

pub(super) const ALL: [&str; 16] = [
    TRIMMED_THROUGH,
    STATE_GIVEN,
    WRITTEN_THROUGH,
    CONFIRMED_THROUGH,
    CONFIRMED_AT,
    COLUMNS_FORGOTTEN,
    COPY_UNFINISHED,
    COPIED_EVENTS,
    COPIED_REJECTED,
    TIME,
    TIME_BOOT,
    TIME_UPTIME,
    OLDER_MARK.time,
    OLDER_MARK.sequence,
    NEWER_MARK.time,
    NEWER_MARK.sequence,
];
