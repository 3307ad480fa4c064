//! Any input of target-jsonl: it is cut into the same lines however it arrives, and each line is parsed and
//! checked without a panic.
//!
//! The first byte is the size of the chunks in which the input arrives.

#![no_main]

use catalog::message::IncomingMessage;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use target_jsonl::lines::Lines;
use target_jsonl::validate::{RecordCheck, Validation};

fuzz_target!(|input: &[u8]| {
    let Some((size, input)) = input.split_first() else { return };
    let mut lines = Lines::default();
    let mut seen: Vec<Vec<u8>> = Vec::new();
    for chunk in input.chunks(usize::from(*size).max(1)) {
        let fed = lines.feed(chunk, |number, line| {
            seen.push(line.to_owned());
            assert_eq!(number, seen.len() as u64);
            Ok(())
        });
        fed.expect("no line is too long");
    }
    seen.push(lines.rest);
    assert_eq!(seen.join(&b'\n'), input);

    let mut check = None;
    for line in &seen {
        let tree = serde_json::from_slice::<Value>(line);
        match IncomingMessage::parse(line) {
            Ok(IncomingMessage::Schema { schema, key_properties, .. }) => {
                let key_properties = key_properties.unwrap_or_default();
                check = RecordCheck::compile(schema, &key_properties, Validation::Full).ok();
            }
            Ok(IncomingMessage::Record { record, .. }) => {
                assert!(lies_in(line, record.text) && record.text.starts_with('{'));
                if let Some(check) = &mut check {
                    let _ = check.check(&record);
                }
            }
            Ok(IncomingMessage::State { value }) => assert!(lies_in(line, value)),
            Ok(IncomingMessage::Other { .. }) => {}
            Err(error) => {
                assert!(!error.to_string().contains('\n'), "an error is one line");
                // A tree keeps the last of several members with one name, but a message with duplicates is
                // refused.
                if let Ok(Value::Object(message)) = tree {
                    let is_record = message.get("type") == Some(&"RECORD".into())
                        && message.get("stream").is_some_and(Value::is_string)
                        && message.get("record").is_some_and(Value::is_object)
                        && message.len() == 3;
                    assert!(!is_record || error.to_string().contains("more than one"), "{error}");
                }
            }
        }
    }
});

/// Whether a value is a slice of its line, and so was not reprinted.
fn lies_in(line: &[u8], value: &str) -> bool {
    line.as_ptr_range().contains(&value.as_ptr())
}
