//! Any events, one per line: each becomes a RECORD on one line that is valid by its SCHEMA.
//!
//! The first byte chooses how unknown fields are handled, and whether each type of event has its own stream.

#![no_main]

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use catalog::message::IncomingMessage;
use catalog::selection::Selection;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tap_mailjet_webhooks::emitter::{ColumnRules, DryRun, ExtraColumn, OutputSpec, UnknownFields};
use tap_mailjet_webhooks::os::clock::UnixMillis;
use tap_mailjet_webhooks::spool::{Sequence, StoredItem};
use target_jsonl::validate::{RecordCheck, Validation};

const EVERY_STREAM: &[u8] = include_bytes!("../../../catalog/catalog.json");

/// What a SCHEMA requires of its records.
struct Requirements {
    check: RefCell<RecordCheck>,
    columns: Vec<String>,
}

thread_local! {
    /// Compiled schemas, since the same ones come again and again.
    static COMPILED: RefCell<HashMap<String, Rc<Requirements>>> = RefCell::default();
    /// One for each choice.
    static SPECS: [OutputSpec; 8] = std::array::from_fn(output_spec);
}

fuzz_target!(|input: &[u8]| {
    let Some((choice, events)) = input.split_first() else { return };
    let choice = usize::from(choice & 7);
    let mut dry_run = SPECS.with(|specs| DryRun::new(&specs[choice])).expect("a catalog that fits");
    let mut out = Vec::new();
    dry_run.write_schemas(&mut out);
    let mut streams = HashMap::new();
    check_output(&out, &mut streams);
    for (sequence, body) in (1..).zip(events.split(|byte| *byte == b'\n')) {
        out.clear();
        // The spool stores events as received, with line breaks between their parts.
        let body: Vec<u8> = body.iter().map(|byte| if *byte == b'\r' { b'\n' } else { *byte }).collect();
        let (sequence, received_at) = (Sequence::new(sequence), UnixMillis::new(1));
        let event = StoredItem { sequence, received_at, reason: None, body: &body };
        dry_run.write_event(event, UnixMillis::new(2), &mut out);
        let records = check_output(&out, &mut streams);
        assert!((1..=2).contains(&records), "{records} records");
    }
});

/// Asserts that each line is a message and each record valid by the SCHEMA before it. Returns the number of
/// records.
fn check_output(out: &[u8], streams: &mut HashMap<String, Rc<Requirements>>) -> usize {
    let mut records = 0;
    let lines =
        out.strip_suffix(b"\n").expect("the last line ends with a line break").split(|byte| *byte == b'\n');
    for line in lines {
        match IncomingMessage::parse(line).expect("a message") {
            IncomingMessage::Schema { stream, schema, key_properties } => {
                let key_properties = key_properties.expect("the SCHEMA has key_properties");
                streams.insert(stream.into_owned(), requirements_of(schema, &key_properties));
            }
            IncomingMessage::Record { stream, record } => {
                records += 1;
                let known = &streams[&*stream];
                known.check.borrow_mut().check(&record).expect("the record is valid by its SCHEMA");
                let tree: Value = serde_json::from_slice(line).expect("any JSON parser accepts the record");
                let columns = tree["record"].as_object().expect("an object").keys();
                assert!(columns.eq(known.columns.iter()), "a RECORD has each column of its SCHEMA once");
            }
            _ => panic!("neither SCHEMA nor RECORD"),
        }
    }
    records
}

fn requirements_of(schema: &str, key_properties: &[String]) -> Rc<Requirements> {
    COMPILED.with_borrow_mut(|compiled| {
        if let Some(known) = compiled.get(schema) {
            return Rc::clone(known);
        }
        let check = RecordCheck::compile(schema, key_properties, Validation::Full).expect("a schema");
        let tree: Value = serde_json::from_str(schema).expect("JSON");
        let columns = tree["properties"].as_object().expect("columns").keys().cloned().collect();
        let requirements = Rc::new(Requirements { check: check.into(), columns });
        if compiled.len() > 1000 {
            compiled.clear();
        }
        compiled.insert(schema.to_owned(), Rc::clone(&requirements));
        requirements
    })
}

fn output_spec(choice: usize) -> OutputSpec {
    let selection = match choice & 2 == 0 {
        true => Selection::default(),
        false => Selection::parse(&with_all_selected()).expect("a catalog"),
    };
    OutputSpec {
        selection,
        system_prefix: if choice & 4 == 0 { "_sdc_" } else { "_mailjet_" }.to_owned(),
        columns: ColumnRules {
            unknown_fields: if choice & 1 == 0 { UnknownFields::Columns } else { UnknownFields::Extra },
            max_discovered: 100,
            extra_column: ExtraColumn::Object,
        },
    }
}

fn with_all_selected() -> Vec<u8> {
    let mut catalog: Value = serde_json::from_slice(EVERY_STREAM).expect("JSON");
    for stream in catalog["streams"].as_array_mut().expect("streams") {
        for entry in stream["metadata"].as_array_mut().expect("metadata") {
            entry["metadata"]["selected"] = Value::Bool(true);
        }
    }
    serde_json::to_vec(&catalog).expect("JSON")
}
