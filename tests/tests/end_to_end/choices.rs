//! Any event and any choice: what a catalog deselects is nowhere, all else is there, and valid by the SCHEMA that the catalog
//! asked for; and a second run from any bookmark writes the same rows.

use std::fs;

use end_to_end::events::SYSTEM_COLUMNS;
use end_to_end::message::{Record, members};
use end_to_end::schema::assert_valid;
use end_to_end::tap::{Finished, Tap, state};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::properties::{comparable, counted, json as any_json, object_of, ordered, runner, said};

const CASES: u32 = 16;
const EVENTS: usize = 16;

/// What the user has chosen.
#[derive(Debug)]
struct Choice {
    deselected: Vec<&'static str>,
    /// Columns, each with the type that the catalog asks for.
    types: Vec<(&'static str, &'static str)>,
    unknown_fields: &'static str,
    prefix: &'static str,
}

fn choice() -> impl Strategy<Value = Choice> {
    let deselected =
        prop::sample::subsequence(vec!["email", "blocked", "CustomID", "a", "é", "x y", "Payload"], 0..4);
    let typed = prop::sample::subsequence(
        vec!["time", "MessageID", "hard_bounce", "mj_list_id", "Payload", "b", "a__b", "time__st"],
        0..6,
    );
    let types =
        prop::collection::vec(prop::sample::select(vec!["string", "integer", "number", "boolean"]), 4);
    let unknown_fields = prop::sample::select(vec!["columns", "columns", "extra"]);
    let prefix = prop::sample::select(vec!["_sdc_", "_mailjet_"]);
    (deselected, typed, types, unknown_fields, prefix).prop_map(
        |(deselected, typed, types, unknown_fields, prefix)| Choice {
            deselected,
            types: typed.into_iter().zip(types).collect(),
            unknown_fields,
            prefix,
        },
    )
}

impl Choice {
    fn catalog(&self) -> Value {
        let no = |name| json!({"breadcrumb": ["properties", name], "metadata": {"selected": false}});
        let properties =
            self.types.iter().map(|(name, kind)| ((*name).to_owned(), json!({"type": [kind, "null"]})));
        json!({"streams": [{
            "tap_stream_id": "data",
            "metadata": self.deselected.iter().map(no).collect::<Vec<_>>(),
            "schema": {"properties": properties.collect::<serde_json::Map<_, _>>()},
        }]})
    }

    /// Whether what the field of this name says is to be written: it and whatever it is a part of.
    fn selects(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        let mut wholes = name.match_indices("__").map(|(at, _)| &name[..at]).chain([name.as_str()]);
        wholes.all(|whole| self.deselected.iter().all(|deselected| deselected.to_lowercase() != whole))
    }

    /// What the leaves of an object say, but for what is deselected. An object may be kept as its text.
    fn leaves(&self, path: &str, json: &str, out: &mut Vec<String>) {
        for (name, value) in ordered(json) {
            let path = format!("{path}{name}");
            match inner_object(&value) {
                Some(object) => self.leaves(&format!("{path}__"), &object, out),
                None if value == "null" || value == "\"\"" || !self.selects(&path) => {}
                None => out.push(said(&value)),
            }
        }
    }
}

/// The object that a value is, or that its text is.
fn inner_object(json: &str) -> Option<String> {
    let text = if json.starts_with('"') { said(json) } else { json.to_owned() };
    let is_object =
        text.starts_with('{') && serde_json::from_str::<Box<serde_json::value::RawValue>>(&text).is_ok();
    (is_object && !ordered(&text).is_empty()).then_some(text)
}

/// What a row says, but for its system columns.
fn said_by(row: &Record, prefix: &str) -> Vec<String> {
    let mut out = Vec::new();
    let everything = Choice { deselected: vec![], types: vec![], unknown_fields: "", prefix: "" };
    let system: Vec<_> = SYSTEM_COLUMNS
        .iter()
        .map(|name| match name.strip_prefix("_sdc_") {
            Some(rest) => format!("{prefix}{rest}"),
            None => (*name).to_owned(),
        })
        .collect();
    for (name, value) in members(&row.text) {
        if !system.contains(&name) {
            everything.leaves("", &format!("{{\"\":{}}}", value.get()), &mut out);
        }
    }
    out
}

fn drained(finished: &Finished) -> Vec<Record> {
    finished.assert_code(0);
    assert_valid(&finished.messages());
    finished.records()
}

fn check(choice: &Choice, events: &[String], bookmark: usize) -> Result<(), TestCaseError> {
    let tap =
        Tap::new().set("unknown_fields", choice.unknown_fields).set("system_column_prefix", choice.prefix);
    tap.spool_bodies(events.iter().map(String::as_str));
    let path = tap.folder().join("catalog.json");
    fs::write(&path, choice.catalog().to_string()).expect("a catalog can be written");
    let arguments = ["--catalog", path.to_str().expect("a path")];
    let rows = drained(&tap.drain().args(&arguments).finish());
    prop_assert_eq!(rows.len(), events.len());
    for (event, row) in events.iter().zip(&rows) {
        let mut expected = Vec::new();
        choice.leaves("", event, &mut expected);
        prop_assert_eq!(
            counted(said_by(row, choice.prefix)),
            counted(expected),
            "event {}\nrow {}",
            event,
            row.text
        );
    }

    // From the bookmark of any row, the rows after it come again, sequences and all.
    let covered = rows[bookmark].integer(&format!("{}sequence", choice.prefix));
    tap.append_to_state(&format!("{}\n", state(covered)));
    let again = drained(&tap.drain().state().args(&arguments).finish());
    let comparable = |rows: &[Record]| {
        let mut rows = comparable(rows);
        for row in &mut rows {
            row.remove("_mailjet_batched_at");
        }
        rows
    };
    prop_assert_eq!(comparable(&rows[bookmark + 1..]), comparable(&again));
    Ok(())
}

#[test]
fn what_is_chosen_is_written_and_nothing_else() {
    let mut runner = runner(CASES);
    let events = prop::collection::vec(object_of(any_json(), 0..8), EVENTS);
    let outcome = runner
        .run(&(choice(), events, 0..EVENTS), |(choice, events, bookmark)| check(&choice, &events, bookmark));
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

/// The oracle above is worth something only if it sees what has come out, and what has not.
#[test]
fn the_oracle_knows_what_is_deselected_and_finds_what_is_kept_whole() {
    let choice = Choice {
        deselected: vec!["email", "CustomID"],
        types: vec![],
        unknown_fields: "columns",
        prefix: "_mailjet_",
    };
    let leaves = |choice: &Choice, event: &str| {
        let mut out = Vec::new();
        choice.leaves("", event, &mut out);
        out
    };
    let event =
        r#"{"Email":1,"email":{"a":2},"email__it":3,"customid":4,"a":{"email":5},"emails":6,"b":null}"#;
    assert_eq!(leaves(&choice, event), ["5", "6"]);
    let row = Record::of_row(
        r#"{"event":"open","_mailjet_sequence":7,"__sdc_primary_key":"k","_sdc_extra":{"a":{"b":8},"c":"{\"d\":9}"}}"#,
    );
    assert_eq!(said_by(&row, "_mailjet_"), ["8", "9", "open"]);
}
