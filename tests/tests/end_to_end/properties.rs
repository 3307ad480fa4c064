//! Property tests over any event: nothing is lost, everything is valid, and a restart changes nothing.
//!
//! proptest generates the events, the tests post them in groups, and the real program drains them. The
//! expected result is computed independently: the scalar values of the event, by name, against the values of
//! the row.

use std::collections::BTreeMap;
use std::env;

use end_to_end::events::SYSTEM_COLUMNS;
use end_to_end::message::{Message, RawObject, Record, extra_object, members, value};
use end_to_end::schema::assert_valid;
use end_to_end::tap::{FinishedTap, Tap};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// How many cases the test runs, and how many events each has. Every case runs the tap three times.
const CASES: u32 = 24;
const EVENTS: usize = 24;

/// Names: mostly Mailjet's own, names that look like the tap's derived ones, and odd ones.
fn name() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "event",
        "time",
        "MessageID",
        "email",
        "Payload",
        "blocked",
        "hard_bounce",
        "mj_list_id",
        "CustomID",
    ]);
    let made = prop::sample::select(vec![
        "a",
        "b",
        "a__b",
        "a__st",
        "time__st",
        "Event",
        "EMAIL",
        "_sdc_extra",
        "_sdc_sequence",
        "_Mailjet_Sequence",
        "a_",
        "_b",
        "a.b",
        "x y",
        "",
        "\u{0}",
        "é",
        "😀",
        "a\"b",
        "__",
        "a__b__it",
    ]);
    prop_oneof![
        4 => known.prop_map(str::to_owned),
        4 => made.prop_map(str::to_owned),
        1 => "[a-zA-Z_]{1,8}",
        1 => any::<String>(),
        // Around the longest name of a column, and the longest of an object whose fields can have columns.
        1 => (57_usize..65).prop_map(|length| "n".repeat(length)),
    ]
}

/// Values around each limit on sizes: the range of a number, levels of nesting, text that grows when it is
/// escaped.
fn sized() -> impl Strategy<Value = String> {
    let nested = |before: &'static str, after: &'static str| {
        move |levels: usize| format!("{}1{}", before.repeat(levels), after.repeat(levels))
    };
    prop_oneof![
        (14_usize..19).prop_map(|digits| "9".repeat(digits)),
        (290_usize..330).prop_map(|exponent| format!("1.5e-{exponent}")),
        (290_usize..330).prop_map(|exponent| format!("1.5E+{exponent}")),
        (95_usize..135).prop_map(nested("[", "]")),
        (12_usize..20).prop_map(nested(r#"{"z":1,"a":"#, "}")),
        (95_usize..135).prop_map(nested(r#"[{"b":2,"a":"#, "}]")),
        (0_usize..2_000).prop_map(|length| format!("\"{}\"", r"\\".repeat(length))),
        (0_usize..500).prop_map(|length| format!("\"\\u0000{}\"", r"\u0001\u001f".repeat(length))),
        (0_usize..150).prop_map(|count| {
            let members = (0..count).map(|number| format!("\"f{number}\":{number}"));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }),
    ]
}

/// The JSON text of a name or a string, optionally with unnecessary escapes.
pub(super) fn string_text(text: &str, escaped: bool) -> String {
    if !escaped {
        return value_text(text);
    }
    let units: Vec<_> = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
    format!("\"{}\"", units.concat())
}

fn value_text(text: &str) -> String {
    serde_json::to_string(text).expect("text is JSON")
}

/// The JSON text of any value.
pub(super) fn json() -> impl Strategy<Value = String> {
    let string = (any::<String>(), any::<bool>()).prop_map(|(text, escaped)| string_text(&text, escaped));
    let spelled = prop::sample::select(vec![
        "",
        "true",
        "false",
        "null",
        "0",
        "-5",
        "007",
        "1.50",
        "576460779645409236",
    ]);
    let number = prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<i8>().prop_map(|number| number.to_string()),
        "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?",
    ];
    let leaf = prop_oneof![
        3 => string,
        2 => spelled.prop_map(value_text),
        4 => number,
        1 => Just("true".to_owned()),
        1 => Just("false".to_owned()),
        1 => Just("null".to_owned()),
        1 => Just(r#""\ud800""#.to_owned()),
        1 => sized(),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let array = prop::collection::vec(inner.clone(), 0..4)
            .prop_map(|items| format!("[{}]", items.join(" ,\r\n ")));
        prop_oneof![array, object_of(inner, 0..4)]
    })
}

pub(super) fn object_of(
    values: impl Strategy<Value = String>,
    count: std::ops::Range<usize>,
) -> impl Strategy<Value = String> {
    prop::collection::vec((name(), any::<bool>(), values), count).prop_map(|members| {
        let members =
            members.iter().map(|(name, escaped, value)| format!("{}:{value}", string_text(name, *escaped)));
        format!("{{{}}}", members.collect::<Vec<_>>().join(",\n"))
    })
}

/// The content of a scalar, whatever it was turned into: the digits of a number, the characters of a string,
/// the JSON text of an array. `"5"` and `5` have the same content, as they do in an integer column.
pub(super) fn content(json: &str) -> String {
    match json.as_bytes()[0] {
        b'"' => serde_json::from_str(json).unwrap_or_else(|_| json.to_owned()),
        _ => json.to_owned(),
    }
}

/// The members of an object in their order, including repeated names.
pub(super) fn ordered(json: &str) -> Vec<(String, String)> {
    struct OrderedMembers(Vec<(String, String)>);
    impl<'de> serde::Deserialize<'de> for OrderedMembers {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct MembersVisitor;
            impl<'de> serde::de::Visitor<'de> for MembersVisitor {
                type Value = OrderedMembers;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }
                fn visit_map<A: serde::de::MapAccess<'de>>(
                    self,
                    mut map: A,
                ) -> Result<OrderedMembers, A::Error> {
                    let mut members = Vec::new();
                    while let Some((name, value)) =
                        map.next_entry::<String, Box<serde_json::value::RawValue>>()?
                    {
                        members.push((name, value.get().to_owned()));
                    }
                    Ok(OrderedMembers(members))
                }
            }
            deserializer.deserialize_map(MembersVisitor)
        }
    }
    serde_json::from_str::<OrderedMembers>(json).expect("an object").0
}

/// Collects the contents of an object's scalars. Null has none, and neither does `""`, which is null in most
/// columns.
fn leaves(json: &str, out: &mut Vec<String>) {
    for (_, value) in ordered(json) {
        match inner_object(&value) {
            Some(object) => leaves(&object, out),
            None if value == "null" || value == "\"\"" => {}
            None => out.push(content(&value)),
        }
    }
}

/// The object that a value is, or that its text contains.
pub(super) fn inner_object(json: &str) -> Option<String> {
    let text = if json.starts_with('"') { content(json) } else { json.to_owned() };
    let is_object =
        text.starts_with('{') && serde_json::from_str::<Box<serde_json::value::RawValue>>(&text).is_ok();
    (is_object && !ordered(&text).is_empty()).then_some(text)
}

/// The contents of a row's values: those of its columns, and those within the extra column.
fn values(row: &Record) -> Vec<String> {
    let columns: RawObject = members(&row.text);
    let of_event = columns.iter().filter(|(name, _)| !SYSTEM_COLUMNS.contains(&name.as_str()));
    let mut out = Vec::new();
    for (name, value) in of_event {
        match (name.as_str(), value.get()) {
            (_, "null" | "\"\"") => {}
            ("_sdc_extra", _) => leaves(extra_object(value).get(), &mut out),
            // An object whose fields could have no columns.
            (_, json) => match inner_object(json) {
                Some(object) => leaves(&object, &mut out),
                None => out.push(content(json)),
            },
        }
    }
    out
}

/// Counts the contents. Text that targets cannot store is written as JSON text, and a line break may be a
/// space.
pub(super) fn counted(contents: Vec<String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for text in contents {
        // Text with U+0000 in the event is JSON text in the row, with either form of escape.
        let text = if text.contains('\0') { value_text(&text) } else { text };
        let text = if text.starts_with('"') { normal(&text) } else { text.replace(['\r', '\n'], " ") };
        *counts.entry(text).or_insert(0) += 1;
    }
    counts
}

/// The JSON text of a string with the escapes that serde writes, if it is valid Unicode.
fn normal(json: &str) -> String {
    serde_json::from_str::<String>(json).map_or_else(|_| json.to_owned(), |text| value_text(&text))
}

/// The rows without what differs between runs: the time of writing, and columns that appeared in between.
pub(super) fn comparable(records: &[Record]) -> Vec<BTreeMap<String, String>> {
    let columns = |record: &Record| {
        let columns = members(&record.text).into_iter().map(|(name, value)| (name, value.get().to_owned()));
        columns.filter(|(name, value)| name != "_sdc_batched_at" && value != "null").collect()
    };
    records.iter().map(columns).collect()
}

fn drained(finished: FinishedTap) -> FinishedTap {
    finished.assert_code(0);
    assert_valid(&finished.messages());
    finished
}

fn check(events: &[String], stop_after: usize) -> Result<(), TestCaseError> {
    let tap = Tap::new();
    let (first, rest) = events.split_at(stop_after);
    // Everything in one run …
    tap.spool_bodies(events.iter().map(String::as_str));
    let whole = drained(tap.drain().finish()).records();
    prop_assert_eq!(whole.len(), events.len());
    for (event, row) in events.iter().zip(&whole) {
        let mut expected = Vec::new();
        leaves(event, &mut expected);
        prop_assert_eq!(counted(values(row)), counted(expected), "event {}\nrow {}", event, row.text);
    }
    // … and in two runs of another tap, with a restart in between. Only sequences and times differ.
    let other = Tap::new();
    other.spool_bodies(first.iter().map(String::as_str));
    let one = drained(other.drain().state().finish());
    if let Some(state) = one.messages().iter().rev().find_map(Message::bookmark) {
        other.append_state(state);
    }
    other.spool_bodies(rest.iter().map(String::as_str));
    let two = drained(other.drain().state().finish());
    let in_two: Vec<_> = one.records().into_iter().chain(two.records()).collect();
    let without_position = |records: &[Record]| {
        let mut rows = comparable(records);
        for row in &mut rows {
            row.remove("_sdc_sequence");
            row.remove("_sdc_received_at");
        }
        rows
    };
    prop_assert_eq!(without_position(&whole), without_position(&in_two));
    Ok(())
}

/// Runs `cases` cases, always the same ones, so that a failure can be repeated. `PROPTEST_CASES=500` searches
/// further, with different ones every time.
pub(super) fn runner(cases: u32) -> TestRunner {
    let more = env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    let config = Config {
        cases: more.unwrap_or(cases),
        failure_persistence: None,
        max_shrink_iters: 60,
        ..Config::default()
    };
    match more {
        Some(_) => TestRunner::new(config),
        None => TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha)),
    }
}

#[test]
fn no_event_loses_a_value_or_breaks_its_schema_across_a_restart() {
    let events = prop::collection::vec(object_of(json(), 0..8), EVENTS);
    let mut runner = runner(CASES);
    let outcome = runner.run(&(events, 0..EVENTS), |(events, stop_after)| check(&events, stop_after));
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

/// The property above is worth something only if its oracle notices missing values.
#[test]
fn the_oracle_notices_missing_and_changed_values() {
    let contents = |event: &str| {
        let mut out = Vec::new();
        leaves(event, &mut out);
        counted(out)
    };
    let event = r#"{"a":{"b":1.10,"c":["x"]},"a":"\u0041","n":null,"d":{}}"#;
    assert_eq!(contents(event).into_keys().collect::<Vec<_>>(), ["1.10", "A", "[\"x\"]", "{}"]);
    for other in [r#"{"a":1.1}"#, r#"{"a":1.10,"b":1.10}"#, "{}"] {
        assert_ne!(contents(other), contents(r#"{"a":1.10}"#), "{other}");
    }
    assert_eq!(value("1"), serde_json::json!(1));
}
