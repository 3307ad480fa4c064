//! Property tests over any event and any catalog choice: deselected fields appear nowhere, everything else
//! does, all rows are valid by the SCHEMA the catalog asked for, and a second run from any bookmark writes
//! the same rows.

use std::collections::BTreeSet;
use std::fs;

use end_to_end::events::SYSTEM_COLUMNS;
use end_to_end::message::{Record, members};
use end_to_end::schema::{assert_valid, columns_of};
use end_to_end::tap::{FinishedTap, Tap, state_value};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::properties::{
    comparable, content, counted, inner_object, json as any_json, object_of, ordered, runner,
};

const CASES: u32 = 16;
const EVENTS: usize = 16;

/// A user's choices: the catalog and the settings.
#[derive(Debug)]
struct Choice {
    deselected: Vec<&'static str>,
    /// Columns, each with the type that the catalog asks for.
    types: Vec<(&'static str, &'static str)>,
    unknown_fields: &'static str,
    prefix: &'static str,
    /// Whether an earlier run without a catalog has written everything, so that all columns exist from the
    /// start.
    columns_exist: bool,
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
        |(deselected, typed, types, unknown_fields, prefix, columns_exist)| Choice {
            deselected,
            types: typed.into_iter().zip(types).collect(),
            unknown_fields,
            prefix,
            columns_exist,
        },
    )
}

/// The scalar values of an event.
#[derive(Debug, Default)]
struct Leaves {
    selected: Vec<String>,
    /// Values whose split column is deselected. They are written only if they fit their own column, or need
    /// no split.
    split: Vec<String>,
}

impl Choice {
    fn catalog(&self) -> Value {
        let deselected = |name| json!({"breadcrumb": ["properties", name], "metadata": {"selected": false}});
        let properties =
            self.types.iter().map(|(name, kind)| ((*name).to_owned(), json!({"type": [kind, "null"]})));
        json!({"streams": [{
            "tap_stream_id": "data",
            "metadata": self.deselected.iter().map(deselected).collect::<Vec<_>>(),
            "schema": {"properties": properties.collect::<serde_json::Map<_, _>>()},
        }]})
    }

    fn deselects(&self, name: &str) -> bool {
        self.deselected.iter().any(|deselected| deselected.to_lowercase() == name.to_lowercase())
    }

    /// Collects the values of an object, except deselected ones. An object may be kept as text. `path` is the
    /// prefix of its fields' column names.
    fn leaves(&self, path: &str, json: &str, out: &mut Leaves) {
        for (name, value) in ordered(json) {
            let field = format!("{path}{name}");
            // A field's own name may look like the name of a nested field.
            let mut prefixes =
                (path.len()..field.len()).filter(|at| field.as_bytes()[*at..].starts_with(b"__"));
            if self.deselects(&field) || prefixes.any(|at| self.deselects(&field[..at])) {
                continue;
            }
            match inner_object(&value) {
                Some(object) => self.leaves(&format!("{field}__"), &object, out),
                None if value == "null" || value == "\"\"" => {}
                None if self.deselects(&format!("{field}__{}", suffix(&value))) => {
                    out.split.push(content(&value));
                }
                None => out.selected.push(content(&value)),
            }
        }
    }
}

/// The suffix of the split column for a value that does not fit its column, as the documentation's table
/// says.
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

/// The scalar values of a row, except those of system columns.
fn row_contents(row: &Record, prefix: &str) -> Vec<String> {
    let mut out = Leaves::default();
    let everything =
        Choice { deselected: vec![], types: vec![], unknown_fields: "", prefix: "", columns_exist: false };
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

fn drained(finished: &FinishedTap) -> Vec<Record> {
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
    if choice.columns_exist {
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
        let mut left = counted(row_contents(row, choice.prefix));
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
        prop_assert!(left.is_empty(), "{:?} is unexpected: event {}\nrow {}", left, event, row.text);
    }

    // Starting from the bookmark of any row, the rows after it come again with the same sequences.
    let covered = rows[bookmark].integer(&format!("{}sequence", choice.prefix));
    tap.append_to_state(&format!("{}\n", state_value(covered)));
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
fn exactly_the_selected_values_are_written() {
    let mut runner = runner(CASES);
    let events = prop::collection::vec(object_of(any_json(), 0..8), EVENTS);
    let outcome = runner
        .run(&(choice(), events, 0..EVENTS), |(choice, events, bookmark)| check(&choice, &events, bookmark));
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

/// The property above is worth something only if its oracle notices missing and surplus values.
#[test]
fn the_oracle_excludes_deselected_values_and_finds_nested_ones() {
    let choice = Choice {
        deselected: vec!["email", "CustomID", "time__st", "by__email"],
        types: vec![],
        unknown_fields: "columns",
        prefix: "_mailjet_",
        columns_exist: false,
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
    let row = Record::from_row(
        r#"{"event":"open","_mailjet_sequence":7,"__sdc_primary_key":"k",
            "_sdc_extra":{"a":{"b":8},"c":"{\"d\":9}"}}"#,
    );
    assert_eq!(row_contents(&row, "_mailjet_"), ["8", "9", "open"]);
}
