//! The items that arrived last: how far each has got, and the row that it becomes.

use std::ops::ControlFlow;
use std::sync::Arc;

use askama::Template;
use catalog::event::EventType;
use catalog::members;
use catalog::stream::StreamId;
use serde_json::value::RawValue;
use warp::http::StatusCode;

use super::response::Answer;
use super::view::Frame;
use super::wording::{day, number, time_of_day};
use super::{Context, blocking, failed};
use crate::emitter::DryRun;
use crate::listener::EventCounts;
use crate::os::clock::UnixMillis;
use crate::spool::{EventReader, ItemKind, Sequence, SpoolError, SpoolStats, StoredItem};

/// The most items that are searched for those to show.
const MAX_SEARCHED: u32 = 10_000;
/// The most bytes that are searched. An item may have megabytes, and the page refreshes itself.
const MAX_SEARCHED_BYTES: usize = 8 << 20;
/// The most items that are shown.
pub(super) const MAX_SHOWN: usize = 100;
/// How many are shown at first.
pub(super) const FIRST_SHOWN: usize = 25;
/// The length to which a text in the list is cut.
const MAX_GIST_CHARS: usize = 120;
/// The length to which a body is cut on the page of its item.
const MAX_BODY_CHARS: usize = 64 << 10;
/// The length to which a value is cut there.
const MAX_VALUE_CHARS: usize = 2_000;

/// Stands for the time at which a row is written, which is not known here. No item has this time.
const NOT_WRITTEN: UnixMillis = UnixMillis::new(-1);

/// Which items are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filter {
    All,
    /// Events of this type, or of a type that Mailjet does not document ("other").
    Type(&'static str),
    Rejected,
}

impl Filter {
    /// Reads the parameters `type` and `rejected` of an address.
    pub(super) fn parse(event_type: Option<&str>, rejected: Option<&str>) -> Self {
        let known = |wanted| EventCounts::names().into_iter().find(|name| Some(*name) == wanted);
        match (rejected, known(event_type)) {
            (Some("1"), _) => Filter::Rejected,
            (_, Some(name)) => Filter::Type(name),
            (_, None) => Filter::All,
        }
    }
}

/// An item in the list.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) sequence: i64,
    pub(super) time: String,
    pub(super) time_iso: String,
    pub(super) progress: &'static str,
    pub(super) progress_class: &'static str,
    /// The type of the event, or "rejected". A type that Mailjet does not document is "other".
    pub(super) kind: &'static str,
    pub(super) email: Vec<Piece>,
    /// Its most informative field, such as the error or the URL; the reason of a rejected item.
    pub(super) gist: Vec<Piece>,
}

/// The newest items that fit a filter.
#[derive(Debug, Default)]
pub(super) struct Newest {
    pub(super) items: Vec<Item>,
    /// Whether the search ended at [`MAX_SEARCHED_BYTES`].
    pub(super) is_cut: bool,
}

/// A part of a text from outside: as it is, or the code of a character that would change how text reads.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) text: String,
    pub(super) is_code: bool,
}

/// Whether a character is shown by its code: controls, and what is invisible or changes how text reads.
pub(super) fn is_hidden(c: char) -> bool {
    (c.is_control() && c != '\n')
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}')
        || matches!(c, '\u{061c}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

/// Splits a text into what is shown as it is, and the codes of hidden characters.
pub(super) fn pieces(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    for c in text.chars() {
        if !is_hidden(c) {
            plain.push(c);
            continue;
        }
        if !plain.is_empty() {
            pieces.push(Piece { text: std::mem::take(&mut plain), is_code: false });
        }
        pieces.push(Piece { text: format!("U+{:04X}", u32::from(c)), is_code: true });
    }
    if !plain.is_empty() {
        pieces.push(Piece { text: plain, is_code: false });
    }
    pieces
}

fn shortened(text: &str) -> Vec<Piece> {
    pieces(&text.chars().take(MAX_GIST_CHARS).collect::<String>())
}

/// Returns a value, or its beginning and its length.
fn cut(value: &str) -> Vec<Piece> {
    let length = value.chars().count();
    if length <= MAX_VALUE_CHARS {
        return pieces(value);
    }
    let start: String = value.chars().take(MAX_VALUE_CHARS).collect();
    pieces(&format!("{start}… ({} characters)", number(length as u64)))
}

/// How far an item has got.
fn progress(sequence: Sequence, stats: Option<&SpoolStats>) -> (&'static str, &'static str) {
    let reaches = |position: Option<Sequence>| position.is_some_and(|position| position >= sequence);
    match stats {
        Some(stats) if reaches(stats.confirmed_through) => ("confirmed", "confirmed"),
        Some(stats) if reaches(stats.written_through) => ("written", "written"),
        _ => ("on disk", "disk"),
    }
}

/// Reads the newest items that fit the filter, the newest first.
pub(super) fn newest(
    reader: &mut dyn EventReader,
    filter: Filter,
    stats: Option<&SpoolStats>,
) -> Result<Newest, SpoolError> {
    let (mut items, mut is_cut) = (Vec::new(), false);
    for kind in ItemKind::ALL {
        if (kind == ItemKind::Event && filter == Filter::Rejected)
            || (kind == ItemKind::Rejected && matches!(filter, Filter::Type(_)))
        {
            continue;
        }
        let before = items.len();
        let mut left = MAX_SEARCHED_BYTES;
        reader.read_newest(kind, Sequence::END, MAX_SEARCHED, &mut |item| {
            let Some(rest) = left.checked_sub(item.body.len()) else {
                is_cut = true;
                return ControlFlow::Break(());
            };
            left = rest;
            let item = Item::new(item, stats);
            if matches!(filter, Filter::Type(wanted) if wanted != item.kind) {
                return ControlFlow::Continue(());
            }
            items.push(item);
            if items.len() - before < MAX_SHOWN { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
    }
    items.sort_by_key(|item| std::cmp::Reverse(item.sequence));
    items.truncate(MAX_SHOWN);
    Ok(Newest { items, is_cut })
}

impl Item {
    fn new(item: StoredItem<'_>, stats: Option<&SpoolStats>) -> Self {
        let body = std::str::from_utf8(item.body).unwrap_or_default();
        let (progress, progress_class) = progress(item.sequence, stats);
        let (kind, email, gist) = if let Some(reason) = item.reason {
            ("rejected", Vec::new(), shortened(reason))
        } else {
            let Summary { email, gist } = Summary::read(body);
            (kind_of(body), shortened(&email), shortened(&gist))
        };
        Item {
            sequence: item.sequence.get(),
            time: time_of_day(item.received_at),
            time_iso: item.received_at.to_rfc3339(),
            progress,
            progress_class,
            kind,
            email,
            gist,
        }
    }
}

fn kind_of(body: &str) -> &'static str {
    let name = catalog::event::type_name(body);
    name.and_then(|name| EventType::from_name(&name)).map_or("other", EventType::name)
}

/// The most informative fields of an event, best first.
const INFORMATIVE: [&str; 5] = ["error", "url", "smtp_reply", "source", "agent"];

/// What the list shows of an event.
#[derive(Debug, Default)]
struct Summary {
    email: String,
    gist: String,
}

impl Summary {
    /// Reads the fields that are text, in one pass.
    fn read(body: &str) -> Self {
        let mut email = String::new();
        let mut informative: [Option<String>; INFORMATIVE.len()] = Default::default();
        members::visit_members(body, |member, _| {
            let name = member.name();
            let text = || serde_json::from_str::<String>(member.value).ok().filter(|text| !text.is_empty());
            if name == "email" {
                email = text().unwrap_or_default();
            } else if let Some(index) = INFORMATIVE.iter().position(|informative| *informative == name) {
                informative[index] = text();
            }
            ControlFlow::Continue(())
        });
        Summary { email, gist: informative.into_iter().flatten().next().unwrap_or_default() }
    }
}

/// The page of one item.
#[derive(Debug, Template)]
#[template(path = "item.html")]
pub(super) struct ItemPage {
    frame: Frame,
    kind: &'static str,
    sequence: i64,
    received: String,
    received_iso: String,
    progress: &'static str,
    progress_class: &'static str,
    reason: Option<Vec<Piece>>,
    length: String,
    is_cut: bool,
    body: Vec<Piece>,
    table: &'static str,
    columns: Vec<Column>,
    null_columns: usize,
}

/// A column of a row, and its value.
#[derive(Debug)]
struct Column {
    name: Vec<Piece>,
    value: Vec<Piece>,
}

impl ItemPage {
    /// Reads the item with a sequence; `None` if there is none.
    fn read(context: &Context, frame: &Frame, sequence: Sequence) -> Result<Option<Self>, SpoolError> {
        let columns = context.spool.registry_view()?.discovered_columns()?;
        let spool = context.source.snapshot().and_then(|snapshot| snapshot.spool);
        let stats = spool.as_ref().map(|spool| &spool.stats);
        let mut page = None;
        read_one(context, sequence, &mut |item| {
            let row = row_of(context, item, &columns);
            page = Some(ItemPage::new(frame.clone(), item, &row, stats));
        })?;
        Ok(page)
    }

    fn new(frame: Frame, item: StoredItem<'_>, row: &[(String, String)], stats: Option<&SpoolStats>) -> Self {
        let text = String::from_utf8_lossy(item.body);
        let shown: String = text.chars().take(MAX_BODY_CHARS).collect();
        let (progress, progress_class) = progress(item.sequence, stats);
        let is_null = |(_, value): &&(String, String)| value == "null";
        let null_columns = row.iter().filter(is_null).count();
        let columns = row.iter().filter(|column| !is_null(column)).map(|(name, value)| Column {
            name: pieces(name),
            value: match serde_json::from_str::<String>(value) {
                Ok(text) if !text.is_empty() => cut(&text),
                // Empty text is shown in its quotes.
                _ => cut(value),
            },
        });
        ItemPage {
            frame,
            kind: if item.reason.is_some() { "rejected" } else { kind_of(&text) },
            sequence: item.sequence.get(),
            received: format!("{}, {} UTC", day(item.received_at), time_of_day(item.received_at)),
            received_iso: item.received_at.to_rfc3339(),
            progress,
            progress_class,
            reason: item.reason.map(pieces),
            length: number(item.body.len() as u64),
            is_cut: shown.len() < text.len(),
            body: pieces(&shown),
            table: if item.reason.is_some() { "_sdc_rejected" } else { "data" },
            columns: columns.collect(),
            null_columns,
        }
    }
}

/// Shows an item and its row.
pub(super) async fn show(context: &Arc<Context>, sequence: &str, frame: Frame) -> Answer {
    let Some(sequence) = parse(sequence) else { return no_such_item(frame) };
    let for_item = frame.clone();
    let read = blocking(context, move |context| ItemPage::read(context, &for_item, sequence));
    match read.await {
        Ok(Some(page)) => Answer::page(StatusCode::OK, &page),
        Ok(None) => no_such_item(frame),
        Err(error) => failed(frame, &error),
    }
}

/// Returns an item's bytes as they were received.
pub(super) async fn download(context: &Arc<Context>, sequence: &str, frame: Frame) -> Answer {
    let Some(sequence) = parse(sequence) else { return no_such_item(frame) };
    let read = blocking(context, move |context| {
        let mut body = None;
        read_one(context, sequence, &mut |item| body = Some(item.body.to_vec()))?;
        Ok(body)
    });
    match read.await {
        Ok(Some(body)) => Answer::download(body),
        Ok(None) => no_such_item(frame),
        Err(error) => failed(frame, &error),
    }
}

fn parse(sequence: &str) -> Option<Sequence> {
    sequence.parse().ok().map(Sequence::new)
}

fn no_such_item(frame: Frame) -> Answer {
    let text = "It was deleted after the target had stored it, or never existed.";
    Answer::message(frame, StatusCode::NOT_FOUND, "There is no such item", text)
}

/// Calls `take` with the item that has this sequence, if there is one.
fn read_one(
    context: &Context,
    sequence: Sequence,
    take: &mut dyn FnMut(StoredItem<'_>),
) -> Result<(), SpoolError> {
    let mut reader = context.spool.reader()?;
    for kind in ItemKind::ALL {
        reader.read_newest(kind, sequence, 1, &mut |item| {
            if item.sequence == sequence {
                take(item);
            }
            ControlFlow::Break(())
        })?;
    }
    Ok(())
}

/// Returns the columns of the row that an item becomes, each with its JSON text.
fn row_of(
    context: &Context,
    item: StoredItem<'_>,
    discovered: &[crate::spool::DiscoveredColumn],
) -> Vec<(String, String)> {
    let stream = if item.reason.is_some() { StreamId::Rejected } else { StreamId::Data };
    let Ok(mut run) = DryRun::of_stream(&context.config.output, stream, discovered) else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    run.write_item(item, NOT_WRITTEN, &mut lines);
    let lines = String::from_utf8(lines).unwrap_or_default();
    // An event may first need a SCHEMA with a new column.
    let record = lines.lines().rev().find(|line| line.contains("\"RECORD\""));
    let record = record.and_then(|line| member_of(line, "record"));
    let not_written = format!("\"{}\"", NOT_WRITTEN.to_rfc3339());
    let mut columns = Vec::new();
    members::visit_members(record.as_deref().unwrap_or("{}"), |member, _| {
        let value =
            if member.value == not_written { "\"the time at which it is written\"" } else { member.value };
        columns.push((member.name().into_owned(), value.to_owned()));
        ControlFlow::Continue(())
    });
    columns
}

fn member_of(object: &str, name: &str) -> Option<String> {
    let mut found = None;
    members::visit_members(object, |member, _| {
        if member.name() == name {
            found = Some(member.value.to_owned());
        }
        ControlFlow::Continue(())
    });
    found.filter(|value| serde_json::from_str::<&RawValue>(value).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_change_how_text_reads_are_shown_by_their_codes() {
        let piece = |text: &str, is_code| Piece { text: text.to_owned(), is_code };
        let expected =
            vec![piece("a<b", false), piece("U+202E", true), piece("gpj", false), piece("U+001B", true)];
        assert_eq!(pieces("a<b\u{202e}gpj\u{1b}"), expected);
        assert_eq!(pieces(""), []);
    }

    #[test]
    fn a_filter_names_a_type_or_rejected_items() {
        assert_eq!(Filter::parse(Some("open"), None), Filter::Type("open"));
        assert_eq!(Filter::parse(Some("other"), None), Filter::Type("other"));
        assert_eq!(Filter::parse(Some("<script>"), None), Filter::All);
        assert_eq!(Filter::parse(Some("open"), Some("1")), Filter::Rejected);
    }
}
