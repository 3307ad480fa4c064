//! The table of single facts about the spool itself.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension};

use crate::os::clock::{UnixMillis, millis};
use crate::os::uptime::Uptime;
use crate::spool::Sequence;
use crate::spool::spool_clock::NotedTime;

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
/// The spool's time when it was last noted, in Unix milliseconds.
pub(super) const TIME: &str = "time";
/// Which boot of the machine that was in, and how many milliseconds after it.
pub(super) const TIME_BOOT: &str = "time_boot";
pub(super) const TIME_UPTIME: &str = "time_uptime";
/// Two moments of the spool's time, and the last sequence at each of them.
pub(super) const OLDER_MARK: Mark = Mark { time: "older_mark_time", sequence: "older_mark_sequence" };
pub(super) const NEWER_MARK: Mark = Mark { time: "newer_mark_time", sequence: "newer_mark_sequence" };

/// The names of two facts: a moment, and the last sequence then.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    time: &'static str,
    sequence: &'static str,
}

pub(super) const ALL: [&str; 13] = [
    TRIMMED_THROUGH,
    STATE_GIVEN,
    WRITTEN_THROUGH,
    CONFIRMED_THROUGH,
    CONFIRMED_AT,
    COLUMNS_FORGOTTEN,
    TIME,
    TIME_BOOT,
    TIME_UPTIME,
    OLDER_MARK.time,
    OLDER_MARK.sequence,
    NEWER_MARK.time,
    NEWER_MARK.sequence,
];

pub(super) fn read(connection: &Connection, name: &str) -> rusqlite::Result<Option<i64>> {
    connection.query_row("SELECT value FROM fact WHERE name = ?1", [name], |row| row.get(0)).optional()
}

/// Reads a fact that is a sequence.
pub(super) fn read_sequence(connection: &Connection, name: &str) -> rusqlite::Result<Option<Sequence>> {
    Ok(read(connection, name)?.map(Sequence::new))
}

pub(super) fn set(connection: &Connection, name: &str, value: i64) -> rusqlite::Result<()> {
    connection.execute("INSERT OR REPLACE INTO fact (name, value) VALUES (?1, ?2)", (name, value)).map(drop)
}

/// Sets a fact that is a sequence, unless it already is at least that large. Returns whether it was set.
pub(super) fn raise(connection: &Connection, name: &str, sequence: Sequence) -> rusqlite::Result<bool> {
    match read_sequence(connection, name)? {
        Some(before) if before >= sequence => Ok(false),
        _ => set(connection, name, sequence.get()).map(|()| true),
    }
}

/// Reads the spool's time as it was last noted.
pub(super) fn read_time(connection: &Connection) -> rusqlite::Result<Option<NotedTime>> {
    let fact = |name| read(connection, name);
    let (Some(time), Some(boot), Some(uptime)) = (fact(TIME)?, fact(TIME_BOOT)?, fact(TIME_UPTIME)?) else {
        return Ok(None);
    };
    let since_boot = Duration::from_millis(u64::try_from(uptime).unwrap_or(0));
    Ok(Some(NotedTime { time: UnixMillis::new(time), uptime: Uptime { boot, since_boot } }))
}

/// Notes the spool's time.
pub(super) fn set_time(connection: &Connection, noted: NotedTime) -> rusqlite::Result<()> {
    set(connection, TIME, noted.time.get())?;
    set(connection, TIME_BOOT, noted.uptime.boot)?;
    set(connection, TIME_UPTIME, millis(noted.uptime.since_boot))
}

/// Reads a mark.
pub(super) fn read_mark(
    connection: &Connection,
    mark: Mark,
) -> rusqlite::Result<Option<(UnixMillis, Sequence)>> {
    let time = read(connection, mark.time)?.map(UnixMillis::new);
    Ok(time.zip(read_sequence(connection, mark.sequence)?))
}

/// Sets a mark.
pub(super) fn set_mark(
    connection: &Connection,
    mark: Mark,
    (time, sequence): (UnixMillis, Sequence),
) -> rusqlite::Result<()> {
    set(connection, mark.time, time.get())?;
    set(connection, mark.sequence, sequence.get())
}

/// Returns the sequence that new ones continue after. It is the largest that was ever assigned, even if its
/// row is gone, or the largest bookmark of a state that the spool has taken over. A new spool has
/// [`Sequence::START`].
pub(super) fn last_sequence(connection: &Connection) -> rusqlite::Result<Sequence> {
    connection
        .prepare_cached(
            "SELECT max((SELECT coalesce(max(sequence), 0) FROM event),
                        (SELECT coalesce(max(sequence), 0) FROM rejected),
                        (SELECT coalesce(max(value), 0) FROM fact WHERE name IN (?1, ?2)))",
        )?
        .query_row([TRIMMED_THROUGH, WRITTEN_THROUGH], |row| row.get(0))
        .map(Sequence::new)
}
