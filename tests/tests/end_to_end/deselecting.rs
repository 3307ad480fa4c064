//! What goes with a column that the catalog deselects, and what stays.

use end_to_end::events::SEVEN;
use end_to_end::tap::Tap;
use serde_json::json;

use super::streams::{Change, drain_with, metadata, printed};

#[test]
fn a_deselected_column_is_nowhere_in_the_output() {
    let tap = Tap::new();
    tap.spool_bodies([
        SEVEN[1],
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
        let mut catalog = printed(&tap);
        deselect(&mut catalog);
        let finished = drain_with(&tap, option, &catalog);
        assert_eq!(finished.records().len(), 6);
        let of_data = finished.stdout.iter().filter(|line| !line.contains("_sdc_rejected"));
        for trace in ["email", "Email", "\"ip", "secret", "192.0.2.99", "1192099"] {
            assert!(of_data.clone().all(|line| !line.contains(trace)), "{trace} is in the output");
        }
    }
}

/// Whatever else the field holds, and wherever its value would go.
#[test]
fn a_deselected_column_is_not_in_the_extra_column_either() {
    let tap = Tap::new().set("unknown_fields", "extra");
    tap.spool_bodies([
        r#"{"event":"open","email":"secret@example.com","ip":"192.0.2.99"}"#,
        r#"{"event":"open","email":{"a":"secret"},"ip":["192.0.2.99"],"Email":"secret","IP":"192.0.2.99"}"#,
        r#"{"event":"open","email":5555,"email":"secret","ip":true,"new":1}"#,
    ]);
    let mut catalog = printed(&tap);
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

#[test]
fn what_is_deselected_within_an_object_is_not_written_with_the_whole() {
    for unknown_fields in ["columns", "extra"] {
        let tap = Tap::new().set("unknown_fields", unknown_fields);
        tap.spool_bodies([r#"{"a":{"b":"SECRET","c":1},"d_":{"e":"SECRET"},"f":[{"g":"SECRET"}]}"#]);
        let mut catalog = printed(&tap);
        for name in ["a__b", "d_", "f__g"] {
            let metadata = catalog["streams"][0]["metadata"].as_array_mut().expect("metadata");
            metadata.push(json!({"breadcrumb": ["properties", name], "metadata": {"selected": false}}));
        }
        let finished = drain_with(&tap, "--catalog", &catalog);
        assert!(finished.stdout.iter().all(|line| !line.contains("SECRET")), "{:?}", finished.stdout);
    }
}
