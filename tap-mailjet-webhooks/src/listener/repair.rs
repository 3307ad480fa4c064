//! Makes JSON of an object that holds raw control characters, or bytes that are not UTF-8.

/// Escapes control characters within strings, and reads bytes that are not UTF-8 as U+FFFD. Passes the
/// repaired text to `put`, part by part.
pub(super) fn repair(text: &[u8], mut put: impl FnMut(&[u8])) {
    let (mut is_string, mut is_escaped) = (false, false);
    for chunk in text.utf8_chunks() {
        let valid = chunk.valid().as_bytes();
        // Where the part begins that has not been passed on.
        let mut start = 0;
        for (at, byte) in valid.iter().enumerate() {
            match byte {
                0..0x20 if is_string => {
                    put(&valid[start..at]);
                    // A backslash before a raw line break stands for the line break.
                    let (escape, length) = escape(*byte);
                    put(&escape[usize::from(is_escaped)..length]);
                    start = at + 1;
                    is_escaped = false;
                    continue;
                }
                b'"' if !is_escaped => is_string = !is_string,
                _ => {}
            }
            is_escaped = is_string && *byte == b'\\' && !is_escaped;
        }
        put(&valid[start..]);
        if !chunk.invalid().is_empty() {
            put("\u{fffd}".as_bytes());
            is_escaped = false;
        }
    }
}

/// Returns the length of the repaired text.
pub(super) fn repaired_len(text: &[u8]) -> usize {
    let mut length = 0;
    repair(text, |part| length += part.len());
    length
}

/// Returns the escape of a control character, and its length.
fn escape(control: u8) -> ([u8; 6], usize) {
    let short = match control {
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            let digit = |value: u8| b"0123456789abcdef"[usize::from(value)];
            return ([b'\\', b'u', b'0', b'0', digit(control >> 4), digit(control & 0xf)], 6);
        }
    };
    ([b'\\', short, 0, 0, 0, 0], 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_in_strings_and_bad_bytes_are_repaired() {
        let cases: [(&[u8], &str); 6] = [
            (b"{\"a\":\t\"x\n\r\t\x08\x0c\0\x1by\"}", "{\"a\":\t\"x\\n\\r\\t\\b\\f\\u0000\\u001by\"}"),
            // A backslash at the end of a line.
            (b"{\"a\":\"x\\\ny\"}", "{\"a\":\"x\\ny\"}"),
            (b"{\"a\":\"\\\\\n\"}", "{\"a\":\"\\\\\\n\"}"),
            (b"{\"a\":\"\\\"\n\"}", "{\"a\":\"\\\"\\n\"}"),
            (b"{\"caf\xe9\":\"\xff\xc3\"}", "{\"caf\u{fffd}\":\"\u{fffd}\u{fffd}\"}"),
            ("{\"a\":\"caf\u{e9}\"}".as_bytes(), "{\"a\":\"caf\u{e9}\"}"),
        ];
        for (text, expected) in cases {
            let mut repaired = Vec::new();
            repair(text, |part| repaired.extend_from_slice(part));
            assert_eq!(String::from_utf8_lossy(&repaired), expected);
            assert_eq!(repaired_len(text), expected.len());
        }
    }
}
