//! Any event and any choice: what a catalog deselects is nowhere, all else is there, and valid by the SCHEMA that the catalog
//! asked for; and a second run from any bookmark writes the same rows.

use std::collections::BTreeSet;
use std::fs;

use end_to_end::events::SYSTEM_COLUMNS;
use end_to_end::message::{Record, members};
use end_to_end::schema::{assert_valid, columns_of};
use end_to_end::tap::{Finished, Tap, state};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::properties::{
    comparable, counted, inner_object, json as any_json, object_of, ordered, runner, said,
};

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
    /// Whether everything was written once before, with no catalog, so that its columns are there from the start.
    has_appeared: bool,
}

fn choice() -> impl Strategy<Value = Choice> {
    let deselected = prop::sample::subsequence(
        vec![
            "email",
            "blocked",
            "CustomID",
            "é",
            "x y",
            "Payload",
            "a",
            "a_",
            "a__b",
            "A__ST",
            "b__a",
            "time__st",
            "Payload__it",
            "Payload__a",
            "b__b__b",
        ],
        0..5,
    );
    let typed = prop::sample::subsequence(
        vec![
            "time",
            "MessageID",
            "hard_bounce",
            "mj_list_id",
            "Payload",
            "a",
            "b",
            "é",
            "a__b",
            "time__st",
            "a__st",
            "Payload__it",
        ],
        0..6,
    );
    let types = prop::sample::select(vec!["string", "integer", "number", "boolean", "object", "object"]);
    let types = prop::collection::vec(types, 6);
    let unknown_fields = prop::sample::select(vec!["columns", "columns", "extra"]);
    let prefix = prop::sample::select(vec!["_sdc_", "_mailjet_"]);
    (deselected, typed, types, unknown_fields, prefix, any::<bool>()).prop_map(
        |(deselected, typed, types, unknown_fields, prefix, has_appeared)| Choice {
            deselected,
            types: typed.into_iter().zip(types).collect(),
            unknown_fields,
            prefix,
            has_appeared,
        },
    )
}

/// What the leaves of an event say.
#[derive(Debug, Default)]
struct Leaves {
    selected: Vec<String>,
    /// Those whose split column is deselected: they are written only if they fit their own column, or need none.
    split: Vec<String>,
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

    fn deselects(&self, name: &str) -> bool {
        self.deselected.iter().any(|deselected| deselected.to_lowercase() == name.to_lowercase())
    }

    /// What the leaves of an object say, but for what is deselected. An object may be kept as its text. `path` is what the
    /// names of its fields begin with.
    fn leaves(&self, path: &str, json: &str, out: &mut Leaves) {
        for (name, value) in ordered(json) {
            let field = format!("{path}{name}");
            // A field's own name may look like that of a field within another.
            let mut wholes =
                (path.len()..field.len()).filter(|at| field.as_bytes()[*at..].starts_with(b"__"));
            if self.deselects(&field) || wholes.any(|at| self.deselects(&field[..at])) {
                continue;
            }
            match inner_object(&value) {
                Some(object) => self.leaves(&format!("{field}__"), &object, out),
                None if value == "null" || value == "\"\"" => {}
                None if self.deselects(&format!("{field}__{}", suffix(&value))) => {
                    out.split.push(said(&value));
                }
                None => out.selected.push(said(&value)),
            }
        }
    }
}

/// What is appended to the name of a column for a value that does not fit it, by the README's table.
fn suffix(json: &str) -> &'static str {
    match json.as_bytes()[0] {
        b't' | b'f' => "bl",
        b'-' | b'0'..=b'9' if json.parse::<i64>().is_ok() => "it",
        b'-' | b'0'..=b'9' => {
            let mantissa = json.split(['e', 'E']).next().unwrap_or_default();
            let digits =
                mantissa.trim_start_matches(['-', '0', '.']).bytes().filter(u8::is_ascii_digit).count();
            let is_in_range = json.parse().is_ok_and(|number: f64| (1e-300..1e300).contains(&number.abs()));
            if digits == 0 || (digits <= 15 && is_in_range) { "fl" } else { "st" }
        }
        _ => "st",
    }
}

/// What a row says, but for its system columns.
fn said_by(row: &Record, prefix: &str) -> Vec<String> {
    let mut out = Leaves::default();
    let everything =
        Choice { deselected: vec![], types: vec![], unknown_fields: "", prefix: "", has_appeared: false };
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
    out.selected
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
    if choice.has_appeared {
        let _ = drained(
            &tap.drain().set("unknown_fields", "columns").set("system_column_prefix", "_sdc_").finish(),
        );
    }
    let finished = tap.drain().args(&arguments).finish();
    let rows = drained(&finished);
    prop_assert_eq!(rows.len(), events.len());
    for columns in columns_of(&finished.messages(), "data") {
        let folded: BTreeSet<_> = columns.iter().map(|name| name.to_lowercase()).collect();
        prop_assert_eq!(folded.len(), columns.len(), "names that differ only by case: {:?}", columns);
        prop_assert!(!columns.iter().any(|name| choice.deselects(name)), "{:?}", columns);
    }
    for (event, row) in events.iter().zip(&rows) {
        let mut expected = Leaves::default();
        choice.leaves("", event, &mut expected);
        let mut left = counted(said_by(row, choice.prefix));
        let mut take = |text: &String, count: usize| {
            let found = left.remove(text).unwrap_or(0);
            left.extend((found > count).then(|| (text.clone(), found - count)));
            found.min(count)
        };
        for (text, count) in counted(expected.selected) {
            prop_assert_eq!(
                take(&text, count),
                count,
                "{:?} is lost: event {}\nrow {}",
                text,
                event,
                row.text
            );
        }
        for (text, count) in counted(expected.split) {
            let _ = take(&text, count);
        }
        prop_assert!(left.is_empty(), "{:?} is too much: event {}\nrow {}", left, event, row.text);
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
        deselected: vec!["email", "CustomID", "time__st", "by__email"],
        types: vec![],
        unknown_fields: "columns",
        prefix: "_mailjet_",
        has_appeared: false,
    };
    let leaves = |event: &str| {
        let mut out = Leaves::default();
        choice.leaves("", event, &mut out);
        (out.selected, out.split)
    };
    let event =
        r#"{"Email":1,"email":{"a":2},"email__it":3,"customid":4,"a":{"email":5},"emails":6,"b":null}"#;
    assert_eq!(leaves(event).0, ["5", "6"]);
    let event =
        r#"{"by":{"email":1,"os":2},"email_":{"b":3},"email":{"_b":4},"time":"x","time":[5],"time":6}"#;
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    assert_eq!(leaves(event), (texts(&["2", "3", "6"]), texts(&["x", "[5]"])));
    let row = Record::of_row(
        r#"{"event":"open","_mailjet_sequence":7,"__sdc_primary_key":"k","_sdc_extra":{"a":{"b":8},"c":"{\"d\":9}"}}"#,
    );
    assert_eq!(said_by(&row, "_mailjet_"), ["8", "9", "open"]);
}
