//! What is left of a body that is not one JSON document: whole events around a broken part.
//!
//! One bad byte must not cost the other events of a group. So this reads several documents in a row, and
//! decides about each document, and each element of an array, by itself:
//!
//! - An object that is JSON is an event. So is one that becomes JSON once a raw control character within a
//!   string is escaped and a byte that is not UTF-8 is read as U+FFFD. In the latter case, the original bytes
//!   become a rejected item as well.
//! - An object that is closed but not JSON is rejected, and what follows is read on.
//! - Where something is never closed, it is not clear what belongs to it. It is rejected to the end of the
//!   body, or to the next line that starts a document.
//!
//! It takes a few passes over each byte, never recurses, and keeps every byte that is not a separator.

use std::borrow::Cow;
use std::ops::Range;

use catalog::byte_order_mark::BYTE_ORDER_MARK;
use serde_json::value::RawValue;

use super::foreign_format::name_format;
use super::refusal::Refusal;
use super::split::{Builder, NOT_AN_OBJECT};

const NOT_UTF8: &str = "the event holds bytes that are not UTF-8, which are read as U+FFFD. The event is \
                        accepted, and this is its original";
const NO_EVENT: &str = "the body is JSON, but neither an object nor an array of objects";
const BREAKS_OFF: &str = "the array breaks off before its end";

/// Adds everything that `body` holds to `found`.
pub(super) fn salvage(body: &[u8], found: &mut Builder<'_>) -> Result<(), Refusal> {
    let mut documents = Salvage { body, at: 0, is_by_line: false, found };
    documents.skip_space_and(b"");
    let starts_as_json = match documents.peek() {
        Some(b'{' | b'[') => true,
        // A form may begin as a number or a word does: with a hyphen, or with a field called `number`.
        Some(b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => name_format(body).is_none(),
        _ => false,
    };
    if !starts_as_json {
        return documents.reject_rest(not_json(body));
    }
    while let Some(first) = documents.peek() {
        if first == b'[' {
            documents.read_array()?;
        } else {
            documents.read_value(Place::Document)?;
        }
        documents.skip_space_and(b",");
    }
    Ok(())
}

/// Where a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In the body itself.
    Document,
    /// In an array.
    Element,
}

struct Salvage<'a, 'f, 'b> {
    body: &'a [u8],
    at: usize,
    /// Whether each document ends with its line: one was never closed, and to look for the end of each of the
    /// others to the end of the body would take forever.
    is_by_line: bool,
    found: &'f mut Builder<'b>,
}

impl Salvage<'_, '_, '_> {
    fn peek(&self) -> Option<u8> {
        self.body.get(self.at).copied()
    }

    /// Skips space, byte order marks and the bytes in `separators`.
    fn skip_space_and(&mut self, separators: &[u8]) {
        while let Some(byte) = self.peek() {
            if byte.is_ascii_whitespace() || separators.contains(&byte) {
                self.at += 1;
            } else if self.body[self.at..].starts_with(BYTE_ORDER_MARK) {
                self.at += BYTE_ORDER_MARK.len();
            } else {
                break;
            }
        }
    }

    fn read_array(&mut self) -> Result<(), Refusal> {
        self.at += 1;
        loop {
            let before = self.at;
            self.skip_space_and(b",");
            match self.peek() {
                Some(b']') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(_) => self.read_value(Place::Element)?,
                // Whole elements may be missing, so this is said even if only a comma is left.
                None => return self.found.reject(before..self.body.len(), BREAKS_OFF.into()),
            }
        }
    }

    /// Reads a value that is not an array of events.
    fn read_value(&mut self, place: Place) -> Result<(), Refusal> {
        let start = self.at;
        let limit = if self.is_by_line { end_of_line(self.body, start) } else { self.body.len() };
        let Some(end) = end_of_value(&self.body[..limit], start) else {
            return self.reject_unclosed(place);
        };
        self.at = end;
        let text = &self.body[start..end];
        if text[0] == b'{' {
            return self.read_object(text, start..end);
        }
        let reason = match (is_json(text), place) {
            (true, Place::Element) => NOT_AN_OBJECT.into(),
            (true, Place::Document) => NO_EVENT.into(),
            (false, _) => format!("it is not JSON: {}", json_error(text)).into(),
        };
        self.found.reject(start..end, reason)
    }

    /// Rejects a value that is never closed, to the end of the body or to the next line of JSON Lines.
    fn reject_unclosed(&mut self, place: Place) -> Result<(), Refusal> {
        let start = self.at;
        let next = (place == Place::Document).then(|| next_line_of_json(self.body, start)).flatten();
        self.is_by_line = next.is_some();
        self.at = next.unwrap_or(self.body.len());
        let reason = match self.body[start..self.at].trim_ascii() {
            whole if whole.len() == self.body.trim_ascii().len() => not_json(self.body),
            part => format!("it is never closed: {}", json_error(part)).into(),
        };
        self.found.reject(start..self.at, reason)
    }

    fn read_object(&mut self, text: &[u8], range: Range<usize>) -> Result<(), Refusal> {
        if is_json(text) {
            return self.found.add_event(text, range);
        }
        let repaired = repair(text);
        if !is_json(&repaired) {
            return self.found.reject(range, format!("it is not JSON: {}", json_error(text)).into());
        }
        self.found.add_event(&repaired, range.clone())?;
        if str::from_utf8(text).is_err() { self.found.keep_original(range, NOT_UTF8.into()) } else { Ok(()) }
    }

    fn reject_rest(&mut self, reason: Cow<'static, str>) -> Result<(), Refusal> {
        let rest = self.at..self.body.len();
        self.at = self.body.len();
        self.found.reject(rest, reason)
    }
}

fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<&RawValue>(text).is_ok()
}

fn json_error(text: &[u8]) -> String {
    match serde_json::from_slice::<&RawValue>(text) {
        Ok(_) => "unexpected text".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// Says why a body is not JSON.
fn not_json(body: &[u8]) -> Cow<'static, str> {
    match name_format(body) {
        Some(format) => format!("the body is not JSON: it looks like {format}").into(),
        None => format!("the body is not JSON: {}", json_error(body)).into(),
    }
}

/// Returns the end of the value that starts at `start`, by its brackets and quotes alone; `None` if it is
/// never closed.
fn end_of_value(body: &[u8], start: usize) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = start;
    loop {
        match *body.get(at)? {
            b'"' => at = end_of_string(body, at)? - 1,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ if depth == 0 => {
                // A number, a word, or anything else up to what could separate it from the next value.
                let is_end = |byte: &u8| byte.is_ascii_whitespace() || b",[]{}\"".contains(byte);
                let rest = &body[at..];
                return Some(at + rest.iter().position(is_end).unwrap_or(rest.len()));
            }
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
}

/// Returns the end of the string that starts at `start`.
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

/// Returns where the line that holds `at` ends.
fn end_of_line(body: &[u8], at: usize) -> usize {
    memchr::memchr(b'\n', &body[at..]).map_or(body.len(), |length| at + length)
}

/// Returns the start of the next line that begins with a bracket.
fn next_line_of_json(body: &[u8], after: usize) -> Option<usize> {
    let breaks = memchr::memchr_iter(b'\n', &body[after..]).map(|at| after + at + 1);
    let mut starts = breaks.filter(|at| matches!(body.get(*at), Some(b'{' | b'[')));
    starts.next()
}

/// Escapes control characters within strings, and reads bytes that are not UTF-8 as U+FFFD.
fn repair(text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    let mut repaired = Vec::with_capacity(text.len());
    let (mut is_string, mut is_escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            0..0x20 if is_string => {
                if is_escaped {
                    // A backslash before a raw line break stands for the line break.
                    repaired.pop();
                }
                repaired.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
                is_escaped = false;
                continue;
            }
            b'"' if !is_escaped => is_string = !is_string,
            _ => {}
        }
        is_escaped = is_string && byte == b'\\' && !is_escaped;
        repaired.push(byte);
    }
    repaired
}
