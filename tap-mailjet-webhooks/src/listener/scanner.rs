//! The tokens of one JSON value, also where the value is broken.
//!
//! The scanner knows which token JSON allows where, but not what is within a string, a number or a word.
//! Therefore a control character or a byte that is not UTF-8 does not stop it. It never recurses, and it
//! keeps one byte for each level of nesting, as `serde_json` does.

/// Reads the tokens of a value one after the other.
#[derive(Debug)]
pub(super) struct Scanner<'a> {
    body: &'a [u8],
    /// The end of the last token.
    at: usize,
    /// The brackets that are open.
    open: Vec<u8>,
    expected: Expected,
}

/// A bracket, a string, a comma, a colon, or anything else up to the next of these or white space.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token {
    pub(super) start: usize,
    /// Whether JSON allows such a token in this place.
    pub(super) is_allowed: bool,
}

/// What JSON allows next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Value,
    /// A value, or the end of the array.
    FirstElement,
    Key,
    /// A key, or the end of the object.
    FirstKey,
    Colon,
    /// A comma, or the end of the array or object.
    Separator,
}

impl<'a> Scanner<'a> {
    /// A scanner of the value that starts at `at`.
    pub(super) fn new(body: &'a [u8], at: usize) -> Self {
        Scanner { body, at, open: Vec::new(), expected: Expected::Value }
    }

    /// Returns the end of the last token.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Whether the last token ended the value.
    pub(super) fn is_at_end(&self) -> bool {
        self.open.is_empty()
    }

    /// Reads the next token. `None` if the body ends, and if a closing bracket has no counterpart in the
    /// value: the bracket belongs to something around it, and [`Scanner::position`] is where it is.
    pub(super) fn next_token(&mut self) -> Option<Token> {
        self.at = skip_space(self.body, self.at);
        let start = self.at;
        let byte = *self.body.get(start)?;
        let expected = self.expected;
        let is_value_expected = matches!(expected, Expected::Value | Expected::FirstElement);
        let is_key_expected = matches!(expected, Expected::Key | Expected::FirstKey);
        let (end, is_allowed, next) = match byte {
            b'{' | b'[' => {
                self.open.push(byte);
                let first = if byte == b'{' { Expected::FirstKey } else { Expected::FirstElement };
                (start + 1, is_value_expected, first)
            }
            b'}' | b']' => {
                let (opening, first) = match byte {
                    b'}' => (b'{', Expected::FirstKey),
                    _ => (b'[', Expected::FirstElement),
                };
                // Brackets that are open within the one that ends here were not closed.
                let depth = self.open.iter().rposition(|open| *open == opening)?;
                let is_innermost = depth + 1 == self.open.len();
                self.open.truncate(depth);
                let is_end_expected = expected == first || expected == Expected::Separator;
                (start + 1, is_innermost && is_end_expected, Expected::Separator)
            }
            b',' => {
                let next = if self.open.last() == Some(&b'{') { Expected::Key } else { Expected::Value };
                (start + 1, expected == Expected::Separator, next)
            }
            b':' => (start + 1, expected == Expected::Colon, Expected::Value),
            b'"' => {
                let end = end_of_string(self.body, start);
                let next = if is_key_expected { Expected::Colon } else { Expected::Separator };
                let is_allowed = end.is_some() && (is_key_expected || is_value_expected);
                (end.unwrap_or(self.body.len()), is_allowed, next)
            }
            _ => {
                let is_end = |byte: &u8| byte.is_ascii_whitespace() || b",:[]{}\"".contains(byte);
                let rest = &self.body[start..];
                let length = rest.iter().position(is_end).unwrap_or(rest.len());
                (start + length, is_value_expected, Expected::Separator)
            }
        };
        self.at = end;
        self.expected = next;
        Some(Token { start, is_allowed })
    }
}

/// Returns where the white space that starts at `at` ends.
pub(super) fn skip_space(body: &[u8], at: usize) -> usize {
    let rest = &body[at..];
    at + rest.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(rest.len())
}

/// Returns the end of the string that starts at `start`; `None` if it has none.
fn end_of_string(body: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', body.get(at..)?)?;
        if body[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    /// The end of the value, if all its tokens are allowed.
    fn end_of_value(text: &[u8]) -> Option<usize> {
        let mut scanner = Scanner::new(text, 0);
        while scanner.next_token()?.is_allowed {
            if scanner.is_at_end() {
                return Some(scanner.position());
            }
        }
        None
    }

    /// Except for what is within strings, numbers and words, the scanner allows what `serde_json` allows.
    #[test]
    fn the_scanner_allows_what_a_parser_allows() {
        let alphabet = [b'{', b'}', b'[', b']', b',', b':', b'1', b' '];
        let strings = ["\"k\"", "\"k\":", "{\"k\":"].map(str::as_bytes);
        let mut state = 1_u32;
        let mut whole = 0;
        for _ in 0..50_000 {
            let mut random = |limit: usize| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 16) as usize % limit
            };
            let mut text = Vec::new();
            for _ in 0..=random(8) {
                match random(alphabet.len() + strings.len()) {
                    at if at < alphabet.len() => text.push(alphabet[at]),
                    at => text.extend_from_slice(strings[at - alphabet.len()]),
                }
            }
            let is_whole = end_of_value(&text).is_some_and(|end| skip_space(&text, end) == text.len());
            let shown = String::from_utf8_lossy(&text);
            assert_eq!(is_whole, serde_json::from_slice::<&RawValue>(&text).is_ok(), "{shown}");
            whole += usize::from(is_whole);
        }
        assert!(whole > 1000, "{whole}");
    }

    #[test]
    fn a_closing_bracket_ends_what_was_opened_within_its_own_and_nothing_around_the_value() {
        let end = |text: &str| {
            let mut scanner = Scanner::new(text.as_bytes(), 0);
            while scanner.next_token().is_some() {
                if scanner.is_at_end() {
                    return Some(scanner.position());
                }
            }
            None
        };
        assert_eq!(end(r#"{"a":[1},{"#), Some(8));
        assert_eq!(end(r#"{"a":{"b":[1},"c":2}"#), Some(20));
        assert_eq!(end(r#"{"a":1]"#), None);
        assert_eq!(end(r#"{"a":"x}"#), None);
    }
}
