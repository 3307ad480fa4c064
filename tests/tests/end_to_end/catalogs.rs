//! Catalogs that people and tools have edited: what they ask for is done, or a warning names what is not.

use std::fs;

use end_to_end::message::Message;
use end_to_end::schema::{assert_valid, columns_of};
use end_to_end::tap::{FinishedTap, Tap};
use serde_json::{Value, json};

use super::streams::{Change, discovered, drain_with, metadata};

/// Somebody deletes a column with personal data, renames a table, and asks for a full table.
#[test]
fn a_catalog_that_was_edited_by_hand_is_obeyed_or_a_warning_names_what_is_not() {
    let tap = Tap::new();
    let secret =
        r#"{"event":"open","email":"SECRET@example.com","Email":"SECRET","user":{"email":"x"},"n":1}"#;
    tap.spool_bodies([secret, r#"{"event":"open","email":{"a":"SECRET"}}"#, r#"{"event":"open","email":5}"#]);
    tap.drain().finish().assert_code(0);
    let mut catalog = discovered(&tap);
    let stream = &mut catalog["streams"][0];
    let properties = stream["schema"]["properties"].as_object_mut().expect("an object");
    for name in ["email", "email__it", "user__email"] {
        assert!(properties.shift_remove(name).is_some(), "{name}");
    }
    properties.insert("not_seen_yet".to_owned(), json!({"type": ["null", "integer"]}));
    stream["stream"] = json!("mailjet_events");
    stream["key_properties"] = json!(["event", "MessageID"]);
    stream["replication_method"] = json!("FULL_TABLE");
    let text = format!("\u{feff}{catalog}");
    fs::write(tap.folder().join("catalog.json"), text).expect("a catalog can be written");
    let finished = tap.drain().args(&["--catalog", "catalog.json"]).finish();
    finished.assert_code(0);
    assert_valid(&finished.messages());
    let out = finished.stdout.join("\n");
    assert!(!out.contains("SECRET") && !out.contains("user__email") && !out.contains("\"email"), "{out}");
    let columns = columns_of(&finished.messages(), "mailjet_events").pop().expect("a SCHEMA");
    assert!(columns.contains(&"not_seen_yet".to_owned()) && columns.contains(&"n".to_owned()), "{columns:?}");
    assert_eq!((finished.records().len(), finished.records_of("mailjet_events").len()), (0, 3));
    assert!(out.contains(r#""key_properties":["event","MessageID"]"#), "{out}");
    assert!(
        finished.messages().last().and_then(Message::bookmark).is_some(),
        "bookmarks keep the stream's own name"
    );
    assert!(finished.stderr_contains("replication_method is \"FULL_TABLE\""), "{:?}", finished.stderr);
}

fn items(catalog: &mut Value) -> &mut Vec<Value> {
    catalog["streams"][0]["metadata"].as_array_mut().expect("a list")
}

fn warnings(finished: &FinishedTap) -> Vec<&String> {
    finished.stderr.iter().filter(|line| line.contains("catalog ") && line.contains("WARN")).collect()
}

/// One entry says that personal data must not be written. Whatever else the catalog says, and in whatever
/// form, it is not written.
#[test]
fn a_deselection_wins_over_what_repeats_or_contradicts_it() {
    let cases: [(Change, &str); 9] = [
        (
            |catalog| {
                let deselected =
                    json!({"breadcrumb": ["properties", "email"], "metadata": {"selected": false}});
                items(catalog).push(deselected);
            },
            r#"metadata has several entries with the breadcrumb ["properties","email"]"#,
        ),
        (
            |catalog| items(catalog).push(json!({"breadcrumb": ["email"], "metadata": {"selected": false}})),
            r#"with the breadcrumb ["email"]: what they deselect is not written"#,
        ),
        (
            |catalog| items(catalog).push(json!({"breadcrumb": "email", "metadata": {"selected": false}})),
            r#"with the breadcrumb "email": what they deselect is not written"#,
        ),
        (
            |catalog| items(catalog).push(json!({"breadcrumb": ["properties", "email"], "selected": false})),
            r#"with the breadcrumb ["properties","email"]: what they deselect is not written"#,
        ),
        (
            |catalog| {
                metadata(catalog, "data", Some("email"))["selected"] = json!(true);
                catalog["streams"][0]["schema"]["properties"]["email"]["selected"] = json!(false);
            },
            r#"the catalog both selects and deselects the columns "email"; they are not written"#,
        ),
        (
            |catalog| {
                let entry = catalog["streams"][0].clone();
                metadata(catalog, "data", Some("email"))["selected"] = json!(false);
                catalog["streams"].as_array_mut().expect("a list").push(entry);
            },
            "the catalog has several entries for it: the last one counts, but what any of them deselects",
        ),
        (
            |catalog| {
                let mut entry = catalog["streams"][0].clone();
                entry["schema"]["properties"].as_object_mut().expect("an object").shift_remove("email");
                catalog["streams"].as_array_mut().expect("a list").push(entry);
            },
            "the catalog has several entries for it: the last one counts, but what any of them deselects",
        ),
        // Nothing to warn of.
        (|catalog| metadata(catalog, "data", Some("email"))["selected"] = json!("no"), ""),
        (|catalog| metadata(catalog, "data", Some("email"))["selected-by-default"] = json!(false), ""),
    ];
    let tap = Tap::new();
    tap.spool_bodies([r#"{"event":"open","email":"SECRET@example.com","ip":"192.0.2.1"}"#]);
    let printed = discovered(&tap);
    for (change, expected) in cases {
        let mut catalog = printed.clone();
        change(&mut catalog);
        let finished = drain_with(&tap, "--catalog", &catalog);
        let out = finished.stdout.join("\n");
        assert!(!out.contains("SECRET") && !out.contains("\"email\""), "{expected}: {out}");
        assert!(out.contains("192.0.2.1"), "{expected}: the other columns are written");
        let warnings = warnings(&finished);
        if expected.is_empty() {
            assert_eq!(warnings, Vec::<&String>::new());
        } else {
            assert!(warnings.len() == 1 && warnings[0].contains(expected), "{expected}: {warnings:?}");
        }
    }
}

#[test]
fn what_a_catalog_says_in_vain_is_one_warning_for_each_kind_of_mistake() {
    let cases: [(Change, &str); 6] = [
        (
            |catalog| {
                let e_mail = json!({"breadcrumb": ["properties", "e-mail"], "metadata": {"selected": false}});
                items(catalog).push(e_mail);
            },
            "metadata selects or deselects \"e-mail\", which neither the schema nor Mailjet's documentation",
        ),
        (
            |catalog| {
                for number in 0..2000 {
                    items(catalog).push(json!({
                        "breadcrumb": ["properties", format!("no_{number}")], "metadata": {"selected": false}
                    }));
                }
            },
            "and 1990 more, which neither the schema nor",
        ),
        (
            |catalog| {
                items(catalog).push(json!({"breadcrumb": 5, "metadata": {"selected": false}}));
            },
            "metadata is ignored whose breadcrumb is neither",
        ),
        (
            |catalog| catalog["streams"].as_array_mut().expect("a list").push(json!({"metadata": []})),
            "\"streams\" has entries without a \"tap_stream_id\", which are ignored: number 10",
        ),
        (
            |catalog| {
                let properties = &mut catalog["streams"][0]["schema"]["properties"];
                properties["Bar"] = json!({"type": ["null", "string"]});
                properties["bar"] = json!({"type": ["null", "string"]});
            },
            "the schema has columns whose names differ only by case, \"bar\" from \"Bar\"",
        ),
        (
            |catalog| metadata(catalog, "data", Some("email"))["inclusion"] = json!("never"),
            "column \"email\": \"inclusion\" is \"never\"; ignored",
        ),
    ];
    let tap = Tap::new();
    tap.spool_bodies([r#"{"event":"open","email":"ada@example.com"}"#]);
    let printed = discovered(&tap);
    for (change, expected) in cases {
        let mut catalog = printed.clone();
        change(&mut catalog);
        let finished = drain_with(&tap, "--catalog", &catalog);
        let warnings = warnings(&finished);
        assert!(warnings.len() == 1 && warnings[0].contains(expected), "{expected}: {warnings:?}");
        assert!(warnings[0].len() < 1000, "{warnings:?}");
        assert_eq!(finished.records()[0].text("email"), "ada@example.com");
        let columns = columns_of(&finished.messages(), "data").pop().expect("a SCHEMA");
        assert!(!columns.contains(&"bar".to_owned()), "{columns:?}");
    }
}

/// Rows of two streams under one name would end in one table, with the keys of only one of them.
#[test]
fn two_selected_streams_cannot_have_one_name() {
    let tap = Tap::new();
    let printed = discovered(&tap);
    let cases: [(Change, &str); 3] = [
        (
            |catalog| {
                catalog["streams"][0]["stream"] = json!("_SDC_rejected");
                metadata(catalog, "_sdc_rejected", None)["selected"] = json!(true);
            },
            r#"the streams "data" and "_sdc_rejected" would both be written as "_sdc_rejected""#,
        ),
        (
            |catalog| {
                catalog["streams"][0]["stream"] = json!("Mailjet");
                catalog["streams"][3]["stream"] = json!("mailjet");
                catalog["streams"][3]["metadata"][0]["metadata"]["selected"] = json!(true);
            },
            r#"the streams "data" and "click" would both be written as "mailjet""#,
        ),
        // Only one of the two is selected.
        (|catalog| catalog["streams"][0]["stream"] = json!("Click"), ""),
    ];
    for (change, expected) in cases {
        let mut catalog = printed.clone();
        change(&mut catalog);
        fs::write(tap.folder().join("catalog.json"), catalog.to_string()).expect("a catalog can be written");
        let finished = tap.drain().args(&["--catalog", "catalog.json"]).finish();
        if expected.is_empty() {
            finished.assert_code(0);
        } else {
            finished.assert_code(1);
            assert!(finished.only_error().contains(expected), "{:?}", finished.stderr);
        }
    }
}

/// A key may name any column that is written, also one that only the catalog has.
#[test]
fn the_key_may_be_a_column_that_the_catalog_declares() {
    let tap = Tap::new();
    tap.spool_bodies([r#"{"event":"open","order_id":7}"#]);
    let mut catalog = discovered(&tap);
    catalog["streams"][0]["schema"]["properties"]["order_id"] = json!({"type": ["null", "integer"]});
    metadata(&mut catalog, "data", None)["table-key-properties"] = json!(["event", "order_id"]);
    let finished = drain_with(&tap, "--catalog", &catalog);
    assert!(finished.stdout[0].contains(r#""key_properties":["event","order_id"]"#), "{:?}", finished.stdout);
    assert_eq!(finished.records()[0].integer("order_id"), 7);
}
