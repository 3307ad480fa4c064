//! New columns, and where values without a column go.

use end_to_end::message::{Message, members, value};
use end_to_end::schema::{assert_valid, columns_of};
use end_to_end::tap::{FinishedTap, Tap};
use serde_json::{Value, json};

fn drain(tap: &Tap) -> FinishedTap {
    let finished = tap.drain().finish();
    finished.assert_code(0);
    assert_valid(&finished.messages());
    finished
}

#[test]
fn a_new_field_is_announced_before_the_first_record_that_has_it() {
    let tap = Tap::new();
    tap.spool_bodies([
        r#"{"event":"open"}"#,
        r#"{"event":"open","score":1.10,"n":5,"ok":true,"word":"x","by":{"os":"Y"}}"#,
        r#"{"event":"open","n":6}"#,
    ]);
    let finished = drain(&tap);
    let columns = columns_of(&finished.messages(), "data");
    assert_eq!(columns.len(), 2, "one SCHEMA at the start, one for the new columns");
    assert_eq!(columns[1][28..], ["score", "n", "ok", "word", "by__os"]);
    let messages = finished.messages();
    let second =
        messages.iter().rposition(|message| matches!(message, Message::Schema(_))).expect("a SCHEMA");
    assert_eq!(messages[..second].iter().cloned().filter_map(Message::record).count(), 1);
    let Message::Schema(schema) = &messages[second] else { panic!("a SCHEMA") };
    let types = ["score", "n", "ok", "word"].map(|name| schema.schema["properties"][name]["type"].clone());
    let expected = ["number", "integer", "boolean", "string"].map(|name| json!([name, "null"]));
    assert_eq!(types, expected);
    let record = &finished.records()[1];
    assert_eq!((record.raw("score"), record.raw("n"), record.raw("by__os")), ("1.10", "5", "\"Y\""));
}

/// In another process, after a restart, and in the catalog.
#[test]
fn a_new_column_is_remembered_with_its_type() {
    let tap = Tap::new();
    tap.spool_bodies([r#"{"event":"open","n":5}"#, r#"{"event":"open","n":"five"}"#]);
    let first = drain(&tap);
    let second = drain(&tap);
    let columns = columns_of(&second.messages(), "data");
    assert_eq!(columns, [columns_of(&first.messages(), "data").pop().expect("a SCHEMA")]);
    assert_eq!(columns[0][28..], ["n", "n__st"]);
    for (one, other) in first.records().iter().zip(second.records()).skip(1) {
        let same = |name: &&str| *name == "_sdc_batched_at" || one.raw(name) == other.raw(name);
        assert!(
            one.column_names().collect::<Vec<_>>().iter().all(same),
            "{} is now {}",
            one.text,
            other.text
        );
    }
    let discovered = tap.command(&["--discover"]).finish();
    let catalog = value(&discovered.stdout.join("\n"));
    assert_eq!(catalog["streams"][0]["schema"]["properties"]["n"]["type"], json!(["integer", "null"]));
    assert_eq!(catalog["streams"][0]["schema"]["properties"]["n__st"]["type"], json!(["string", "null"]));
}

#[test]
fn discovery_creates_no_spool_and_waits_for_no_lock() {
    let tap = Tap::new();
    tap.command(&["--discover"]).finish().assert_code(0);
    assert!(!tap.spool().path.exists());
    let running = tap.run().start();
    running.endpoint().post_accepted(r#"{"event":"open","brand_new":5}"#);
    assert_eq!(running.wait_records(1).len(), 1);
    let discovered = tap.command(&["--discover"]).finish();
    discovered.assert_code(0);
    assert!(discovered.stdout.join("\n").contains("\"brand_new\""));
}

#[test]
fn with_unknown_fields_extra_the_schema_never_changes() {
    let tap = Tap::new().set("unknown_fields", "extra");
    tap.spool_bodies([
        r#"{"event":"open","score":1.10,"time":"soon","by":{"os": "Y"}}"#,
        r#"{"event":"open","x":1}"#,
        r#"{"event":"open","x":{"a":1,"a":2}}"#,
    ]);
    let finished = drain(&tap);
    let columns = columns_of(&finished.messages(), "data");
    assert_eq!((columns.len(), columns[0].len()), (1, 29));
    let records = finished.records();
    assert_eq!(records[0].raw("_sdc_extra"), r#"{"score":1.10,"time":"soon","by":{"os": "Y"}}"#);
    assert_eq!(records[1].raw("_sdc_extra"), r#"{"x":1}"#);
    let text = value(records[2].raw("_sdc_extra"));
    assert_eq!(
        text["x"], r#"{"a":1,"a":2}"#,
        "a target would keep one of two equal names, so the object is text"
    );
}

/// 10 000 fields, names of every kind, and deep nesting: at most 100 new columns, nothing lost, nothing
/// invalid.
#[test]
fn every_value_of_any_event_is_kept() {
    let many: Vec<_> = (0..10_000).map(|number| format!(r#""f{number}":{number}"#)).collect();
    let many = format!("{{{}}}", many.join(","));
    let deep = format!(r#"{{"deep":{}1{}}}"#, r#"{"a":"#.repeat(200), "}".repeat(200));
    let names = r#"{"a.b":1,"c d":2,"e\"f":3,"g\u0000h":4,"😀":5,"":6,"Event":7,"_sdc_sequence":8,"x'y":9}"#;
    let tap = Tap::new();
    tap.spool_bodies([names, &deep, &many]);
    let finished = drain(&tap);
    let columns = columns_of(&finished.messages(), "data").pop().expect("a SCHEMA");
    assert_eq!(columns.len(), 28 + 100 + 1);

    let records = finished.records();
    let extra = members(records[0].raw("_sdc_extra"));
    let found: Vec<_> = extra.iter().map(|(name, value)| format!("{name}={}", value.get())).collect();
    assert_eq!(
        found,
        ["=6", r#""g\u0000h"=4"#, "Event=7", "_sdc_sequence=8", "a.b=1", "c d=2", "e\"f=3", "x'y=9", "😀=5"]
    );

    let deep = records[1].text.matches("__a").count();
    assert!(deep >= 16 && records[1].text.matches(r#"\"a\""#).count() > 180, "{}", records[1].text);

    let extra = members(records[2].raw("_sdc_extra"));
    for number in 0..10_000 {
        let name = format!("f{number}");
        let found = extra.get(&name).map_or_else(|| records[2].raw(&name), |value| value.get());
        assert_eq!(found, number.to_string(), "{name}");
    }
}

/// The type that came first, against each type that comes later: the value goes to the column, or to its
/// type's split column.
#[test]
fn a_column_keeps_its_first_type_and_other_values_are_split() {
    let first = [("t", r#""word""#), ("i", "1"), ("n", "1.5"), ("b", "true")];
    // A value; then, for each of the columns t, i, n and b, the suffix of the column it goes to and the value
    // written.
    let later: [(&str, [(&str, &str); 4]); 11] = [
        (r#""""#, [("", r#""""#), ("", "null"), ("", "null"), ("", "null")]),
        (r#""x""#, [("", r#""x""#), ("__st", r#""x""#), ("__st", r#""x""#), ("__st", r#""x""#)]),
        (r#""7""#, [("", r#""7""#), ("", "7"), ("", "7"), ("__st", r#""7""#)]),
        (r#""2.50""#, [("", r#""2.50""#), ("__st", r#""2.50""#), ("", "2.50"), ("__st", r#""2.50""#)]),
        (r#""true""#, [("", r#""true""#), ("__st", r#""true""#), ("__st", r#""true""#), ("", "true")]),
        ("false", [("__bl", "false"), ("__bl", "false"), ("__bl", "false"), ("", "false")]),
        ("-3", [("__it", "-3"), ("", "-3"), ("", "-3"), ("__it", "-3")]),
        ("2.0", [("__fl", "2.0"), ("__fl", "2.0"), ("", "2.0"), ("__fl", "2.0")]),
        (
            "576460779645409236",
            [
                ("__it", "576460779645409236"),
                ("", "576460779645409236"),
                ("__it", "576460779645409236"),
                ("__it", "576460779645409236"),
            ],
        ),
        (
            "1e400",
            [("", r#""1e400""#), ("__st", r#""1e400""#), ("__st", r#""1e400""#), ("__st", r#""1e400""#)],
        ),
        (
            r#"[{"a": 1.10}]"#,
            [
                ("", r#""[{\"a\": 1.10}]""#),
                ("__st", r#""[{\"a\": 1.10}]""#),
                ("__st", r#""[{\"a\": 1.10}]""#),
                ("__st", r#""[{\"a\": 1.10}]""#),
            ],
        ),
    ];
    let event = |value: &dyn Fn(usize) -> &'static str| {
        let fields: Vec<_> =
            first.iter().enumerate().map(|(i, (name, _))| format!(r#""{name}":{}"#, value(i))).collect();
        format!("{{{}}}", fields.join(","))
    };
    let mut events = vec![event(&|place| first[place].1)];
    events.extend(later.iter().map(|(value, _)| event(&|_| value)));
    let tap = Tap::new();
    tap.spool_bodies(events.iter().map(String::as_str));
    // In the first run the columns appear; in the second they exist from the start.
    for finished in [drain(&tap), drain(&tap)] {
        let rows = finished.records();
        for ((name, value), row) in first.iter().zip(std::iter::repeat(&rows[0])) {
            assert_eq!(row.raw(name), *value);
        }
        for ((value, places), row) in later.iter().zip(&rows[1..]) {
            for ((name, _), (suffix, expected)) in first.iter().zip(places) {
                assert_eq!(row.raw(&format!("{name}{suffix}")), *expected, "{value} in {name}");
            }
            let of_event = row.column_names().filter(|name| !name.contains("_sdc_"));
            let set = of_event.filter(|name| row.raw(name) != "null").count();
            let expected = places.iter().filter(|(_, json)| *json != "null").count();
            assert_eq!(set, expected, "each value is in exactly one column: {}", row.text);
        }
    }
}

/// PostgreSQL keeps 63 bytes of a name. It would silently truncate a longer one to another column's name.
#[test]
fn a_name_that_postgresql_would_truncate_has_no_column() {
    let (fits, long, split, parent) = ("e".repeat(62), "n".repeat(63), "s".repeat(59), "p".repeat(60));
    let tap = Tap::new();
    tap.spool_bodies([
        format!(r#"{{"{fits}":1,"{long}":2,"{split}":3,"{parent}":{{"b":4}}}}"#).as_str(),
        &format!(r#"{{"{split}":"x"}}"#),
    ]);
    let finished = drain(&tap);
    let rows = finished.records();
    assert_eq!((rows[0].raw(&fits), rows[0].raw(&split)), ("1", "3"));
    let extra = members(rows[0].raw("_sdc_extra"));
    let found: Vec<_> = extra.iter().map(|(name, value)| (name.len(), value.get())).collect();
    assert_eq!(found, [(63, "2")]);
    // Its fields could have no columns, so the object stays whole.
    assert_eq!(rows[0].text(&parent), r#"{"b":4}"#);
    assert_eq!(rows[1].raw("_sdc_extra"), format!(r#"{{"{split}":"x"}}"#));
}

/// A table with the most columns keeps them: after a restart, for later fields, and when new columns are
/// switched off.
#[test]
fn the_columns_that_appeared_first_stay_the_same() {
    let many: Vec<_> = (0..600).map(|number| format!(r#""f{number}":{number}"#)).collect();
    let tap = Tap::new();
    tap.spool_bodies([format!("{{{}}}", many.join(",")).as_str(), r#"{"late":1,"f0":"x","f599":599}"#]);
    let first = drain(&tap);
    let columns = columns_of(&first.messages(), "data").pop().expect("a SCHEMA");
    assert_eq!(columns.len(), 28 + 100 + 1);
    assert_eq!(first.records()[1].raw("_sdc_extra"), r#"{"late":1,"f0":"x","f599":599}"#);
    let again = tap.drain().set("unknown_fields", "extra").finish();
    assert_valid(&again.messages());
    for finished in [drain(&tap), again] {
        assert_eq!(columns_of(&finished.messages(), "data"), std::slice::from_ref(&columns));
        for (one, other) in first.records().iter().zip(finished.records()) {
            assert_eq!(one.raw("_sdc_extra"), other.raw("_sdc_extra"));
        }
    }
}

/// If a SCHEMA with a column was written, the spool remembers the column, however the tap ends.
#[test]
fn a_column_is_remembered_before_it_is_announced() {
    let tap = Tap::new();
    let running = tap.run().start();
    running.endpoint().post_accepted(r#"{"event":"open","b":1,"a":"x"}"#);
    let _ = running.wait_records(1);
    let killed = running.kill();
    let announced = columns_of(&Message::parse_all(&killed.stdout), "data").pop().expect("a SCHEMA");
    assert!(announced.ends_with(&["b".to_owned(), "a".to_owned()]));
    assert_eq!(columns_of(&drain(&tap).messages(), "data"), [announced]);
}

/// Fields received before a change of the prefix may have the names of the new system columns.
#[test]
fn a_column_with_the_name_of_a_new_system_column_gives_way() {
    let tap = Tap::new();
    tap.spool_bodies([r#"{"event":"open","_mailjet_sequence":5}"#]);
    assert_eq!(drain(&tap).records()[0].raw("_mailjet_sequence"), "5");
    let finished = tap.drain().set("system_column_prefix", "_mailjet_").finish();
    finished.assert_code(0);
    assert_valid(&finished.messages());
    let row = &finished.records()[0];
    assert_eq!(row.integer("_mailjet_sequence"), tap.spool().sequences()[0]);
    assert_eq!(row.raw("_sdc_extra"), r#"{"_mailjet_sequence":5}"#);
}

/// Many databases treat column names that differ only by case as equal.
#[test]
fn a_new_prefix_makes_no_column_that_differs_only_by_case() {
    let tap = Tap::new();
    tap.spool_bodies([r#"{"event":"open","_Mailjet_Batched_at":5}"#]);
    assert_eq!(drain(&tap).records()[0].raw("_Mailjet_Batched_at"), "5");
    let drain = tap.drain().set("system_column_prefix", "_mailjet_").finish();
    drain.assert_code(0);
    assert_valid(&drain.messages());
    let columns = columns_of(&drain.messages(), "data").pop().expect("a SCHEMA");
    assert!(!columns.contains(&"_Mailjet_Batched_at".to_owned()), "{columns:?}");
    assert_eq!(drain.records()[0].raw("_sdc_extra"), r#"{"_Mailjet_Batched_at":5}"#);
    let catalog =
        tap.command(&["--discover"]).set("system_column_prefix", "_mailjet_").finish().stdout.join("\n");
    assert!(!catalog.contains("_Mailjet_Batched_at") && catalog.contains("_mailjet_batched_at"));
}

/// With `unknown_fields` set to `extra`, columns that appeared earlier are filled like the documented ones.
#[test]
fn with_unknown_fields_extra_no_column_holds_a_structure_as_text() {
    let tap = Tap::new();
    tap.spool_bodies([
        r#"{"a":1,"tags":[1],"time":[2]}"#,
        r#"{"a":"x"}"#,
        r#"{"a":{"x":1},"tags":[3],"time":[4],"Payload":[5]}"#,
    ]);
    drain(&tap);
    let finished = tap.drain().set("unknown_fields", "extra").finish();
    finished.assert_code(0);
    assert_valid(&finished.messages());
    let rows = finished.records();
    assert_eq!((rows[0].raw("a"), rows[1].raw("a__st")), ("1", "\"x\""));
    let extra = [0, 1, 2].map(|row| rows[row].raw("_sdc_extra"));
    let expected =
        [r#"{"tags":[1],"time":[2]}"#, "null", r#"{"a":{"x":1},"tags":[3],"time":[4],"Payload":[5]}"#];
    assert_eq!(extra, expected);
}

/// The last of several equal keys fills the column, as in any JSON parser, and the others are kept too.
#[test]
fn every_value_of_a_repeated_key_is_kept() {
    let tap = Tap::new();
    tap.spool_bodies([
        r#"{"event":"open","event":"click","email":"a","email":null,"n":1,"n":2,"n":3}"#,
        r#"{"a":{"b":1},"a__b":2,"a":{"b":3,"b":4}}"#,
        r#"{"time":"soon","time__st":"later","time":7}"#,
    ]);
    let rows = drain(&tap).records();
    assert_eq!((rows[0].raw("event"), rows[0].raw("email"), rows[0].raw("n")), (r#""click""#, r#""a""#, "3"));
    assert_eq!(rows[0].raw("_sdc_extra"), r#"{"event":"open","n":1,"n__2":2}"#);
    assert_eq!(
        (rows[1].raw("a__b"), rows[1].raw("_sdc_extra")),
        ("4", r#"{"a__b":1,"a__b__2":2,"a__b__3":3}"#)
    );
    assert_eq!((rows[2].raw("time"), rows[2].raw("time__st")), ("7", r#""later""#));
    assert_eq!(rows[2].raw("_sdc_extra"), r#"{"time":"soon"}"#);
}

/// Targets and mappers that flatten objects drop a column of objects without properties, and Parquet and
/// `BigQuery` writers stop at one.
#[test]
fn the_extra_column_is_text_unless_the_setting_or_the_catalog_asks_for_an_object() {
    let tap = Tap::new();
    tap.spool_bodies([r#"{"event":"open","$set":1.10}"#]);
    let as_text = r#""_sdc_extra":"{\"$set\":1.10}""#;
    let as_object = r#""_sdc_extra":{"$set":1.10}"#;
    let path = tap.folder().join("catalog.json");
    for (setting, catalog, is_text) in [
        (None, None, true),
        (Some("text"), Some("object"), false),
        (Some("object"), None, false),
        (Some("object"), Some("string"), true),
        (Some("text"), Some("integer"), true),
    ] {
        let mut drain = tap.drain();
        if let Some(setting) = setting {
            drain = drain.set("extra_column", setting);
        }
        let mut printed: Value =
            tap.command(&["--discover"]).finish().stdout.join("\n").parse().expect("JSON");
        if let Some(catalog) = catalog {
            printed["streams"][0]["schema"]["properties"]["_sdc_extra"] = json!({"type": ["null", catalog]});
            std::fs::write(&path, printed.to_string()).expect("a catalog can be written");
            drain = drain.args(&["--catalog", path.to_str().expect("text")]);
        }
        let finished = drain.finish();
        finished.assert_code(0);
        assert_valid(&finished.messages());
        let row = &finished.records()[0].text;
        assert!(row.contains(if is_text { as_text } else { as_object }), "{setting:?} {catalog:?}: {row}");
    }
}

/// Names that a warehouse refuses, or folds into another: by case, by normal form, by cutting or deleting.
#[test]
fn a_field_whose_name_some_warehouse_refuses_has_no_column() {
    let names = [
        "ctid",
        "XMIN",
        "tableoid",
        "oid",
        "rowid",
        "current_date",
        "_PARTITIONTIME",
        "_table_x",
        "__ROOT__a",
        "_CHANGE_TYPE",
        "a-b",
        "a.b",
        "a b",
        "1a",
        "é",
        "e\u{301}",
        "stra\u{df}e",
        "STRASSE\u{130}",
        "\u{212a}elvin",
        "$set",
        "a\"b",
        "",
        "MESSAGEID",
        "Url",
    ];
    let tap = Tap::new();
    let fields: Vec<_> = names.iter().map(|name| format!("{}:1", Value::from(*name))).collect();
    let long = "\u{23a}".repeat(31);
    let event = format!(r#"{{"event":"open","fine_name":2,"_fine":3,"{long}":1,{}}}"#, fields.join(","));
    tap.spool_bodies([event.as_str()]);
    let finished = drain(&tap);
    let columns = columns_of(&finished.messages(), "data").pop().expect("a SCHEMA");
    assert_eq!(columns[28..], ["fine_name", "_fine", "_sdc_extra"]);
    let records = finished.records();
    let extra = members(records[0].raw("_sdc_extra"));
    for name in names.into_iter().chain([long.as_str()]) {
        assert_eq!(extra.get(name).map(|value| value.get()), Some("1"), "{name:?}");
    }
}

#[test]
fn max_discovered_columns_bounds_the_columns_that_appear() {
    let tap = Tap::new().set("max_discovered_columns", 2);
    tap.spool_bodies([r#"{"a":1,"b":2,"c":3,"time":"soon"}"#, r#"{"c":4,"d":5}"#]);
    let finished = drain(&tap);
    let columns = columns_of(&finished.messages(), "data").pop().expect("a SCHEMA");
    assert_eq!(columns[28..], ["a", "b", "_sdc_extra"]);
    let records = finished.records();
    assert_eq!(records[0].raw("_sdc_extra"), r#"{"c":3,"time":"soon"}"#);
    assert_eq!(records[1].raw("_sdc_extra"), r#"{"c":4,"d":5}"#);
    let none = tap.drain().set("max_discovered_columns", 0).finish();
    assert_eq!(none.records()[0].raw("a"), "1", "columns that are known stay");
}

/// Somebody has posted many fields by mistake. They are taken back while the tap runs.
#[test]
fn columns_that_appeared_by_mistake_are_listed_and_taken_back_also_in_a_running_tap() {
    let tap = Tap::new();
    let running = tap.run().start();
    running.endpoint().post_accepted(r#"{"event":"open","n":5,"mistake":"x","other":true,"A b":1}"#);
    let _ = running.wait_records(1);
    let listed = tap.command(&["columns", "list"]).finish();
    listed.assert_code(0);
    assert_eq!(
        listed.stdout,
        [
            "stream  column      type",
            "data    n           integer",
            "data    mistake     string",
            "data    other       boolean",
            "data    _sdc_extra  string",
        ]
    );
    let forgotten = tap.command(&["columns", "forget", "data", "mistake", "other"]).finish();
    forgotten.assert_code(0);
    assert!(forgotten.stderr_contains("\"other\" of stream \"data\" is forgotten"), "{:?}", forgotten.stderr);
    // The tap notices it before it writes anything else.
    running.endpoint().post_accepted(r#"{"event":"open","n":6}"#);
    let rows = running.wait_records(2);
    let names: Vec<_> = rows[1].column_names().collect();
    assert!(!names.contains(&"mistake") && !names.contains(&"other"), "{names:?}");
    assert_eq!((rows[1].raw("n"), rows[1].raw("_sdc_extra")), ("6", "null"));
    // A field that comes again is a new column, of the type that it has now.
    running.endpoint().post_accepted(r#"{"event":"open","mistake":7}"#);
    assert_eq!(running.wait_records(3)[2].raw("mistake"), "7");
    let finished = running.stop();
    finished.assert_code(0);
    assert_valid(&finished.messages());
    let columns = columns_of(&finished.messages(), "data").pop().expect("a SCHEMA");
    assert_eq!(columns[28..], ["n", "_sdc_extra", "mistake"]);

    let unknown = tap.command(&["columns", "forget", "data", "mistake", "nonsense"]).finish();
    assert!(unknown.only_error().contains("no column \"nonsense\" has appeared in stream \"data\""));
    let discovered = tap.command(&["--discover"]).finish().stdout.join("\n");
    assert!(!discovered.contains("\"other\"") && discovered.contains("\"mistake\""));
}

/// Each field name is repeated in each row, and each column that appears takes a SCHEMA.
#[test]
fn long_names_take_room_from_other_columns_and_columns_of_one_block_share_a_schema() {
    let tap = Tap::new();
    let long = |number: usize| format!("{:n<62}", format!("f{number}_"));
    let bodies: Vec<_> =
        (0..200).map(|number| format!(r#"{{"event":"open","{}":{number}}}"#, long(number))).collect();
    tap.spool_bodies(bodies.iter().map(String::as_str));
    tap.spool_bodies([r#"{"event":"open"}"#]);
    let finished = drain(&tap);
    let columns = columns_of(&finished.messages(), "data");
    assert_eq!(columns.len(), 2, "one SCHEMA at the start, one for the new columns");
    // A hundred names of 32 bytes on average, and the column for the others.
    assert_eq!(columns[1].len(), 28 + 3200 / 62 + 1);
    let rows = finished.records();
    assert!(rows[200].text.len() < 5_000, "{}", rows[200].text);
    assert_eq!(rows[0].raw(&long(0)), "0");
    assert_eq!(rows[199].raw("_sdc_extra"), format!(r#"{{"{}":199}}"#, long(199)));
}
