//! Keeps a log line one line, whatever foreign text it quotes: a path, a user agent, a line of a state file.

use std::fmt::Write;

/// Appends `text` to `out`. Characters that could break a line, move a terminal's cursor or reorder what is
/// read are written as JSON writes them, such as `\n` or `\u001b`: a line that is JSON stays JSON.
pub(super) fn push_escaped(out: &mut String, text: &str) {
    let mut rest = text;
    while let Some(at) = rest.find(is_unsafe) {
        let character = rest[at..].chars().next().unwrap_or_default();
        out.push_str(&rest[..at]);
        match character {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // All the others have at most four hex digits.
            other => drop(write!(out, "\\u{:04x}", u32::from(other))),
        }
        rest = &rest[at + character.len_utf8()..];
    }
    out.push_str(rest);
}

/// Whether a terminal, or a program that splits lines, could take the character for an instruction.
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            // Arabic letter mark, zero-width characters and marks of direction, line and paragraph
            // separators, embeddings, overrides and isolates, byte order mark.
            '\u{61c}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
                | '\u{feff}'
        )
}

/// Shortens `text` to at most `max_bytes` and says so at its end.
pub(super) fn shorten(text: &mut String, max_bytes: usize) {
    if text.len() > max_bytes {
        let end = (0..=max_bytes).rev().find(|&end| text.is_char_boundary(end)).unwrap_or_default();
        let cut = text.len() - end;
        text.truncate(end);
        let _ = write!(text, "… ({cut} more bytes)");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_could_break_or_forge_a_line_are_escaped_and_others_are_not() {
        let cases = [
            ("plain text, \"quoted\", \\ and ü 日本 🙂", "plain text, \"quoted\", \\ and ü 日本 🙂"),
            ("a\nb\r\n\tc", "a\\nb\\r\\n\\tc"),
            ("\u{1b}[31mred\0\u{7f}", "\\u001b[31mred\\u0000\\u007f"),
            ("c1 \u{85}\u{9b}", "c1 \\u0085\\u009b"),
            (
                "\u{2028}\u{2029}\u{202e}\u{2066}\u{200b}\u{feff}",
                "\\u2028\\u2029\\u202e\\u2066\\u200b\\ufeff",
            ),
        ];
        for (text, expected) in cases {
            let mut out = String::new();
            push_escaped(&mut out, text);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn a_long_text_is_cut_between_characters_and_says_how_much_is_missing() {
        let mut text = "üüü".to_owned();
        shorten(&mut text, 6);
        assert_eq!(text, "üüü");
        shorten(&mut text, 5);
        assert_eq!(text, "üü… (2 more bytes)");
    }
}
