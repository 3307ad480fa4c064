//! The table of single facts about the spool itself.

use rusqlite::{Connection, OptionalExtension};

use crate::spool::Sequence;

/// The largest sequence that was ever trimmed.
pub(super) const TRIMMED_THROUGH: &str = "trimmed_through";
/// Present once a run was given a state.
pub(super) const STATE_GIVEN: &str = "state_given";
/// The largest bookmark that any STATE can have.
pub(super) const WRITTEN_THROUGH: &str = "written_through";
/// The largest sequence up to which the target has confirmed all events.
pub(super) const CONFIRMED_THROUGH: &str = "confirmed_through";

pub(super) const ALL: [&str; 4] = [TRIMMED_THROUGH, STATE_GIVEN, WRITTEN_THROUGH, CONFIRMED_THROUGH];

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

/// Sets a fact that is a sequence, unless it already is at least that large.
pub(super) fn raise(connection: &Connection, name: &str, sequence: Sequence) -> rusqlite::Result<()> {
    match read_sequence(connection, name)? {
        Some(before) if before >= sequence => Ok(()),
        _ => set(connection, name, sequence.get()),
    }
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
