//! `spool verify` and `spool export`: what is wrong with a spool, and what can still be read of it.
//!
//! Both open the spool for reading only, and can be used beside whoever writes it.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;

use rusqlite::Connection;
use serde_json::value::RawValue;

use crate::spool::sqlite::{self, CONFIRMED_THROUGH, STATE_GIVEN, TRIMMED_THROUGH, WRITTEN_THROUGH};
use crate::spool::{Damage, Reader, SpoolError};

/// Findings of one kind that are told one by one.
const MOST_OF_A_KIND: usize = 100;

/// What is in a spool, and what is wrong with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Events that can be read.
    pub events: u64,
    /// Rejected items that can be read.
    pub rejected: u64,
    /// What is wrong, each in a line.
    pub findings: Vec<String>,
}

/// Where the pieces of an export go, and what goes wrong on the way.
struct Export<W> {
    out: W,
    unreadable: Vec<String>,
    failure: Option<io::Error>,
}

/// Examines the spool at `path`: its format, its pages, the order of its sequences, its events and its facts.
pub fn verify(path: &Path) -> Result<VerifyReport, SpoolError> {
    let connection = sqlite::look(path)?.ok_or_else(|| SpoolError::Missing { path: path.to_owned() })?;
    let mut examination = VerifyReport::default();
    let findings = &mut examination.findings;
    findings.extend(broken_pages(&connection));
    findings.extend(wrong_sequences(&connection));
    findings.extend(wrong_facts(&connection));
    let reader = Reader::of(connection, path);
    let mut wrong_events = Vec::new();
    let (mut events, mut rejected) = (0, 0);
    reader.read_past(0, u32::MAX, |event| {
        match event {
            Ok(event) => {
                events += 1;
                if !is_object(event.body) {
                    wrong_events.push(format!("event {}: its body is no JSON object", event.sequence));
                }
            }
            Err(damage) => wrong_events.push(describe("events", &damage)),
        }
        ControlFlow::Continue(())
    })?;
    reader.read_rejected_past(0, u32::MAX, |item| {
        match item {
            Ok(_) => rejected += 1,
            Err(damage) => wrong_events.push(describe("rejected items", &damage)),
        }
        ControlFlow::Continue(())
    })?;
    examination.events = events;
    examination.rejected = rejected;
    let untold = wrong_events.len().saturating_sub(MOST_OF_A_KIND);
    examination.findings.extend(wrong_events.into_iter().take(MOST_OF_A_KIND));
    if untold > 0 {
        examination.findings.push(format!("and {untold} more like these"));
    }
    Ok(examination)
}

/// Writes what can be read of the spool at `path` to `out`, a JSON object in each line: events, then rejected items. Says
/// what can't be read.
pub fn export(path: &Path, out: impl Write) -> Result<Result<Vec<String>, io::Error>, SpoolError> {
    let connection = sqlite::look(path)?.ok_or_else(|| SpoolError::Missing { path: path.to_owned() })?;
    let reader = Reader::of(connection, path);
    let mut export = Export { out, unreadable: Vec::new(), failure: None };
    reader.read_past(0, u32::MAX, |event| match event {
        Ok(event) => {
            let body = body_of(event.body);
            export.write(format_args!(
                r#"{{"sequence":{},"received_at":{},"body":{body}}}"#,
                event.sequence, event.received_at
            ))
        }
        Err(damage) => export.skip(describe("events", &damage)),
    })?;
    reader.read_rejected_past(0, u32::MAX, |item| match item {
        Ok(item) => {
            let (reason, body) = (quoted(item.reason.as_bytes()), quoted(item.body));
            export.write(format_args!(
                r#"{{"sequence":{},"received_at":{},"reason":{reason},"body":{body}}}"#,
                item.sequence, item.received_at
            ))
        }
        Err(damage) => export.skip(describe("rejected items", &damage)),
    })?;
    let Export { mut out, unreadable, failure } = export;
    Ok(match failure {
        Some(error) => Err(error),
        None => out.flush().map(|()| unreadable),
    })
}

impl<W: Write> Export<W> {
    fn write(&mut self, line: std::fmt::Arguments<'_>) -> ControlFlow<()> {
        match writeln!(self.out, "{line}") {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.failure = Some(error);
                ControlFlow::Break(())
            }
        }
    }

    fn skip(&mut self, what: String) -> ControlFlow<()> {
        self.unreadable.push(what);
        ControlFlow::Continue(())
    }
}

fn describe(what: &str, damage: &Damage) -> String {
    format!(
        "{what} with sequences from {} to {} can't be read: {}",
        damage.after + 1,
        damage.through,
        damage.reason
    )
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
            // A heading of the lines that follow.
            .filter(|line| *line != "ok" && !line.starts_with("***"))
            .map(|line| format!("the file: {line}"))
            .collect(),
        Err(error) => vec![format!("the file can't be checked: {error}")],
    }
}

/// Sequences that no tap has given: below 1, or to an event and to a rejected item.
fn wrong_sequences(connection: &Connection) -> Vec<String> {
    let wrong = [
        ("sequences of events that are not above 0", "SELECT count(*) FROM event WHERE sequence < 1"),
        (
            "sequences of rejected items that are not above 0",
            "SELECT count(*) FROM rejected WHERE sequence < 1",
        ),
        (
            "sequences that an event and a rejected item share",
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

/// Facts that can't be.
fn wrong_facts(connection: &Connection) -> Vec<String> {
    let mut wrong = Vec::new();
    for name in [TRIMMED_THROUGH, WRITTEN_THROUGH, CONFIRMED_THROUGH, STATE_GIVEN] {
        match sqlite::fact(connection, name) {
            Ok(Some(value)) if value < 0 => wrong.push(format!("fact {name} is {value}, which it can't be")),
            Ok(_) => {}
            Err(error) => wrong.push(format!("fact {name} can't be read: {error}")),
        }
    }
    wrong
}

fn is_object(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"{") && serde_json::from_slice::<&RawValue>(body).is_ok()
}

/// The body of an event as it stands, in one line; as a JSON string if it is no JSON object any more.
fn body_of(body: &[u8]) -> String {
    match std::str::from_utf8(body) {
        // Between the parts of an object; within its strings there are none.
        Ok(text) if is_object(body) => text.replace(['\n', '\r'], " "),
        _ => quoted(body),
    }
}

fn quoted(bytes: &[u8]) -> String {
    serde_json::to_string(&String::from_utf8_lossy(bytes)).expect("text is JSON")
}
