//! Any body: the listener splits it into exactly the events that it holds, and counts each under its own
//! type.

#![no_main]

use catalog::event::type_name;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use serde_json::value::RawValue;
use tap_mailjet_webhooks::listener::{Refusal, Split, split};
use tap_mailjet_webhooks::spool::Budget;

fuzz_target!(|body: &[u8]| {
    let mut reservation = Budget::new(64 << 20).reserve(0).expect("the budget is unused");
    let Split { text, items, event_counts, error } = match split(&body.to_vec().into(), &mut reservation) {
        Ok(split) => split,
        Err(Refusal::BodyEmpty) => {
            assert!(!body.iter().any(u8::is_ascii_alphanumeric));
            return;
        }
        Err(Refusal::TooManyElements) => return,
        Err(refusal) => panic!("{refusal}"),
    };
    let items: Vec<(&[u8], bool)> =
        items.iter().map(|(range, reason)| (&text[range], reason.is_none())).collect();
    let events: Vec<&str> = items
        .iter()
        .filter(|(_, is_event)| *is_event)
        .map(|(event, _)| serde_json::from_slice::<&RawValue>(event).expect("an event is JSON").get())
        .collect();
    assert_eq!(event_counts.0.iter().sum::<u64>(), events.len() as u64);
    assert_eq!(error.is_some(), items.len() > events.len());
    events.iter().for_each(|event| {
        assert!(event.starts_with('{'));
        assert_type(event);
    });
    assert_all_is_kept(body, &items);
    // What a JSON parser finds in a whole document is exactly what was found.
    let Ok(document) = serde_json::from_slice::<&RawValue>(body) else { return };
    let elements = match document.get() {
        object if object.starts_with('{') => vec![object],
        array if array.starts_with('[') => {
            let elements: Vec<&RawValue> = serde_json::from_str(array).expect("an array");
            elements.iter().map(|element| element.get()).collect()
        }
        _ => vec![],
    };
    assert!(elements.into_iter().filter(|element| element.starts_with('{')).eq(events));
});

/// Asserts that no letter or digit of the body is lost: each is in an item.
fn assert_all_is_kept(body: &[u8], items: &[(&[u8], bool)]) {
    let count = |text: &[u8]| text.iter().filter(|byte| byte.is_ascii_alphanumeric()).count();
    let kept: usize = items.iter().map(|(text, _)| count(text)).sum();
    assert!(kept >= count(body), "{kept} of {}", count(body));
}

/// Asserts that the type is the one that a tree has. Of several fields with one name, a tree keeps the last.
fn assert_type(event: &str) {
    let found = type_name(event);
    // A tree refuses deeper nesting, and half a surrogate pair.
    let Ok(tree) = serde_json::from_str::<Value>(event) else { return };
    // A null after another value does not count.
    if !tree["event"].is_null() {
        assert_eq!(found.as_deref(), tree["event"].as_str().map(str::to_lowercase).as_deref());
    }
}
