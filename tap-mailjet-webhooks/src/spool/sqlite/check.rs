//! What is wrong with a spool, apart from its items: the file, the order of sequences, the facts.

use rusqlite::Connection;

use super::facts;

/// Returns what is wrong, each in a line.
pub(super) fn check(connection: &Connection) -> Vec<String> {
    let mut findings = broken_pages(connection);
    findings.extend(wrong_sequences(connection));
    findings.extend(wrong_facts(connection));
    findings
}

/// What SQLite finds wrong with the file.
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
            // A line of asterisks is a heading of the lines that follow.
            .filter(|line| *line != "ok" && !line.starts_with("***"))
            .map(|line| format!("the file: {line}"))
            .collect(),
        Err(error) => vec![format!("the file cannot be checked: {error}")],
    }
}

/// Sequences that no tap has assigned: below 1, or to both an event and a rejected item.
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
    wrong
        .into_iter()
        .map(|(what, query)| (what, count(query)))
        .filter(|(_, count)| *count > 0)
        .map(|(what, count)| format!("{count} {what}"))
        .collect()
}

/// Facts with values that they cannot have.
fn wrong_facts(connection: &Connection) -> Vec<String> {
    let mut wrong = Vec::new();
    for name in facts::ALL {
        match facts::read(connection, name) {
            Ok(Some(value)) if value < 0 => wrong.push(format!("fact {name} is {value}, which is below 0")),
            Ok(_) => {}
            Err(error) => wrong.push(format!("fact {name} cannot be read: {error}")),
        }
    }
    wrong
}
