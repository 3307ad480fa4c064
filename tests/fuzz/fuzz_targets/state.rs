//! Any state file, whole or its end: what is read of it is a state, which comes back as it was written.

#![no_main]

use catalog::state::State;
use libfuzzer_sys::fuzz_target;
use tap_mailjet_webhooks::emitter::last_state;

fuzz_target!(|input: &[u8]| {
    let Some((whole, file)) = input.split_first() else { return };
    let whole = whole & 1 == 0;
    let Ok(Some(state)) = last_state(file, whole) else { return };
    assert!(state.bookmark("data").is_none_or(|position| position >= 0));
    let text = serde_json::to_vec(&state).expect("a state is JSON");
    assert!(!text.contains(&b'\n'), "a STATE is one line");
    assert_eq!(State::parse(&text).expect("its own text is a state"), state);

    // A target that goes on writing is in the middle of a line: the one before it counts.
    let mut moved = state.clone();
    moved.set_bookmark("data", "_sdc_sequence", 7);
    let next = serde_json::to_vec(&moved).expect("a state is JSON");
    let mut grown = [file, b"\n", &text, b"\n"].concat();
    grown.extend_from_slice(&next[..next.len() - 1]);
    assert_eq!(last_state(&grown, whole).expect("complete lines are states"), Some(state));
    grown.push(b'}');
    assert_eq!(last_state(&grown, whole).expect("complete lines are states"), Some(moved));
});
