//! An object's members as places in its text: read once, without a tree.

use std::borrow::Cow;

use serde_json::value::RawValue;

/// One member of a JSON object, as it stands in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member<'a> {
    /// The name, with its quotes and escapes.
    pub quoted_name: &'a str,
    /// The text of the value.
    pub value: &'a str,
    /// Whether the value is one that is never written in another way: no object or array, and no string with escapes.
    pub is_plain: bool,
}

impl<'a> Member<'a> {
    /// The name as it may stand in a column's name: one that targets would stop at is its JSON text.
    #[must_use]
    pub fn column_name(&self) -> Cow<'a, str> {
        let name = self.name();
        if name.contains('\0') { Cow::Borrowed(self.quoted_name) } else { name }
    }

    /// The name, without quotes and escapes. A name that is not Unicode (it has half a surrogate pair) is its JSON text.
    #[must_use]
    pub fn name(&self) -> Cow<'a, str> {
        let bare = &self.quoted_name[1..self.quoted_name.len() - 1];
        if bare.contains('\\') { unescape(self.quoted_name) } else { Cow::Borrowed(bare) }
    }
}

/// What a quoted JSON string says; one that is not Unicode says its own JSON text.
fn unescape(quoted: &str) -> Cow<'_, str> {
    serde_json::from_str::<String>(quoted).map_or(Cow::Borrowed(quoted), Cow::Owned)
}

/// Text as a JSON string.
#[must_use]
pub fn json_string(text: &str) -> String {
    serde_json::to_string(text).expect("text is JSON")
}

/// Where a member stands in the text of its object. It outlives the text's borrow, so that members can be handed on to
/// another thread, and the memory for them used again.
#[derive(Debug, Clone, Copy)]
pub struct MemberSpan {
    name: (u32, u32),
    value: (u32, u32),
    is_plain: bool,
}

/// The members of an object, in their order, repeated names included.
#[derive(Debug, Clone, Copy)]
pub struct Members<'a, 's> {
    text: &'a str,
    spans: &'s [MemberSpan],
}

impl<'a, 's> Members<'a, 's> {
    /// The members of the object `text`, which stand at `spans`.
    #[must_use]
    pub fn new(text: &'a str, spans: &'s [MemberSpan]) -> Self {
        Members { text, spans }
    }

    /// How many there are.
    #[must_use]
    pub fn len(self) -> usize {
        self.spans.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.spans.is_empty()
    }

    /// Member number `number`, counted from 0.
    #[inline]
    #[must_use]
    pub fn get(self, number: usize) -> Member<'a> {
        self.at(&self.spans[number])
    }

    /// Each of them.
    #[must_use]
    pub fn iter(self) -> impl DoubleEndedIterator<Item = Member<'a>> + ExactSizeIterator {
        self.spans.iter().map(move |span| self.at(span))
    }

    #[inline]
    fn at(self, span: &MemberSpan) -> Member<'a> {
        let part = |(start, end): (u32, u32)| &self.text[start as usize..end as usize];
        Member { quoted_name: part(span.name), value: part(span.value), is_plain: span.is_plain }
    }
}

/// Where the members of the object that `text` is stand in it. None if it is no object.
#[must_use]
pub fn parse_object(text: &str) -> Option<Vec<MemberSpan>> {
    // Room for all of Mailjet's fields.
    let mut spans = Vec::with_capacity(24);
    parse_object_into(text, &mut spans).then_some(spans)
}

/// The elements of the array that `text` is.
pub fn parse_array(text: &str) -> serde_json::Result<Vec<&RawValue>> {
    serde_json::from_str(text)
}

/// Appends where the members of the object that `text` is stand in it. If it is no object, it says so, and appends nothing.
pub fn parse_object_into(text: &str, spans: &mut Vec<MemberSpan>) -> bool {
    let before = spans.len();
    let is_object = Scanner::of(text).is_some_and(|scanner| scanner.whole(spans, None).is_some());
    if !is_object {
        spans.truncate(before);
    }
    is_object
}

/// Where the members of the object that `text` is stand in it, and where in `text` those of its member `name` do, if that
/// is an object: both in one go. None if `text` is no object.
#[must_use]
pub fn parse_object_and_member(text: &str, name: &str) -> Option<(Vec<MemberSpan>, Vec<MemberSpan>)> {
    let (mut outer, mut inner) = (Vec::with_capacity(8), Vec::with_capacity(40));
    Scanner::of(text)?.whole(&mut outer, Some((name, &mut inner)))?;
    Some((outer, inner))
}

/// Levels of nesting that are gone through here. What lies deeper is left to `serde_json`, which needs no stack for it.
const DEPTH: usize = 32;

/// Goes through the text of an object.
///
/// Its own, since reading is most of what there is to be done for a row that is copied as it is.
struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    /// One for `text`. A place in it is 32 bits, which is enough: SQLite keeps no more than a gigabyte in a row.
    fn of(text: &'a str) -> Option<Self> {
        u32::try_from(text.len()).is_ok().then_some(Scanner { text, at: 0 })
    }

    /// Goes through the whole text, an object with nothing but space around it. If a member has the name that is asked for,
    /// and is an object, its members are appended to what stands beside the name.
    fn whole(
        mut self,
        spans: &mut Vec<MemberSpan>,
        mut asked: Option<(&str, &mut Vec<MemberSpan>)>,
    ) -> Option<()> {
        self.space();
        self.expect(b'{')?;
        self.parts(b'}', |scanner| {
            let span = scanner.member(|scanner, quoted_name| match &mut asked {
                Some((name, inner))
                    if scanner.next() == Some(b'{') && quoted_name[1..quoted_name.len() - 1] == **name =>
                {
                    inner.clear();
                    scanner.object(DEPTH, &mut |span| inner.push(span)).map(|()| false)
                }
                _ => scanner.value(DEPTH),
            })?;
            spans.push(span);
            Some(())
        })?;
        self.space();
        (self.at == self.text.len()).then_some(())
    }

    /// Goes through an object, and shows its members to `see`.
    fn object(&mut self, depth: usize, see: &mut dyn FnMut(MemberSpan)) -> Option<()> {
        self.expect(b'{')?;
        self.parts(b'}', |scanner| {
            see(scanner.member(|scanner, _| scanner.value(depth))?);
            Some(())
        })
    }

    /// Goes through a member, whose value `read` goes through.
    #[inline]
    fn member(&mut self, read: impl FnOnce(&mut Self, &str) -> Option<bool>) -> Option<MemberSpan> {
        let start = self.at;
        let (name, _) = self.part(Self::string)?;
        let quoted_name = &self.text[start..self.at];
        self.space();
        self.expect(b':')?;
        self.space();
        let (value, is_plain) = self.part(|scanner| read(scanner, quoted_name))?;
        Some(MemberSpan { name, value, is_plain })
    }

    /// Goes through what lies between commas, up to the end of an object or array.
    fn parts(&mut self, end: u8, mut each: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.space();
        if self.next()? == end {
            self.at += 1;
            return Some(());
        }
        loop {
            each(self)?;
            self.space();
            let next = self.next()?;
            self.at += 1;
            if next == end {
                return Some(());
            }
            if next != b',' {
                return None;
            }
            self.space();
        }
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
    fn value(&mut self, depth: usize) -> Option<bool> {
        match self.next()? {
            b'"' => self.string(),
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            b'{' if depth > 0 => self.object(depth - 1, &mut |_| ()).map(|()| false),
            b'[' if depth > 0 => {
                self.at += 1;
                self.parts(b']', |scanner| scanner.value(depth - 1).map(drop)).map(|()| false)
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
            &format!("{{\"d\":{}1{}}}", r#"[{"":"#.repeat(20), "}]".repeat(20)),
        ];
        let bytes = b"\"\\{}[]:, \n\t\x00\x1f\x7f-+.eE019utrfnx/";
        let check = |text: &str| {
            let own = parse_object(text).map(|spans| {
                let members = Members::new(text, &spans).iter();
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
