//! What is left of a body that is not one JSON document: whole events around a broken part.
//!
//! One bad byte must not cost the other events of a group. So this reads several documents in a row, and
//! decides about each document, and each element of an array, by itself:
//!
//! - An object that is JSON is an event. So is one that becomes JSON once it is [repaired](super::repair). If
//!   it holds bytes that are not UTF-8, the original bytes become a rejected item as well.
//! - Whatever else has an end is rejected, and what follows is read on.
//! - Where a bracket or a quotation mark is missing, it is not clear what belongs to a value. It is
//!   rejected up to where the next one seems to begin; see [`Salvage::end_of_broken`].
//!
//! If nothing in a body is an event, the body is rejected whole. Its bytes are read a bounded number of
//! times, and every byte is kept that is not a separator.

use std::ops::Range;

use catalog::byte_order_mark::{BYTE_ORDER_MARK, without_byte_order_mark};
use memchr::memmem;
use serde_json::value::RawValue;

use super::foreign_format::name_format;
use super::refusal::Refusal;
use super::scanner::{Scanner, skip_space};
use super::split::{Builder, NOT_AN_OBJECT};

const NOT_UTF8: &str = "the event holds bytes that are not UTF-8, which are read as U+FFFD. The event is \
                        accepted, and this is its original";
const NO_EVENT: &str = "the body is JSON, but neither an object nor an array of objects";
const TOO_BROKEN: &str = "so much before it is broken that the rest of the body was not searched for events";
/// How often each byte may be read in search of the end of broken values, on average. In a group of events,
/// each broken one costs a few kilobytes; only a hostile body needs more.
const READINGS: usize = 6;
/// How far the brackets of a broken value are followed before the next value is looked for.
const NEAR_BYTES: usize = 4 << 10;

/// Adds everything that `body` holds to `found`.
pub(super) fn salvage(body: &[u8], found: &mut Builder<'_>) -> Result<(), Refusal> {
    if let Some(format) = name_format(without_byte_order_mark(body)) {
        return found.reject_body(format!("the body is not JSON: it looks like {format}").into());
    }
    let work_left = body.len().saturating_mul(READINGS);
    let mut salvage = Salvage { body, at: 0, is_in_array: false, work_left, found };
    salvage.read()?;
    if salvage.found.has_events() {
        return Ok(());
    }
    let reason = match parse(body) {
        Ok(()) => NO_EVENT.into(),
        Err(error) => format!("the body is not JSON: {error}").into(),
    };
    found.reject_body(reason)
}

struct Salvage<'a, 'f, 'b> {
    body: &'a [u8],
    at: usize,
    /// Whether the values are the elements of an array, rather than documents.
    is_in_array: bool,
    /// How many more bytes may be read in search of the end of broken values.
    work_left: usize,
    found: &'f mut Builder<'b>,
}

/// A value that is not whole.
#[derive(Debug, Clone, Copy)]
struct Broken {
    start: usize,
    /// The first token that JSON does not allow where it is, or the end of the body.
    stuck_at: usize,
}

impl Salvage<'_, '_, '_> {
    fn read(&mut self) -> Result<(), Refusal> {
        loop {
            let before = self.at;
            self.skip_separators();
            match self.body.get(self.at) {
                Some(b'[') if !self.is_in_array => {
                    self.at += 1;
                    self.is_in_array = true;
                }
                Some(b']') if self.is_in_array => {
                    self.at += 1;
                    self.is_in_array = false;
                }
                Some(_) => self.read_value()?,
                // Whole elements may be missing, so this is said even if only a comma is left.
                None if self.is_in_array => return self.found.break_off(before..self.body.len()),
                None => return Ok(()),
            }
        }
    }

    /// Skips space, commas and byte order marks.
    fn skip_separators(&mut self) {
        while let Some(byte) = self.body.get(self.at) {
            if byte.is_ascii_whitespace() || *byte == b',' {
                self.at += 1;
            } else if self.body[self.at..].starts_with(BYTE_ORDER_MARK) {
                self.at += BYTE_ORDER_MARK.len();
            } else {
                break;
            }
        }
    }

    /// Reads a document that is not an array, or an element of an array.
    fn read_value(&mut self) -> Result<(), Refusal> {
        let start = self.at;
        if matches!(self.body[start], b'}' | b']' | b':') {
            self.at += 1;
            return self.reject_text(start..self.at);
        }
        match self.end_of_whole(start) {
            Ok(end) => {
                self.at = end;
                self.read_whole(start..end)
            }
            Err(broken) => {
                let end = self.end_of_broken(broken);
                self.at = end.unwrap_or(self.body.len());
                let range = start..start + without_separator(&self.body[start..self.at]).len();
                match end {
                    None if self.work_left == 0 => self.found.reject_text(range, || TOO_BROKEN.into()),
                    _ => self.reject_text(range),
                }
            }
        }
    }

    fn read_whole(&mut self, range: Range<usize>) -> Result<(), Refusal> {
        let text = &self.body[range.clone()];
        if text[0] == b'{' {
            return self.read_object(text, range);
        }
        match parse(text) {
            Ok(()) if self.is_in_array => self.found.reject(range, NOT_AN_OBJECT.into()),
            Ok(()) => self.found.reject(range, NO_EVENT.into()),
            Err(_) => self.reject_text(range),
        }
    }

    fn read_object(&mut self, text: &[u8], range: Range<usize>) -> Result<(), Refusal> {
        if parse(text).is_ok() {
            return self.found.add_event(text, range);
        }
        let is_repaired = self.found.add_repaired(range.clone(), |repaired| parse(repaired).is_ok())?;
        match str::from_utf8(text) {
            _ if !is_repaired => self.reject_text(range),
            Ok(_) => Ok(()),
            Err(_) => self.found.keep_original(range, NOT_UTF8.into()),
        }
    }

    fn reject_text(&mut self, range: Range<usize>) -> Result<(), Refusal> {
        let text = &self.body[range.clone()];
        self.found.reject_text(range, || match parse(text) {
            Ok(()) => "there is more of it than the tap repairs".into(),
            Err(error) => format!("it is not JSON: {error}").into(),
        })
    }

    /// Returns the end of the value that starts at `start`, if each of its tokens is where JSON allows it.
    fn end_of_whole(&mut self, start: usize) -> Result<usize, Broken> {
        let mut scanner = Scanner::new(self.body, start);
        let stuck_at = loop {
            match scanner.next_token() {
                Some(token) if !token.is_allowed => break token.start,
                Some(_) if scanner.is_at_end() => return Ok(scanner.position()),
                Some(_) => {}
                None => break scanner.position(),
            }
        };
        self.work_left = self.work_left.saturating_sub(scanner.position() - start);
        Err(Broken { start, stuck_at })
    }

    /// Returns where a broken value ends, by the first of these:
    ///
    /// - Its brackets close, and what follows could follow a value.
    /// - A whole object begins a line, or stands where no object can be within the value. This is the next
    ///   one if a brace is missing.
    /// - A whole object with a field `event` comes after a comma or a bracket. This is the next one if a
    ///   quotation mark is missing: the rest of the body then looks like the inside of strings. The field
    ///   tells it from objects that are elements of an array in the broken value.
    ///
    /// `None` if there is no such place, or no work left.
    fn end_of_broken(&mut self, broken: Broken) -> Option<usize> {
        let Broken { start, stuck_at } = broken;
        // Up to here, its brackets cannot close.
        if let Some(next) = self.next_object(start + 1..stuck_at + 1, broken) {
            return Some(next);
        }
        let all = self.body.len();
        let closed = self.end_by_brackets(start, all.min(start + NEAR_BYTES));
        let end = match (closed, self.next_object(stuck_at + 1..closed.unwrap_or(all), broken)) {
            (None, Some(next)) => Some(self.end_by_brackets(start, next).unwrap_or(next)),
            (None, None) => self.end_by_brackets(start, all),
            (closed, next) => next.or(closed),
        };
        end.filter(|_| self.work_left > 0)
    }

    /// Returns the first object that starts in `range` and is the next value after the broken one.
    fn next_object(&mut self, range: Range<usize>, broken: Broken) -> Option<usize> {
        let end = range.end.min(self.body.len());
        let mut at = range.start;
        while self.work_left > 0 && at < end {
            let distance = memchr::memchr(b'{', &self.body[at..end])?;
            self.work_left = self.work_left.saturating_sub(distance);
            let start = at + distance;
            if self.is_next_object(start, broken) {
                return Some(start);
            }
            at = start + 1;
        }
        None
    }

    /// Returns where the brackets of a value close, if that is before `limit`.
    fn end_by_brackets(&mut self, start: usize, limit: usize) -> Option<usize> {
        let limit = limit.min(start.saturating_add(self.work_left));
        let mut scanner = Scanner::new(self.body, start);
        let end = loop {
            match scanner.next_token() {
                _ if scanner.position() > limit => break None,
                Some(_) if scanner.is_at_end() => break Some(scanner.position()),
                Some(_) => {}
                // The end of the body, or of the array around the value.
                None => break self.is_in_array.then_some(scanner.position()),
            }
        };
        self.work_left = self.work_left.saturating_sub(scanner.position() - start);
        end.filter(|end| self.may_end_at(*end))
    }

    /// Whether what follows could follow a value: not a field of the same object, for example.
    fn may_end_at(&self, end: usize) -> bool {
        let next = skip_space(self.body, end);
        match self.body.get(next) {
            None | Some(b'{' | b'[') => true,
            Some(b']') => self.is_in_array,
            Some(b',') => !matches!(self.body.get(skip_space(self.body, next + 1)), Some(b'"' | b'}')),
            Some(_) => self.body[end..next].contains(&b'\n'),
        }
    }

    /// Whether the object that starts at `start` is the next value after the broken one.
    fn is_next_object(&mut self, start: usize, broken: Broken) -> bool {
        let before = &self.body[..start];
        let is_sure = start == broken.stuck_at || before.ends_with(b"\n");
        if !is_sure && !matches!(before.trim_ascii_end().last(), Some(b',' | b'[' | b']' | b'}')) {
            return false;
        }
        let Ok(end) = self.end_of_whole(start) else { return false };
        let text = &self.body[start..end];
        self.work_left = self.work_left.saturating_sub(text.len());
        (is_sure || memmem::find(text, b"\"event\"").is_some()) && self.may_end_at(end)
    }
}

/// Removes space at the end, and the comma before it.
fn without_separator(text: &[u8]) -> &[u8] {
    let text = text.trim_ascii_end();
    text.strip_suffix(b",").unwrap_or(text)
}

/// Whether a text is JSON.
fn parse(text: &[u8]) -> serde_json::Result<()> {
    serde_json::from_slice::<&RawValue>(text).map(|_| ())
}
