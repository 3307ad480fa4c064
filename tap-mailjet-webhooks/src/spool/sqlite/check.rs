//! Checks a spool apart from its items: the file, the sequences, the counts, the facts.

use rusqlite::Connection;

use super::{facts, row_count};
use crate::spool::ItemKind;

/// Returns one line for each problem.
pub(super) fn check(connection: &Connection) -> Vec<String> {
    [broken_pages(connection), wrong_sequences(connection), wrong_counts(connection), wrong_facts(connection)]
        .concat()
}

fn broken_pages(connection: &Connection) -> Vec<String> {
    let check = || {
        let mut statement = connection.prepare("PRAGMA integrity_check")?;
        let lines = statement.query_map([], |row| row.get::<_, String>(0))?;
        lines.collect::<rusqlite::Result<Vec<_>>>()
    };
    match check() {
        Ok(lines) => lines
            .iter()
            .flat_map(|line| line.lines())
            // A line that starts with asterisks is a heading.
            .filter(|line| *line != "ok" && !line.starts_with("***"))
            .map(|line| format!("the file: {line}"))
            .collect(),
        Err(error) => vec![format!("the file cannot be checked: {error}")],
    }
}

/// Finds sequences that no tap assigns: below 1, or to both an event and a rejected item.
fn wrong_sequences(connection: &Connection) -> Vec<String> {
    let wrong = [
        ("sequences of events are below 1", "SELECT count(*) FROM event WHERE sequence < 1"),
        ("sequences of rejected items are below 1", "SELECT count(*) FROM rejected WHERE sequence < 1"),
        (
            "sequences belong to both an event and a rejected item",
            "SELECT count(*) FROM rejected JOIN event USING (sequence)",
        ),
    ];
    let count = |query| connection.query_row(query, [], |row| row.get::<_, i64>(0)).unwrap_or(0);
    let counts = wrong.map(|(what, query)| (count(query), what)).into_iter();
    counts.filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect()
}

/// Finds counts of rows that were kept and are wrong. Only what is shown depends on them.
fn wrong_counts(connection: &Connection) -> Vec<String> {
    let wrong = |kind| match row_count::wrong_blocks(connection, kind) {
        Ok(0) => None,
        Ok(wrong) => Some(format!("{wrong} kept counts of table {} are wrong", kind.table())),
        Err(error) => Some(format!("the kept counts of table {} cannot be read: {error}", kind.table())),
    };
    ItemKind::ALL.into_iter().filter_map(wrong).collect()
}

fn wrong_facts(connection: &Connection) -> Vec<String> {
    let wrong = |name| match facts::read(connection, name) {
        Ok(Some(value)) if value < 0 => Some(format!("fact {name} is {value}, which is below 0")),
        Ok(_) => None,
        Err(error) => Some(format!("fact {name} cannot be read: {error}")),
    };
    facts::ALL.into_iter().filter_map(wrong).collect()
}
