//! The checks of the text and the jsonschema crate give the same verdict, and an error names the field and
//! the rule.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn record_of(text: &str) -> Record<'_> {
    Record::parse(text).expect("an object")
}

fn check(schema: &str, key_properties: &[&str], record: &str) -> Result<(), String> {
    let key_properties: Vec<_> = key_properties.iter().map(|name| (*name).to_owned()).collect();
    let mut check = RecordCheck::compile(schema, &key_properties, Validation::Full).expect(schema);
    check.check(&record_of(record)).map_err(|error| error.to_string())
}

/// Schemas of properties that are checked by their text, and of others.
const PROPERTIES: &str = r##"
    {} | true | false | {"type": "null"} | {"type": "boolean"} | {"type": "integer"} | {"type": "number"}
    {"type": "string"} | {"type": "array"} | {"type": "object"} | {"type": ["integer"]}
    {"type": ["integer", "null"], "description": "a count"} | {"type": ["number", "string"]}
    {"type": ["null", "boolean", "integer", "number", "string", "array", "object"]}
    {"type": ["string", "null"], "format": "date-time"} | {"format": "date-time"}
    {"type": ["integer", "string"], "format": "date-time"} | {"type": "string", "format": "time"}
    {"type": "string", "format": "singer.decimal"} | {"type": "integer", "minimum": 5, "maximum": 7}
    {"type": "string", "maxLength": 3} | {"type": "string", "pattern": "^a"} | {"enum": ["a", 1, null]}
    {"const": {"a": 1}} | {"oneOf": [{"type": "integer"}, {"type": "number"}]} | {"not": {"type": "string"}}
    {"anyOf": [{"type": "string", "format": "date-time"}, {"type": ["integer", "null"]}]}
    {"type": "array", "items": {"type": "integer"}}
    {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    {"$ref": "#/definitions/count"} | {"type": "array", "items": {"$ref": "#/definitions/count"}}
    {"$schema": "http://json-schema.org/draft-04/schema#", "type": "integer"}
    {"type": "integer", "multipleOf": 2, "selected": true}
    {"type": ["string", "null"], "inclusion": "available"} | {"type": "string", "minLength": 1}
"##;

const VALUES: &str = r#"
    null | true | false | 0 | -0 | 1 | 6 | -1 | 1.0 | 1.5 | 15e-1 | 1.5e1 | 1E2 | -0.0
    576460779645409236 | 18446744073709551616 | 123456789012345678901234567890
    0.1234567890123456789012345678901234567890 | 9007199254740993.5 | 1e-400
    "" | "a" | "abcd" | "1" | "2017-12-22T21:36:21Z" | "2017-12-22T21:36:21.123+02:00" | "2017-12-22"
    "2017\u002d12-22T21:36:21Z" | "2017\u002d12-22 21:36:21Z" | "12:00:00" | "chaîne 简单" | "a\"b\\"
    [] | [1, 2] | ["1"] | {} | {"a": 1} | {"a": "1", "a": "x"}
"#;

/// Splits a table, whose cells are separated by ` | ` or a line's end.
fn cells(table: &'static str) -> Vec<&'static str> {
    table.trim().lines().flat_map(|line| line.trim().split(" | ")).collect()
}

/// Schemas around the property.
const SCHEMAS: [&str; 8] = [
    r#"{"properties": {"p": PROPERTY}}"#,
    r#"{"type": "object", "properties": {"q": {"type": "string"}, "p": PROPERTY}, "required": ["p"]}"#,
    r#"{"type": ["null", "object"], "properties": {"p": PROPERTY}, "additionalProperties": false}"#,
    r#"{"properties": {}, "additionalProperties": PROPERTY}"#,
    r#"{"properties": {"p": PROPERTY}, "additionalProperties": false, "required": ["x"]}"#,
    concat!(
        r#"{"$schema": "https://json-schema.org/draft/2020-12/schema", "#,
        r#""properties": {"p": PROPERTY}, "minProperties": 1}"#
    ),
    r#"{"$schema": "http://json-schema.org/draft-04/schema#", "properties": {"p": PROPERTY}}"#,
    r#"{"type": "string", "properties": {"p": PROPERTY}}"#,
];

const RECORDS: [&str; 6] = [
    "{}",
    r#"{"p": VALUE}"#,
    r#"{"p":VALUE,"q":"text"}"#,
    r#"{"q": 5, "p": VALUE, "x": 1}"#,
    r#"{"p": VALUE, "p": 1}"#,
    r#"{"p": 1, "\u0070": VALUE}"#,
];

#[test]
fn text_checks_and_the_jsonschema_crate_give_the_same_verdict() {
    let (mut right, mut wrong) = (0, 0);
    for schema in SCHEMAS {
        for property in cells(PROPERTIES) {
            let mut schema = schema.replace("PROPERTY", property);
            if property.contains("$ref") {
                schema.replace_range(0..1, r#"{"definitions": {"count": {"type": "integer"}}, "#);
            }
            let tree: Value = serde_json::from_str(&schema).expect(&schema);
            // Draft 4 has no boolean schemas.
            let Ok((_, theirs)) = Dialect::detect(&tree) else { continue };
            let mut ours = RecordCheck::compile(&schema, &[], Validation::Full).expect(&schema);
            for record in RECORDS {
                for value in cells(VALUES) {
                    let record = record.replace("VALUE", value);
                    let tree: Value = serde_json::from_str(&record).expect(&record);
                    let expected = theirs.is_valid(&tree);
                    assert_eq!(ours.check(&record_of(&record)).is_ok(), expected, "{schema}\n{record}");
                    *if expected { &mut right } else { &mut wrong } += 1;
                }
            }
        }
    }
    assert!(right > 10_000 && wrong > 10_000, "both verdicts occur: {right} and {wrong}");
}

proptest! {
    #[test]
    fn both_give_the_same_verdict_on_records_of_any_shape(
        properties in prop::collection::vec(prop::sample::select(cells(PROPERTIES)[..29].to_vec()), 4),
        required in prop::sample::subsequence(vec!["a", "b", "c", "d", "e"], 0..3),
        closed in any::<bool>(),
        records in prop::collection::vec(
            prop::collection::vec(
                (
                    prop::sample::select(vec!["a", "b", "c", "d", "e", "\\u0061"]),
                    prop::sample::select(cells(VALUES)),
                ),
                0..7,
            ),
            1..4,
        ),
    ) {
        let named = ["a", "b", "c", "d"].iter().zip(properties);
        let properties: Vec<_> = named.map(|(name, schema)| format!("\"{name}\": {schema}")).collect();
        let schema = format!(
            "{{\"type\": \"object\", \"properties\": {{{}}}, \
             \"required\": {}, \"additionalProperties\": {}}}",
            properties.join(", "), json!(required), !closed
        );
        let tree: Value = serde_json::from_str(&schema).expect("a schema");
        let (_, theirs) = Dialect::detect(&tree).expect("a valid schema");
        // One check is used for several records: what it learns from one must not change its verdict on the
        // next.
        let mut ours = RecordCheck::compile(&schema, &[], Validation::Full).expect("a valid schema");
        for record in records {
            let fields: Vec<_> = record.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
            let record = format!("{{{}}}", fields.join(","));
            let tree: Value = serde_json::from_str(&record).expect("a record");
            let verdict = ours.check(&record_of(&record)).is_ok();
            prop_assert_eq!(verdict, theirs.is_valid(&tree), "{}\n{}", schema, record);
        }
    }
}

#[test]
fn an_error_names_the_field_the_rule_and_what_is_right() {
    let schema = r#"{"type": "object", "additionalProperties": false, "required": ["name"], "properties": {
        "id": {"type": "integer"}, "name": {"type": ["string", "null"]},
        "at": {"type": "string", "format": "date-time"},
        "rank": {"type": "integer", "maximum": 9},
        "home": {"type": "object", "properties": {"zip": {"type": "string"}}, "required": ["zip"]}}}"#;
    let cases = r#"
        {"id": "7", "name": null} -> "id" breaks the rule "type": it must be integer, and is string
        {"id": 1.5, "name": null} -> "id" breaks the rule "type": it must be integer, and is a number with
        {"id": 7, "name": 5} -> "name" breaks the rule "type": it must be null or string, and is integer
        {"id": 7} -> "name" breaks the rule "required": it is missing
        {"name": "x"} -> "id" breaks the rule "key_properties": it is missing
        {"id": 7, "name": "x", "at": "yesterday"} -> "at" breaks the rule "format": it must be a date-time
        {"id": 7, "name": "x", "rank": 10} -> "rank" breaks the rule "maximum": the value is greater than
        {"id": 7, "name": "x", "home": {"zip": 5}} -> "home/zip" breaks the rule "type": the value is not of
        {"id": 7, "name": "x", "home": {}} -> "home" breaks the rule "required": "zip" is a required property
        {"id": 7, "name": "x", "new": 1} -> "new" breaks the rule "additionalProperties": the schema has no
    "#;
    for case in cases.trim().lines() {
        let (record, expected) = case.trim().split_once(" -> ").expect("a case");
        let error = check(schema, &["id"], record).expect_err(record);
        assert!(error.starts_with(&format!("field {expected}")), "{error}\nis not: {expected}");
    }
}

#[test]
fn a_key_property_must_be_present_but_may_be_null_if_its_schema_allows_it() {
    let schema = r#"{"properties": {"id": {"type": ["integer", "null"]}}}"#;
    assert_eq!(check(schema, &["id"], r#"{"id": null}"#), Ok(()));
    assert!(check(schema, &["id"], "{}").is_err());
    assert_eq!(check(schema, &[], "{}"), Ok(()));
    // A key that the schema does not list is required all the same.
    assert_eq!(check(schema, &["other"], r#"{"other": 1}"#), Ok(()));
    assert!(check(schema, &["other"], r#"{"id": 1}"#).is_err());
}

#[test]
fn without_validation_only_the_key_is_checked() {
    let schema = r#"{"properties": {"id": {"type": "integer"}}, "required": ["x"]}"#;
    let mut check = RecordCheck::compile(schema, &["id".to_owned()], Validation::KeysOnly).expect(schema);
    assert_eq!(check.check(&record_of(r#"{"id": "text"}"#)), Ok(()));
    assert!(check.check(&record_of("{}")).is_err());
}

#[test]
fn a_number_beyond_a_double_passes_a_check_of_its_type() {
    let schema = r#"{"properties": {"n": {"type": "number"}, "i": {"type": "integer"}}}"#;
    assert_eq!(check(schema, &[], r#"{"n": 1e400, "i": 1e400}"#), Ok(()));
    let schema = r#"{"properties": {"n": {"maximum": 5}}}"#;
    let error = check(schema, &[], r#"{"n": 1e400}"#).expect_err("too large");
    assert!(error.contains(r#"field "n" breaks the rule "readable": it cannot be checked"#), "{error}");
}

#[test]
fn a_schema_in_an_older_dialect_is_understood() {
    let schema = r#"{"properties": {"n": {"type": "number", "minimum": 0, "exclusiveMinimum": true}}}"#;
    assert_eq!(check(schema, &[], r#"{"n": 0.5}"#), Ok(()));
    assert!(check(schema, &[], r#"{"n": 0}"#).is_err());
}

#[test]
fn an_invalid_schema_is_refused_with_the_reason() {
    let cases = r#"
        {"type": "object"} -> has no "properties" object
        {"properties": []} -> has no "properties" object
        true -> has no "properties" object
        {"properties": {"a": {"type": "text"}}} -> is not a valid JSON Schema: at /properties/a/type:
        {"properties": {"a": 5}} -> is not a valid JSON Schema: at /properties/a:
        {"properties": {}, "required": "id"} -> is not a valid JSON Schema: at /required:
        {"properties": {"a": {"$ref": "http://localhost/x.json"}}} -> is not a valid JSON Schema: at
    "#;
    for case in cases.trim().lines() {
        let (schema, expected) = case.trim().split_once(" -> ").expect("a case");
        let error = RecordCheck::compile(schema, &[], Validation::KeysOnly).expect_err(schema).to_string();
        assert!(error.starts_with(&format!("its schema {expected}")), "{error}\nis not: {expected}");
        assert!(!error.contains('\n'), "{error}");
    }
}
