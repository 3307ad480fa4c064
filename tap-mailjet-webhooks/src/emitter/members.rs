//! An event's members as places in its text: parsed once, without a tree.

use std::borrow::Cow;

use serde_json::value::RawValue;

/// One member of a JSON object, as it stands in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Member<'a> {
    /// The name, with its quotes and escapes.
    pub(super) quoted_name: &'a str,
    /// The text of the value.
    pub(super) value: &'a str,
    /// Whether the value is one that is never written in another way: no object or array, and no string with escapes.
    pub(super) is_plain: bool,
}

impl<'a> Member<'a> {
    /// The name as it may stand in a column's name: one that targets would stop at is its JSON text.
    pub(super) fn column_name(&self) -> Cow<'a, str> {
        let name = self.name();
        if name.contains('\0') { Cow::Borrowed(self.quoted_name) } else { name }
    }

    /// The name, without quotes and escapes. A name that is not Unicode (it has half a surrogate pair) is its JSON text.
    pub(super) fn name(&self) -> Cow<'a, str> {
        let bare = &self.quoted_name[1..self.quoted_name.len() - 1];
        if bare.contains('\\') { unescape(self.quoted_name) } else { Cow::Borrowed(bare) }
    }
}

/// What a quoted JSON string says; one that is not Unicode says its own JSON text.
pub(super) fn unescape(quoted: &str) -> Cow<'_, str> {
    serde_json::from_str::<String>(quoted).map_or(Cow::Borrowed(quoted), Cow::Owned)
}

/// Text as a JSON string.
pub(super) fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("text is JSON")
}

/// Where a member stands in the text of its object. It outlives the text's borrow, so that members can be handed on to
/// another thread, and the memory for them used again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    name: (u32, u32),
    value: (u32, u32),
    is_plain: bool,
}

/// The members of an object, in their order, repeated names included.
#[derive(Debug, Clone, Copy)]
pub(super) struct Members<'a, 's> {
    text: &'a str,
    spans: &'s [Span],
}

impl<'a, 's> Members<'a, 's> {
    /// The members of the object `text`, which stand at `spans`.
    pub(super) fn of(text: &'a str, spans: &'s [Span]) -> Self {
        Members { text, spans }
    }

    /// How many there are.
    pub(super) fn len(self) -> usize {
        self.spans.len()
    }

    /// Member number `number`, counted from 0.
    #[inline]
    pub(super) fn get(self, number: usize) -> Member<'a> {
        self.at(&self.spans[number])
    }

    /// Each of them.
    pub(super) fn iter(self) -> impl DoubleEndedIterator<Item = Member<'a>> + ExactSizeIterator {
        self.spans.iter().map(move |span| self.at(span))
    }

    #[inline]
    fn at(self, span: &Span) -> Member<'a> {
        let part = |(start, end): (u32, u32)| &self.text[start as usize..end as usize];
        Member { quoted_name: part(span.name), value: part(span.value), is_plain: span.is_plain }
    }
}

/// Where the members of the object that `text` is stand in it. None if it is no object.
pub(super) fn of_object(text: &str) -> Option<Vec<Span>> {
    // Room for all of Mailjet's fields.
    let mut spans = Vec::with_capacity(24);
    find_members(text, &mut spans).then_some(spans)
}

/// The elements of the array that `text` is.
pub(super) fn of_array(text: &str) -> serde_json::Result<Vec<&RawValue>> {
    serde_json::from_str(text)
}

/// Appends where the members of the object that `text` is stand in it. If it is no object, it says so, and appends nothing.
pub(super) fn find_members(text: &str, spans: &mut Vec<Span>) -> bool {
    let before = spans.len();
    // A place is 32 bits. No event is that long: SQLite keeps a gigabyte in a row.
    let is_object = u32::try_from(text.len()).is_ok() && Scanner { text, at: 0 }.object(spans).is_some();
    if !is_object {
        spans.truncate(before);
    }
    is_object
}

/// Goes through the text of an object. Objects and arrays within it are left to `serde_json`.
///
/// Its own, since this is most of what there is to be done for an event that goes into its columns as it is: `serde_json`
/// takes half as long again for it as all the rest together.
struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl Scanner<'_> {
    /// The whole text, an object with nothing but space around it.
    fn object(mut self, spans: &mut Vec<Span>) -> Option<()> {
        self.space();
        self.expect(b'{')?;
        self.space();
        if self.next() == Some(b'}') {
            self.at += 1;
        } else {
            loop {
                let (name, _) = self.part(Self::string)?;
                self.space();
                self.expect(b':')?;
                self.space();
                let (value, is_plain) = self.part(Self::value)?;
                spans.push(Span { name, value, is_plain });
                self.space();
                let end = self.next()?;
                self.at += 1;
                match end {
                    b',' => self.space(),
                    b'}' => break,
                    _ => return None,
                }
            }
        }
        self.space();
        (self.at == self.text.len()).then_some(())
    }

    fn next(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then(|| self.at += 1)
    }

    fn space(&mut self) {
        while matches!(self.next(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Where what `read` goes through stands, and what it says of it.
    fn part<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<((u32, u32), T)> {
        let place = |at| u32::try_from(at).ok();
        let start = self.at;
        let said = read(self)?;
        Some(((place(start)?, place(self.at)?), said))
    }

    /// Goes through a value, and says whether it is plain.
    fn value(&mut self) -> Option<bool> {
        match self.next()? {
            b'"' => self.string(),
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
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
        let is_there = self.text[self.at..].starts_with(word);
        is_there.then(|| self.at += word.len())?;
        Some(true)
    }

    fn number(&mut self) -> Option<bool> {
        if self.next() == Some(b'-') {
            self.at += 1;
        }
        match self.next()? {
            b'0' => self.at += 1,
            _ => self.digits()?,
        }
        if self.next() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.next(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.next(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Some(true)
    }

    /// Goes through digits, of which there has to be one.
    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.next().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    /// Goes through a string, and says whether it is free of escapes.
    fn string(&mut self) -> Option<bool> {
        self.expect(b'"')?;
        let mut is_plain = true;
        loop {
            self.at = end_of_run(self.text.as_bytes(), self.at)?;
            match self.next()? {
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

/// Where, from `at` on, the next byte stands that does not simply stand for itself in a string: a quote, a backslash or a
/// control character. Eight bytes are looked at in one go.
fn end_of_run(bytes: &[u8], mut at: usize) -> Option<usize> {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // The highest bit of each byte that is 0. A byte above such a one can be marked too; the lowest mark is true.
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
    let ends = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    bytes.get(at..)?.iter().position(ends).map(|offset| at + offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_slices_of_the_text() {
        let text = r#" { "a" : 1.10, "\u0062" : {"x": [1, 2]}, "a": null, "\ud800": "", "c":"\n" } "#;
        let spans = of_object(text).expect("an object");
        let members = Members::of(text, &spans).iter();
        let named: Vec<_> = members.map(|member| (member.name(), member.value, member.is_plain)).collect();
        let expected = [
            ("a", "1.10", true),
            ("b", r#"{"x": [1, 2]}"#, false),
            ("a", "null", true),
            (r#""\ud800""#, r#""""#, true),
            ("c", r#""\n""#, false),
        ];
        assert_eq!(named, expected.map(|(name, value, is_plain)| (Cow::Borrowed(name), value, is_plain)));
        assert!(of_object("[]").is_none());
    }

    /// Every member of an object by `serde_json`, as pairs of texts.
    fn by_serde(text: &str) -> Option<Vec<(String, String)>> {
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

    /// Whatever byte of an object is another, and wherever it ends: it is an object for both, or for none.
    #[test]
    fn what_is_an_object_is_what_serde_json_says() {
        let objects = [
            r#"{"event":"open","time":1433103519,"n":-0.5e+10,"z":0,"b":true,"f":false,"x":null,"long":"0123456789abcdef é 😀"}"#,
            "{ \"a\\u0041\\n\\\\\" : [1, {\"b\": \"\\ud800\"}] ,\t\"c\":{}\r\n, \"c\" : \"\\\"\\/\" } ",
            "{}",
            r#"{"n":12.34,"m":1E5}"#,
        ];
        let bytes = b"\"\\{}[]:, \n\t\x00\x1f\x7f-+.eE019utrfnx/";
        let check = |text: &str| {
            let own = of_object(text).map(|spans| {
                let members = Members::of(text, &spans).iter();
                members
                    .map(|member| (member.quoted_name.to_owned(), member.value.to_owned()))
                    .collect::<Vec<_>>()
            });
            assert_eq!(own, by_serde(text), "{text:?}");
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
