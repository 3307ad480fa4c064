//! What disappears with a column that the catalog deselects, and what stays.

use std::fs;

use end_to_end::events::DOCUMENTED_EVENTS;
use end_to_end::schema::assert_valid;
use end_to_end::tap::{FinishedTap, Tap};
use serde_json::{Value, json};

use super::streams::{Change, discovered, drain_with, metadata};

#[test]
fn a_deselected_column_is_nowhere_in_the_output() {
    let tap = Tap::new();
    tap.spool_bodies([
        DOCUMENTED_EVENTS[1],
        r#"{"event":"open","email":"secret@example.com","ip":"192.0.2.99"}"#,
        r#"{"event":"open","email":["secret@example.com"],"ip":{"v4":"192.0.2.99"}}"#,
        r#"{"event":"open","Email":"secret@example.com","IP":"192.0.2.99"}"#,
        r#"{"event":"open","email":1192099,"email":{"secret@example.com":1}}"#,
        r#"{"event":"open","email":"secret@example.com","email":"secret@example.com","email":true}"#,
    ]);
    let deselect: [(&str, Change); 3] = [
        ("--catalog", |catalog| {
            metadata(catalog, "data", Some("email"))["selected"] = json!(false);
            metadata(catalog, "data", Some("ip"))["selected"] = json!("false");
        }),
        ("--properties", |catalog| {
            catalog["streams"][0]["schema"]["properties"]["email"]["selected"] = json!(false);
            catalog["streams"][0]["schema"]["properties"]["ip"]["selected"] = json!("false");
        }),
        ("--catalog", |catalog| {
            metadata(catalog, "data", Some("email"))["inclusion"] = json!("unsupported");
            metadata(catalog, "data", Some("ip"))["selected-by-default"] = json!(false);
        }),
    ];
    for (option, deselect) in deselect {
        let mut catalog = discovered(&tap);
        deselect(&mut catalog);
        let finished = drain_with(&tap, option, &catalog);
        assert_eq!(finished.records().len(), 6);
        let of_data = finished.stdout.iter().filter(|line| !line.contains("_sdc_rejected"));
        for trace in ["email", "Email", "\"ip", "secret", "192.0.2.99", "1192099"] {
            assert!(of_data.clone().all(|line| !line.contains(trace)), "{trace} is in the output");
        }
    }
}

/// As Meltano's `select` does with `[data.event, data.hard_bounce]`: it deselects every other name that the
/// catalog knows. A value that does not fit a selected column is still written beside it.
#[test]
fn selected_columns_keep_their_split_columns() {
    let tap = Tap::new();
    tap.spool_bodies([r#"{"event":"bounce","hard_bounce":"maybe","new":1}"#]);
    for _ in 0..2 {
        let mut catalog = discovered(&tap);
        let entry = &mut catalog["streams"][0];
        assert_eq!(entry["stream"], "data");
        for item in entry["metadata"].as_array_mut().expect("metadata") {
            let name = item["breadcrumb"][1].as_str().unwrap_or_default().to_owned();
            let is_listed = ["", "event", "hard_bounce"].contains(&name.as_str());
            if item["metadata"]["inclusion"] == "available" {
                item["metadata"]["selected"] = json!(is_listed);
            }
        }
        let record = &drain_with(&tap, "--catalog", &catalog).records()[0];
        assert_eq!(record.raw("hard_bounce__st"), r#""maybe""#);
        // Deselecting the field deselects its split column.
        metadata(&mut catalog, "data", Some("hard_bounce"))["selected"] = json!(false);
        let without = drain_with(&tap, "--catalog", &catalog);
        assert!(!without.stdout.join("\n").contains("maybe"));
    }
}

/// Singer's older notation, within the schema of an object.
#[test]
fn a_field_deselected_in_a_nested_schema_is_not_written() {
    let tap = Tap::new();
    tap.spool_bodies([r#"{"event":"open","by":{"email":"SECRET","os":"X"}}"#]);
    for kind in [json!("object"), json!("string"), Value::Null] {
        let mut catalog = discovered(&tap);
        catalog["streams"][0]["schema"]["properties"]["by"] =
            json!({"type": kind, "properties": {"email": {"type": "string", "selected": false}}});
        let finished = drain_with(&tap, "--catalog", &catalog);
        assert_eq!(finished.records()[0].raw("by__os"), r#""X""#);
        assert!(!finished.stdout.join("\n").contains("SECRET"), "{kind}");
    }
}

/// Whatever else the field holds, and wherever its value would go.
#[test]
fn a_deselected_field_is_not_in_the_extra_column_either() {
    let tap = Tap::new().set("unknown_fields", "extra");
    tap.spool_bodies([
        r#"{"event":"open","email":"secret@example.com","ip":"192.0.2.99"}"#,
        r#"{"event":"open","email":{"a":"secret"},"ip":["192.0.2.99"],"Email":"secret","IP":"192.0.2.99"}"#,
        r#"{"event":"open","email":5555,"email":"secret","ip":true,"new":1}"#,
    ]);
    let mut catalog = discovered(&tap);
    for column in ["email", "ip"] {
        metadata(&mut catalog, "data", Some(column))["selected"] = json!(false);
    }
    let finished = drain_with(&tap, "--catalog", &catalog);
    let extra: Vec<_> = finished.records().iter().map(|row| row.raw("_sdc_extra").to_owned()).collect();
    assert_eq!(extra, ["null", "null", r#"{"new":1}"#]);
    let of_data = finished.stdout.iter().filter(|line| line.contains("\"data\""));
    for trace in ["secret", "192.0.2.99", "5555", "\"email", "\"ip\""] {
        assert!(of_data.clone().all(|line| !line.contains(trace)), "{trace} is in the output");
    }
}

/// The discovered catalog with these fields of `data` deselected, whether or not the tap has seen them.
fn without(tap: &Tap, names: &[&str]) -> Value {
    let mut catalog = discovered(tap);
    let metadata = catalog["streams"][0]["metadata"].as_array_mut().expect("metadata");
    for name in names {
        metadata.retain(|item| item["breadcrumb"] != json!(["properties", name]));
        metadata.push(json!({"breadcrumb": ["properties", name], "metadata": {"selected": false}}));
    }
    catalog
}

/// The non-null columns of a row as text, without system columns but with the extra one.
fn row_of(finished: &FinishedTap, row: usize) -> String {
    let row = &finished.records()[row];
    let is_own = |name: &&str| !name.contains("_sdc_") || *name == "_sdc_extra";
    let columns = row.column_names().filter(is_own).map(|name| (name, row.raw(name)));
    let set = columns.filter(|(_, value)| *value != "null").map(|(name, value)| format!("{name}={value}"));
    set.collect::<Vec<_>>().join(" ")
}

fn assert_no_secret(finished: &FinishedTap) {
    assert!(finished.stdout.iter().all(|line| !line.contains("SECRET")), "{:?}", finished.stdout);
}

/// An object that would otherwise be kept whole is flattened if something within it is deselected.
#[test]
fn the_siblings_of_a_deselected_nested_field_are_written() {
    let nested = |levels: usize, inner: &str| {
        format!("{{\"d\":{}{inner}{}}}", r#"{"a":"#.repeat(levels), "}".repeat(levels))
    };
    let deep = format!("d{}", "__a".repeat(17));
    let inner = r#"{"email":"SECRET","os":"X","z":{"n":1.10}}"#;
    let deep_event = nested(17, inner);
    let by_event = format!(r#"{{"by":{inner}}}"#);
    let by_type: Change = |catalog| {
        catalog["streams"][0]["schema"]["properties"]["by"] = json!({"type": "object"});
    };
    let unchanged: Change = |_| {};
    let in_extra = r#"_sdc_extra={"by__os":"X","by__z":{"n":1.10}}"#;
    let email_of_deep = format!("{deep}__email");
    for (mode, event, deselected, change, expected) in [
        ("columns", &by_event, "by__email", unchanged, r#"by__os="X" by__z__n=1.10"#.to_owned()),
        ("columns", &by_event, "by__email", by_type, r#"by__os="X" by__z__n=1.10"#.to_owned()),
        ("columns", &by_event, "BY__Email", by_type, r#"by__os="X" by__z__n=1.10"#.to_owned()),
        ("extra", &by_event, "by__email", unchanged, in_extra.to_owned()),
        ("extra", &by_event, "by__email", by_type, in_extra.to_owned()),
        (
            "columns",
            &deep_event,
            &email_of_deep,
            unchanged,
            format!(r#"{deep}__os="X" {deep}__z="{{\"n\":1.10}}""#),
        ),
    ] {
        let tap = Tap::new().set("unknown_fields", mode);
        tap.spool_bodies([event.as_str()]);
        let mut catalog = without(&tap, &[deselected]);
        change(&mut catalog);
        // The second time, the columns exist from the start.
        for _ in 0..2 {
            let finished = drain_with(&tap, "--catalog", &catalog);
            assert_eq!(row_of(&finished, 0), expected, "{mode} {event} without {deselected}");
        }
    }
}

/// `by__st` may be the split column of `by`, or its field `st`.
#[test]
fn a_nested_field_named_like_a_split_column_can_be_deselected() {
    for mode in ["columns", "extra"] {
        let tap = Tap::new().set("unknown_fields", mode);
        tap.spool_bodies([r#"{"by":{"st":"SECRET","x":1}}"#, r#"{"by":7}"#, r#"{"by":"text"}"#]);
        let finished = drain_with(&tap, "--catalog", &without(&tap, &["by__st"]));
        assert_no_secret(&finished);
        let expected = match mode {
            "columns" => ["by__x=1", "by=7", ""],
            // Nothing is split here: the text is the value of `by` itself.
            _ => [r#"_sdc_extra={"by__x":1}"#, r#"_sdc_extra={"by":7}"#, r#"_sdc_extra={"by":"text"}"#],
        };
        assert_eq!([0, 1, 2].map(|row| row_of(&finished, row)), expected);
    }
}

/// Deselecting a split column deselects the values that would go there, not their field.
#[test]
fn deselecting_a_split_column_keeps_its_column() {
    let bodies = [
        r#"{"Payload":["x"],"tags":[1],"time":7}"#,
        r#"{"Payload":5,"tags":5,"time":"SECRET"}"#,
        r#"{"Payload":{},"tags":{},"time":["SECRET"]}"#,
    ];
    let expected = [
        r#"Payload="[\"x\"]" tags="[1]" time=7"#.to_owned(),
        String::new(),
        r#"Payload="{}" tags="{}""#.to_owned(),
    ];
    // Before the split columns have appeared, and after.
    for appeared in [false, true] {
        let tap = Tap::new();
        tap.spool_bodies(bodies);
        if appeared {
            tap.drain().finish().assert_code(0);
        }
        let catalog = without(&tap, &["Payload__it", "tags__it", "time__st"]);
        let finished = drain_with(&tap, "--catalog", &catalog);
        assert_eq!([0, 1, 2].map(|row| row_of(&finished, row)), expected);
    }
}

/// An array is one value, the JSON text of its column. Its elements have no columns of their own to deselect.
#[test]
fn an_array_is_selected_by_its_own_name_alone() {
    for (mode, expected) in [
        ("columns", r#"by__tags="[{\"email\":\"b\"}]" tags="[{\"email\":\"a\"}]""#),
        ("extra", r#"_sdc_extra={"tags":[{"email":"a"}],"by__tags":[{"email":"b"}]}"#),
    ] {
        let tap = Tap::new().set("unknown_fields", mode);
        tap.spool_bodies([
            r#"{"tags":[{"email":"a"}],"by":{"tags":[{"email":"b"}]},"list":[{"email":"SECRET"}]}"#,
        ]);
        let catalog = without(&tap, &["tags__email", "by__tags__email", "list"]);
        let finished = drain_with(&tap, "--catalog", &catalog);
        assert_no_secret(&finished);
        assert_eq!(row_of(&finished, 0), expected);
    }
}

/// The field `email_` with a child `b` and the field `email` with a child `_b` share the column `email___b`.
/// A value is deselected if the field it comes from is. Deselecting either field removes the column, and the
/// values of the other field go to the extra column.
#[test]
fn an_ambiguous_column_name_is_deselected_by_the_field_its_value_comes_from() {
    let both = r#"{"email_":{"b":"A","c":{"st":true}},"email":{"_b":"B","x":1}}"#;
    let first_is_secret = r#"{"email_":{"b":"SECRET","c":{"st":"SECRET"}},"email":{"_b":"B","x":1}}"#;
    let second_is_secret = r#"{"email_":{"b":"A","c":{"st":true}},"email":{"_b":"SECRET","x":"SECRET"}}"#;
    for (mode, event, deselected, expected) in [
        (
            "columns",
            both,
            "email__",
            r#"_sdc_extra={"email___b":"A"} email___b="B" email___c__st=true email__x=1"#,
        ),
        ("columns", first_is_secret, "email_", r#"_sdc_extra={"email___b":"B"} email__x=1"#),
        ("columns", second_is_secret, "email", r#"_sdc_extra={"email___b":"A","email___c__st":true}"#),
        ("extra", first_is_secret, "email_", r#"_sdc_extra={"email":{"_b":"B","x":1}}"#),
        ("extra", second_is_secret, "email", r#"_sdc_extra={"email_":{"b":"A","c":{"st":true}}}"#),
    ] {
        // Before the columns have appeared, and after.
        for appeared in [false, true] {
            let tap = Tap::new();
            tap.spool_bodies([event]);
            if appeared {
                tap.drain().finish().assert_code(0);
            }
            let catalog = without(&tap, &[deselected]);
            let path = tap.folder().join("catalog.json");
            fs::write(&path, catalog.to_string()).expect("a catalog can be written");
            let drain = tap.drain().set("unknown_fields", mode);
            let finished = drain.args(&["--catalog", path.to_str().expect("a path")]).finish();
            finished.assert_code(0);
            assert_valid(&finished.messages());
            assert_no_secret(&finished);
            assert_eq!(row_of(&finished, 0), expected, "{mode}, without {deselected}, {appeared}");
        }
    }
}

/// Other taps' catalogs deselect with nested properties in the schema, and metadata for each of them.
#[test]
fn a_nested_breadcrumb_deselects_a_field_of_an_object() {
    for mode in ["columns", "extra"] {
        let tap = Tap::new().set("unknown_fields", mode);
        tap.spool_bodies([r#"{"by":{"email":"SECRET","os":"X"}}"#]);
        let mut catalog = discovered(&tap);
        catalog["streams"][0]["schema"]["properties"]["by"] =
            json!({"type": "object", "properties": {"email": {"type": "string"}}});
        let metadata = catalog["streams"][0]["metadata"].as_array_mut().expect("metadata");
        let breadcrumb = ["properties", "by", "properties", "email"];
        metadata.push(json!({"breadcrumb": breadcrumb, "metadata": {"selected": "false"}}));
        let finished = drain_with(&tap, "--catalog", &catalog);
        assert_no_secret(&finished);
        let row = row_of(&finished, 0);
        assert!(row.contains("by__os") && row.contains("\"X\""), "{row}");
    }
}
