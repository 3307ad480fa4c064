//! The members of a JSON object, found in its text without building a tree.
//!
//! Most of the work of copying a row is reading it. That is why this module has its own scanner: with
//! `serde_json`, as a tree or as pairs of `RawValue`, a drain took two to three times as long. Both find the
//! same members in the same texts; a test compares them.

use std::borrow::Cow;
use std::ops::ControlFlow;

use serde_json::value::RawValue;

/// One member of a JSON object, as it stands in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member<'a> {
    /// The name, with its quotes and escapes.
    pub quoted_name: &'a str,
    /// The text of the value.
    pub value: &'a str,
    /// Whether the value can only be spelled this way: it is not an object or array, and not a string with
    /// escapes.
    pub is_plain: bool,
}

impl<'a> Member<'a> {
    /// Returns the name for use in a column's name. If the name has a NUL, at which targets fail, this is its
    /// JSON text.
    pub fn column_name(&self) -> Cow<'a, str> {
        let name = self.name();
        if name.contains('\0') { Cow::Borrowed(self.quoted_name) } else { name }
    }

    /// Returns the name without quotes and escapes. A name that is not Unicode (with half a surrogate pair)
    /// is its JSON text.
    pub fn name(&self) -> Cow<'a, str> {
        name_of(self.quoted_name)
    }
}

/// Returns a name without quotes and escapes. A name that is not Unicode (with half a surrogate pair) is its
/// JSON text.
pub fn name_of(quoted_name: &str) -> Cow<'_, str> {
    let bare = &quoted_name[1..quoted_name.len() - 1];
    if !bare.contains('\\') {
        return Cow::Borrowed(bare);
    }
    serde_json::from_str::<String>(quoted_name).map_or(Cow::Borrowed(quoted_name), Cow::Owned)
}

/// Writes text as a JSON string.
pub fn json_string(text: &str) -> String {
    serde_json::to_string(text).expect("text is JSON")
}

/// Where a member stands in the text of its object. Unlike a [`Member`], it does not borrow the text, so it
/// can be passed to another thread, and its memory can be reused.
#[derive(Debug, Clone, Copy)]
pub struct MemberSpan {
    name: (u32, u32),
    value: (u32, u32),
    is_plain: bool,
}

/// The members of an object, in their order, repeated names included.
#[derive(Debug, Clone, Copy)]
pub struct Members<'a, 's> {
    /// The text of the object, or a text that contains it.
    pub text: &'a str,
    spans: &'s [MemberSpan],
}

impl<'a, 's> Members<'a, 's> {
    /// The members at `spans` in `text`, from which the spans must have been parsed.
    pub fn new(text: &'a str, spans: &'s [MemberSpan]) -> Self {
        Members { text, spans }
    }

    /// Returns the member at `index`, counted from 0.
    #[inline]
    pub fn get(self, index: usize) -> Member<'a> {
        self.at(&self.spans[index])
    }

    /// Iterates over the members.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = Member<'a>> + ExactSizeIterator {
        self.spans.iter().map(move |span| self.at(span))
    }

    #[inline]
    fn at(self, span: &MemberSpan) -> Member<'a> {
        let part = |(start, end): (u32, u32)| &self.text[start as usize..end as usize];
        Member { quoted_name: part(span.name), value: part(span.value), is_plain: span.is_plain }
    }
}

/// Finds the members of the object `text`. Returns `None` if `text` is not a JSON object.
pub fn parse_object(text: &str) -> Option<Vec<MemberSpan>> {
    // Enough for all of Mailjet's fields.
    let mut spans = Vec::with_capacity(24);
    parse_object_into(text, &mut spans).then_some(spans)
}

/// Appends the spans of the members of the object `text`. If `text` is not a JSON object, returns false and
/// appends nothing.
pub fn parse_object_into(text: &str, spans: &mut Vec<MemberSpan>) -> bool {
    let before = spans.len();
    let is_object = Scanner::new(text).is_some_and(|scanner| scanner.scan(spans, None).is_some());
    if !is_object {
        spans.truncate(before);
    }
    is_object
}

/// Shows `visit` each member of the object `text`, with the text that follows the member, until `visit`
/// breaks.
///
/// Nothing is read beyond the member at which `visit` breaks. If `text` is not a JSON object, `visit` may
/// have seen the members before the first error.
pub fn visit_members<'a>(text: &'a str, mut visit: impl FnMut(Member<'a>, &'a str) -> ControlFlow<()>) {
    // `None` means an error, or that `visit` broke: either way, the scan is over.
    let _: Option<()> = Scanner::new(text).and_then(|mut scanner| {
        scanner.skip_space();
        scanner.expect(b'{')?;
        scanner.list(b'}', |scanner| {
            let span = scanner.member(|scanner, _| scanner.value(MAX_DEPTH))?;
            visit(Members::new(text, &[]).at(&span), &text[scanner.at..]).continue_value()
        })
    });
}

/// Finds the members of the object `text` and those of its member `name`, both in one pass. The second list
/// is empty unless that member is an object whose name stands there without escapes. Returns `None` if `text`
/// is not a JSON object.
pub fn parse_object_and_member(text: &str, name: &str) -> Option<(Vec<MemberSpan>, Vec<MemberSpan>)> {
    let (mut outer, mut inner) = (Vec::with_capacity(8), Vec::with_capacity(40));
    Scanner::new(text)?.scan(&mut outer, Some((name, &mut inner)))?;
    Some((outer, inner))
}

/// A part of a JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token<'a> {
    /// The bracket that opens an object or array.
    Open(u8),
    /// The bracket that closes it.
    Close(u8),
    /// The name of a member, with its quotes and escapes. The member's value follows.
    Name(&'a str),
    /// A string, a number, `true`, `false` or `null`.
    Scalar(&'a str),
}

/// Iterates over the parts of a value in one pass, at any depth, without recursion.
#[derive(Debug)]
pub struct Tokens<'a> {
    text: &'a str,
    at: usize,
    /// The brackets that are open.
    open: Vec<u8>,
    is_name_next: bool,
}

impl<'a> Tokens<'a> {
    /// The parts of `value`. Where it is not JSON, they mean nothing.
    pub fn new(value: &'a str) -> Self {
        Tokens { text: value, at: 0, open: Vec::new(), is_name_next: false }
    }

    /// Skips the rest of the innermost object or array that is open. Returns its text, without the bracket
    /// that opened it.
    pub fn skip_to_close(&mut self) -> &'a str {
        let (start, depth) = (self.at, self.open.len());
        while self.open.len() >= depth && self.next().is_some() {}
        &self.text[start..self.at]
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let bytes = self.text.as_bytes();
        let is_between = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b',' | b':');
        self.at += bytes.get(self.at..)?.iter().take_while(|byte| is_between(byte)).count();
        let start = self.at;
        let is_name = std::mem::replace(&mut self.is_name_next, false);
        match *bytes.get(start)? {
            bracket @ (b'{' | b'[') => {
                self.at += 1;
                self.open.push(bracket);
                self.is_name_next = bracket == b'{';
                return Some(Token::Open(bracket));
            }
            bracket @ (b'}' | b']') => {
                self.at += 1;
                self.open.pop();
                self.is_name_next = self.open.last() == Some(&b'{');
                return Some(Token::Close(bracket));
            }
            b'"' => {
                self.at += 1;
                while *bytes.get(self.at)? != b'"' {
                    self.at += if bytes[self.at] == b'\\' { 2 } else { 1 };
                    self.at = next_special_byte(bytes, self.at)?;
                }
                self.at += 1;
            }
            _ => {
                let is_part = |byte: &u8| !is_between(byte) && !matches!(byte, b'}' | b']');
                self.at += bytes[start..].iter().take_while(|byte| is_part(byte)).count();
            }
        }
        let text = &self.text[start..self.at];
        if is_name {
            return Some(Token::Name(text));
        }
        self.is_name_next = self.open.last() == Some(&b'{');
        Some(Token::Scalar(text))
    }
}

/// Whether a JSON value has more than `limit` values in it: members of objects, and elements of arrays that
/// are neither objects nor arrays.
pub fn has_more_values(text: &str, limit: usize) -> bool {
    let mut is_named = false;
    let is_value = |token: &Token<'_>| {
        let was_named = std::mem::replace(&mut is_named, matches!(token, Token::Name(_)));
        is_named || (matches!(token, Token::Scalar(_)) && !was_named)
    };
    // Each value is followed by at least one byte.
    text.len() / 2 > limit && Tokens::new(text).filter(is_value).nth(limit).is_some()
}

/// Levels of nesting that the scanner follows by recursion. Anything deeper is left to `serde_json`, which
/// skips a value without using the stack.
const MAX_DEPTH: usize = 32;

/// Moves through the text of an object. Its methods return `None` at the first byte that is not JSON.
struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    /// Returns `None` if the text is longer than a span can express. SQLite keeps at most a gigabyte in a
    /// row, so no event is that long.
    fn new(text: &'a str) -> Option<Self> {
        u32::try_from(text.len()).is_ok().then_some(Scanner { text, at: 0 })
    }

    /// Scans the whole text: an object with nothing but space around it. Of the member with the `wanted`
    /// name, if it is an object, the members are collected too.
    fn scan(
        mut self,
        spans: &mut Vec<MemberSpan>,
        mut wanted: Option<(&str, &mut Vec<MemberSpan>)>,
    ) -> Option<()> {
        self.skip_space();
        self.expect(b'{')?;
        self.list(b'}', |scanner| {
            let span = scanner.member(|scanner, quoted_name| match &mut wanted {
                Some((name, inner))
                    if scanner.peek() == Some(b'{') && quoted_name[1..quoted_name.len() - 1] == **name =>
                {
                    inner.clear();
                    scanner.object(MAX_DEPTH, &mut |span| inner.push(span)).map(|()| false)
                }
                _ => scanner.value(MAX_DEPTH),
            })?;
            spans.push(span);
            Some(())
        })?;
        self.skip_space();
        (self.at == self.text.len()).then_some(())
    }

    /// Scans an object, and passes its members to `visit`.
    fn object(&mut self, depth: usize, visit: &mut dyn FnMut(MemberSpan)) -> Option<()> {
        self.expect(b'{')?;
        self.list(b'}', |scanner| {
            visit(scanner.member(|scanner, _| scanner.value(depth))?);
            Some(())
        })
    }

    /// Scans a member. `value` scans its value, and returns whether that is plain.
    #[inline]
    fn member(&mut self, value: impl FnOnce(&mut Self, &str) -> Option<bool>) -> Option<MemberSpan> {
        let start = self.at;
        let (name, _) = self.spanned(Self::string)?;
        let quoted_name = &self.text[start..self.at];
        self.skip_space();
        self.expect(b':')?;
        self.skip_space();
        let (value, is_plain) = self.spanned(|scanner| value(scanner, quoted_name))?;
        Some(MemberSpan { name, value, is_plain })
    }

    /// Scans the items of an object or array and the commas between them, up to and including the closing
    /// byte `end`.
    fn list(&mut self, end: u8, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.skip_space();
        if self.peek()? == end {
            self.at += 1;
            return Some(());
        }
        loop {
            item(self)?;
            self.skip_space();
            let next = self.peek()?;
            self.at += 1;
            if next == end {
                return Some(());
            }
            if next != b',' {
                return None;
            }
            self.skip_space();
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Returns where the part that `scan` scans begins and ends, and what `scan` returns.
    fn spanned<T>(&mut self, scan: impl FnOnce(&mut Self) -> Option<T>) -> Option<((u32, u32), T)> {
        let offset = |at| u32::try_from(at).ok();
        let start = self.at;
        let outcome = scan(self)?;
        Some(((offset(start)?, offset(self.at)?), outcome))
    }

    /// Scans a value, and returns whether it is plain.
    fn value(&mut self, depth: usize) -> Option<bool> {
        match self.peek()? {
            b'"' => self.string(),
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            b'{' if depth > 0 => self.object(depth - 1, &mut |_| ()).map(|()| false),
            b'[' if depth > 0 => {
                self.at += 1;
                self.list(b']', |scanner| scanner.value(depth - 1).map(drop)).map(|()| false)
            }
            b'{' | b'[' => {
                let rest = &self.text[self.at..];
                let value = serde_json::Deserializer::from_str(rest).into_iter::<&RawValue>().next()?.ok()?;
                self.at += value.get().len();
                Some(false)
            }
            _ => self.number(),
        }
    }

    fn literal(&mut self, word: &str) -> Option<bool> {
        self.text[self.at..].starts_with(word).then(|| self.at += word.len())?;
        Some(true)
    }

    fn number(&mut self) -> Option<bool> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek()? {
            b'0' => self.at += 1,
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Some(true)
    }

    /// Scans one or more digits.
    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    /// Scans a string, and returns whether it has no escapes.
    fn string(&mut self) -> Option<bool> {
        self.expect(b'"')?;
        let mut is_plain = true;
        loop {
            self.at = next_special_byte(self.text.as_bytes(), self.at)?;
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Some(is_plain);
                }
                b'\\' => is_plain = false,
                // A control character.
                _ => return None,
            }
            self.at += match self.text.as_bytes().get(self.at + 1..)? {
                [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => 2,
                [b'u', digits @ ..] if digits.get(..4)?.iter().all(u8::is_ascii_hexdigit) => 6,
                _ => return None,
            };
        }
    }
}

/// Finds the next byte, from `at` on, that ends a string or does not stand for itself in one: a quote, a
/// backslash or a control character. Compares eight bytes at a time.
fn next_special_byte(bytes: &[u8], mut at: usize) -> Option<usize> {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // Sets the highest bit of each byte that is 0. A byte above such a byte may be marked wrongly, but the
    // lowest mark is right.
    let zeros = |word: u64| word.wrapping_sub(EACH) & !word & HIGH;
    while let Some(chunk) = bytes.get(at..at + 8) {
        let word = u64::from_le_bytes(chunk.try_into().expect("eight bytes"));
        let controls = word.wrapping_sub(EACH * 0x20) & !word & HIGH;
        let marks =
            zeros(word ^ (EACH * u64::from(b'"'))) | zeros(word ^ (EACH * u64::from(b'\\'))) | controls;
        if marks != 0 {
            return Some(at + marks.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    bytes.get(at..)?.iter().position(is_special).map(|offset| at + offset)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    #[test]
    fn members_are_slices_of_the_text() {
        let text = r#" { "a" : 1.10, "\u0062" : {"x": [1, 2]}, "a": null, "\ud800": "", "c":"\n" } "#;
        let spans = parse_object(text).expect("an object");
        let members = Members::new(text, &spans).iter();
        let named: Vec<_> = members.map(|member| (member.name(), member.value, member.is_plain)).collect();
        let expected = [
            ("a", "1.10", true),
            ("b", r#"{"x": [1, 2]}"#, false),
            ("a", "null", true),
            (r#""\ud800""#, r#""""#, true),
            ("c", r#""\n""#, false),
        ];
        assert_eq!(named, expected.map(|(name, value, is_plain)| (Cow::Borrowed(name), value, is_plain)));
        assert!(parse_object("[]").is_none());
    }

    #[test]
    fn tokens_are_the_parts_of_a_value_at_any_depth() {
        use Token::{Close, Name, Open, Scalar};
        let text = r#" {"a": [1,-2.5e1 , "x\"]" ],"\u0062" :{}, "c":null,"":{"d":[[]]}} "#;
        let expected = [
            Open(b'{'),
            Name(r#""a""#),
            Open(b'['),
            Scalar("1"),
            Scalar("-2.5e1"),
            Scalar(r#""x\"]""#),
            Close(b']'),
            Name(r#""\u0062""#),
            Open(b'{'),
            Close(b'}'),
            Name(r#""c""#),
            Scalar("null"),
            Name(r#""""#),
            Open(b'{'),
            Name(r#""d""#),
            Open(b'['),
            Open(b'['),
            Close(b']'),
            Close(b']'),
            Close(b'}'),
            Close(b'}'),
        ];
        assert_eq!(Tokens::new(text).collect::<Vec<_>>(), expected);
        let mut tokens = Tokens::new(text);
        let _ = tokens.by_ref().take(3).last();
        assert_eq!(tokens.skip_to_close(), r#"1,-2.5e1 , "x\"]" ]"#);
        assert_eq!(tokens.next(), Some(Name(r#""\u0062""#)));
        let deep = "[".repeat(1_000_000) + &"]".repeat(1_000_000);
        assert_eq!(Tokens::new(&deep).count(), 2_000_000);
    }

    #[test]
    fn values_are_counted_at_any_depth() {
        for (text, count) in
            [("[[[]]]", 0), ("[1,2]", 2), (r#"{"a":[1,2,{"b":",,,"}],"c":null}"#, 5), (r#"[{"":0}]"#, 1)]
        {
            assert!(!has_more_values(text, count), "{text}");
            assert!(count == 0 || has_more_values(text, count - 1), "{text}");
        }
    }

    /// Returns the members that `serde_json` finds, as pairs of texts; `None` if `text` is not a JSON object.
    pub(crate) fn members_by_serde_json(text: &str) -> Option<Vec<(String, String)>> {
        struct Pairs;
        impl<'de> serde::de::Visitor<'de> for Pairs {
            type Value = Vec<(String, String)>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some((name, value)) = map.next_entry::<&RawValue, &RawValue>()? {
                    pairs.push((name.get().to_owned(), value.get().to_owned()));
                }
                Ok(pairs)
            }
        }
        let mut text = serde_json::Deserializer::from_str(text);
        let pairs = serde::Deserializer::deserialize_map(&mut text, Pairs).ok()?;
        text.end().ok().map(|()| pairs)
    }

    /// Whichever byte of an object is removed, replaced or inserted, and wherever it ends: both readers agree
    /// on the result.
    #[test]
    fn the_scanner_and_serde_json_find_the_same_members() {
        let objects = [
            concat!(
                r#"{"event":"open","time":1433103519,"n":-0.5e+10,"z":0,"b":true,"f":false,"x":null,"#,
                r#""long":"0123456789abcdef é 😀"}"#
            ),
            "{ \"a\\u0041\\n\\\\\" : [1, {\"b\": \"\\ud800\"}] ,\t\"c\":{}\r\n, \"c\" : \"\\\"\\/\" } ",
            "{}",
            r#"{"n":12.34,"m":1E5}"#,
            &format!("{{\"d\":{}1{}}}", r#"[{"":"#.repeat(20), "}]".repeat(20)),
        ];
        let bytes = b"\"\\{}[]:, \n\t\x00\x1f\x7f-+.eE019utrfnx/";
        let pair = |member: Member<'_>| (member.quoted_name.to_owned(), member.value.to_owned());
        let check = |text: &str| {
            let own = parse_object(text)
                .map(|spans| Members::new(text, &spans).iter().map(pair).collect::<Vec<_>>());
            assert_eq!(own, members_by_serde_json(text), "{text:?}");
        };
        for object in objects {
            check(object);
            for at in 0..object.len() {
                let (Some(before), Some(behind)) = (object.get(..at), object.get(at + 1..)) else { continue };
                check(before);
                check(&format!("{before}{behind}"));
                for byte in bytes {
                    check(&format!("{before}{}{behind}", char::from(*byte)));
                    check(&format!("{before}{}{}", char::from(*byte), &object[at..]));
                }
            }
        }
    }
}
