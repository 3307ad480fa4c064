//! Any state file, or the end of one: what is read from it is a state, which is written as it was read.

#![no_main]

use catalog::state::State;
use libfuzzer_sys::fuzz_target;
use tap_mailjet_webhooks::emitter::last_state;

fuzz_target!(|file: &[u8]| {
    let Ok(Some(state)) = last_state(file) else { return };
    assert!(state.bookmark("data").is_none_or(|position| position >= 0));
    let text = serde_json::to_vec(&state).expect("a state is JSON");
    assert!(!text.contains(&b'\n'), "a STATE is one line");
    assert_eq!(State::parse(&text).expect("a serialized state can be parsed"), state);

    // A line without a bookmark says nothing.
    if !state.has_bookmark() {
        return;
    }
    // While a target writes a line, the line before it counts.
    let mut moved = state.clone();
    moved.set_bookmark("data", "_sdc_sequence", 7);
    let next = serde_json::to_vec(&moved).expect("a state is JSON");
    let mut grown = [file, b"\n", &text, b"\n"].concat();
    grown.extend_from_slice(&next[..next.len() - 1]);
    assert_eq!(last_state(&grown).expect("complete lines are states"), Some(state));
    grown.push(b'}');
    assert_eq!(last_state(&grown).expect("complete lines are states"), Some(moved));
});
