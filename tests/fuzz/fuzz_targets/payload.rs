//! Any body: the listener splits it into exactly the events that it holds, and counts each under its own
//! type.

#![no_main]

use catalog::event::type_name;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use serde_json::value::RawValue;
use tap_mailjet_webhooks::listener::{Refusal, Split, split};
use tap_mailjet_webhooks::spool::{Budget, ItemKind, REJECTED_BODY_BYTES};

fuzz_target!(|body: &[u8]| {
    let mut reservation = Budget::new(64 << 20).reserve(0).expect("the budget is unused");
    let whole = serde_json::from_slice::<&RawValue>(body);
    let Split { items, event_counts } = match split(body, &mut reservation) {
        Ok(split) => split,
        Err(Refusal::NotEvents(_)) => {
            assert!(whole.is_err() || !whole.is_ok_and(|json| json.get().starts_with(['{', '['])));
            return;
        }
        Err(refusal) => panic!("{refusal}"),
    };
    let text = whole.expect("a body with events is JSON").get();
    let elements = match text.starts_with('{') {
        true => vec![text],
        false => {
            let elements: Vec<&RawValue> = serde_json::from_str(text).expect("an array");
            elements.iter().map(|element| element.get()).collect()
        }
    };
    let items: Vec<_> = items.iter().collect();
    assert_eq!(items.len(), elements.len());
    let events = items.iter().filter(|(_, kind)| *kind == ItemKind::Event).count();
    assert_eq!(event_counts.0.iter().sum::<u64>(), events as u64);
    for ((range, kind), element) in items.into_iter().zip(elements) {
        let is_event = kind == ItemKind::Event;
        assert_eq!(is_event, element.starts_with('{'));
        let kept = if is_event { element.len() } else { element.len().min(REJECTED_BODY_BYTES) };
        assert_eq!(&body[range], &element.as_bytes()[..kept]);
        if is_event {
            assert_type(element);
        }
    }
});

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
