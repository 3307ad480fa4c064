//! The table of single facts about the spool itself.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension};

use crate::os::clock::{UnixMillis, millis};
use crate::os::uptime::Uptime;
use crate::spool::Sequence;
pub(super) use crate::spool::facts::*;
use crate::spool::retention::{Mark, Marks};
use crate::spool::spool_clock::NotedTime;

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

/// Reads both marks.
pub(super) fn read_marks(connection: &Connection) -> rusqlite::Result<Marks> {
    let mark = |names: MarkNames| -> rusqlite::Result<Option<Mark>> {
        let time = read(connection, names.time)?.map(UnixMillis::new);
        Ok(time.zip(read_sequence(connection, names.sequence)?))
    };
    Ok(Marks { older: mark(OLDER_MARK)?, newer: mark(NEWER_MARK)? })
}

/// Sets both marks.
pub(super) fn set_marks(connection: &Connection, marks: Marks) -> rusqlite::Result<()> {
    for (names, mark) in [(OLDER_MARK, marks.older), (NEWER_MARK, marks.newer)] {
        let Some((time, sequence)) = mark else { continue };
        set(connection, names.time, time.get())?;
        set(connection, names.sequence, sequence.get())?;
    }
    Ok(())
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
