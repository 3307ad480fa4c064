//! A stream as it is being written: its columns, and which of them each field of an event goes into.
//!
//! The rules, of which none loses a value and none reprints one (a line break between the parts of an object or array becomes a
//! space, since a message is one line):
//!
//! - A value that fits its column ([`ColumnType::fit`]) goes there. An object is taken apart: the field `b` of an object `a`
//!   is the field `a__b`. An array is its JSON text. Null is no value, as if the field were missing.
//! - A value that does not fit goes into the split column for its own type: `hard_bounce__st` (`st` text, `it` integer, `fl`
//!   number, `bl` boolean).
//! - A field without a column gets one, of the type of its first value, and keeps it for ever.
//! - The extra column takes, under the field's own name, what can have no column: a name that differs only by case from one
//!   that there is, that PostgreSQL would cut (over 63 bytes), that has other characters than letters, digits, `_`, `-`, `.`
//!   and inner spaces, or that starts with `_sdc_` or `__sdc_`; anything past 500 columns; a value that fits neither its
//!   column nor the split one.
//! - With `unknown_fields` extra, no column appears; those that have appeared before are filled as the documented ones are.
//!   The extra column takes every field without a column, every value that fits neither its column nor a split one that
//!   there is, and every object and array, whole: there, none is taken apart or becomes text.
//! - A column that the catalog makes one of objects takes them whole, and so does a new field's.
//! - Of several values for one column, the last has it, as in any JSON parser; the others go into the extra column.
//! - There, a name that is taken gets `__2`, `__3`, … appended.
//! - An object nested deeper than 16 levels is not taken apart further, but kept as its JSON text; one whose name is too long
//!   for a column is kept whole.
//! - Many targets stop at half a surrogate pair, at U+0000, at numbers beyond a double and at more than 100 levels of
//!   nesting, and of two members of one name they keep one. A value that holds such a thing is replaced by its own JSON text,
//!   as text; such a number by its digits. In a column of objects it does not fit.
//!
//! What is not selected is not written, and neither is what comes from a field that is not selected, split columns included.
//! What a value comes from is told by where it stands: `b` of `a_` and `_b` of `a` are both named `a___b`. Their column is
//! written only if both `a` and `a_` are selected; if one is, its values go into the extra column.
//!
//! An object that has a field that is not selected, by the catalog's names, is taken apart also where it would be kept whole
//! otherwise, so that all else in it is written. An array is one value: nothing within it has a name that could be deselected.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use catalog::column::{Column, ColumnSource, ColumnType, Fit};
use catalog::members::{self, Member, Members};
use catalog::selection::{CatalogError, StreamSelection};
use catalog::stream::{EXTRA_COLUMN, MAX_COLUMNS, Stream, discovered_column};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tracing::warn;

use super::discovered;
use super::target_safe;
use crate::spool::DiscoveredColumn;

/// Bytes of a name that PostgreSQL keeps.
const NAME_BYTES: usize = 63;
/// Names by which SQLite tells rows apart: a column of such a name would hide that.
const ROW_IDS: [&str; 3] = ["rowid", "_rowid_", "oid"];
/// Levels of objects that are taken apart.
const FLATTEN_DEPTH: usize = 16;

/// What becomes of a field that the catalog does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UnknownFields {
    /// It becomes a new column.
    #[default]
    Columns,
    /// It goes into one JSON column, and the schema never changes.
    Extra,
}

/// A stream as it is being written.
#[derive(Debug)]
pub(in crate::emitter) struct Table {
    stream: Stream,
    choice: StreamSelection,
    unknown_fields: UnknownFields,
    key_properties: Vec<String>,
    /// One for each column of the stream.
    outputs: Vec<Output>,
    /// Name of a column to its place.
    places: HashMap<String, usize>,
    /// Names without their case.
    folded: HashSet<String>,
    /// Columns that have appeared since they were last asked for.
    appeared: Vec<DiscoveredColumn>,
}

/// How a column is written.
#[derive(Debug)]
pub(in crate::emitter) struct Output {
    /// The name as JSON, and the colon after it.
    pub(in crate::emitter) label: Vec<u8>,
    pub(in crate::emitter) source: ColumnSource,
    pub(in crate::emitter) selected: bool,
    kind: ColumnType,
    /// The catalog asks for text where the field is not: the value's text is what is asked for.
    as_text: bool,
}

/// Where the value of a field goes, if that can be told by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::emitter) enum Destination {
    /// Into the column at this place, if it fits.
    Column(usize),
    /// It is not written.
    Nowhere,
    /// That depends on the value.
    Depends,
}

/// An event's values, each in its place.
#[derive(Debug)]
pub(in crate::emitter) struct Row<'a> {
    /// One for each column.
    values: Vec<Option<Placed<'a>>>,
    /// Name and JSON text of what has no column.
    extra: Vec<(Cow<'a, str>, &'a str)>,
}

#[derive(Debug)]
struct Placed<'a> {
    /// What is written.
    json: Cow<'a, str>,
    /// Where it comes from, should another value take its place.
    field: Cow<'a, str>,
    value: &'a str,
}

impl Table {
    /// `stream` as `choice` has it, with the columns that have appeared in it before.
    pub(in crate::emitter) fn new(
        stream: &Stream,
        choice: StreamSelection,
        unknown_fields: UnknownFields,
        discovered: &[DiscoveredColumn],
    ) -> Result<Self, CatalogError> {
        let mut table = Table {
            stream: Stream { id: stream.id, columns: Vec::new() },
            choice,
            unknown_fields,
            key_properties: Vec::new(),
            outputs: Vec::new(),
            places: HashMap::new(),
            folded: HashSet::new(),
            appeared: Vec::new(),
        };
        for column in &stream.columns {
            table.add(column.clone());
        }
        for column in discovered::columns_of(stream, discovered) {
            table.add(column);
        }
        if unknown_fields == UnknownFields::Extra && !table.places.contains_key(EXTRA_COLUMN) {
            table.add(discovered_column(EXTRA_COLUMN.to_owned(), ColumnType::Object));
        }
        table.key_properties = table.choice.key_properties(&table.stream)?;
        Ok(table)
    }

    /// The stream's name.
    pub(in crate::emitter) fn name(&self) -> &'static str {
        self.stream.id.name()
    }

    /// The stream with the columns that it has now.
    pub(in crate::emitter) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// The columns that identify a row.
    pub(in crate::emitter) fn key_properties(&self) -> &[String] {
        &self.key_properties
    }

    /// How each column is written.
    pub(in crate::emitter) fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// The columns that are written, each with its place.
    pub(in crate::emitter) fn selected(&self) -> impl Iterator<Item = (usize, &Output)> {
        self.outputs.iter().enumerate().filter(|(_, output)| output.selected)
    }

    /// Where the value of a field of an event goes.
    pub(in crate::emitter) fn destination(&self, name: &str) -> Destination {
        match self.places.get(name).map(|place| (*place, &self.outputs[*place])) {
            Some((place, output)) if output.source == ColumnSource::Field => {
                if output.selected {
                    Destination::Column(place)
                } else {
                    Destination::Nowhere
                }
            }
            _ if self.choice.selects_field(name, 0) => Destination::Depends,
            _ => Destination::Nowhere,
        }
    }

    /// The JSON text of a member's value in the column at `place`, if that is where it goes and how it is written.
    #[inline]
    pub(in crate::emitter) fn as_it_is<'v>(&self, place: usize, member: Member<'v>) -> Option<&'v str> {
        // Objects may be taken apart, and arrays may be for the extra column.
        if !member.is_plain
            && (member.value.starts_with(['{', '[']) || !target_safe::is_target_safe_text(member.value))
        {
            return None;
        }
        match self.outputs[place].fit(member.value) {
            Fit::Null => Some("null"),
            Fit::Json(Cow::Borrowed(json)) => Some(json),
            Fit::Json(Cow::Owned(_)) | Fit::Misfit => None,
        }
    }

    /// Takes the columns that have appeared since the last call.
    pub(in crate::emitter) fn take_appeared(&mut self) -> Vec<DiscoveredColumn> {
        std::mem::take(&mut self.appeared)
    }

    /// Whether any of these columns changes the SCHEMA.
    pub(in crate::emitter) fn are_written(&self, columns: &[DiscoveredColumn]) -> bool {
        columns.iter().any(|column| self.outputs[self.places[&column.name]].selected)
    }

    /// The JSON Schema of a SCHEMA message: the selected columns, as the catalog has them.
    pub(in crate::emitter) fn json_schema(&self) -> Value {
        let columns = self.stream.columns.iter().zip(&self.outputs).filter(|(_, output)| output.selected);
        let properties: Map<String, Value> =
            columns.map(|(column, _)| (column.name.clone(), self.schema_of(column))).collect();
        json!({ "type": "object", "properties": properties })
    }

    fn schema_of(&self, column: &Column) -> Value {
        let given =
            if column.source == ColumnSource::Field { self.choice.schema(&column.name) } else { None };
        // A schema without a type that a column can have says nothing that the values could follow.
        let Some((mut schema, kind)) =
            given.and_then(|schema| Some((schema.clone(), ColumnType::from_schema(schema)?)))
        else {
            return column.json_schema();
        };
        if let Some(keywords) = schema.as_object_mut() {
            // What would be demanded of the values is left out: they are Mailjet's, and a target would stop at one that
            // does not comply.
            keywords.retain(|keyword, _| {
                matches!(keyword.as_str(), "title" | "description") || keyword.starts_with("x-")
            });
        }
        // Whatever type was asked for, a field may be missing.
        schema["type"] = json!([kind.json_type(), "null"]);
        schema
    }

    /// Puts each value of an event into its column. New columns may appear.
    ///
    /// `unreadable` is the JSON string of an event's text that is no JSON object. The listener never writes such.
    pub(in crate::emitter) fn place<'a>(
        &mut self,
        members: Members<'a, '_>,
        unreadable: Option<&'a str>,
    ) -> Row<'a> {
        let mut row = Row { values: Vec::new(), extra: Vec::new() };
        row.values.resize_with(self.outputs.len(), || None);
        for member in members.iter() {
            self.put(&mut row, member.column_name(), 0, member.value, FLATTEN_DEPTH);
        }
        if let Some(text) = unreadable {
            if self.choice.selects_all() {
                row.extra.push((Cow::Borrowed("_unreadable"), text));
            } else {
                warn!(
                    "an event is no JSON object, and its text is not written: the catalog deselects fields, and there is \
                     no telling whether it has any of them"
                );
            }
        }
        if !row.extra.is_empty() && !self.places.contains_key(EXTRA_COLUMN) {
            self.appear(&mut row, EXTRA_COLUMN, ColumnType::Object);
        }
        row
    }

    /// Puts a value, with all that is within it, where it belongs. `own` is where the field's own name begins, after the
    /// names of the objects that it is part of, which are selected. `depth` is how many levels may still be taken apart.
    fn put<'a>(&mut self, row: &mut Row<'a>, name: Cow<'a, str>, own: usize, value: &'a str, depth: usize) {
        if value == "null" {
            return;
        }
        let place = self.places.get(name.as_ref()).copied();
        let output =
            place.map(|place| &self.outputs[place]).filter(|output| output.source == ColumnSource::Field);
        let is_selected = match output {
            // Nothing but the name says where the value comes from, and the column has asked for that already.
            Some(output) if own == 0 => output.selected,
            _ => self.choice.selects_field(&name, own),
        };
        if !is_selected {
            return;
        }
        if value.starts_with('{') && self.is_taken_apart(&name, output, depth) {
            let spans = members::parse_object(value).expect("a part of valid JSON is valid");
            if !spans.is_empty() {
                for member in Members::new(value, &spans).iter() {
                    let field = Cow::Owned(format!("{name}__{}", member.column_name()));
                    self.put(row, field, name.len() + 2, member.value, depth.saturating_sub(1));
                }
                return;
            }
        }
        match (place, output) {
            (Some(place), Some(output)) if output.selected => match output.fit(value) {
                Fit::Null => {}
                Fit::Json(json) if output.kind == ColumnType::Object || !self.is_for_extra(value) => {
                    Self::set(row, place, json, name, value);
                }
                _ => self.split(row, name, value),
            },
            (None, _) if self.may_appear(&name) => {
                self.appear(row, &name, ColumnType::infer(value));
                // The catalog may give the new column another type than its first value has.
                self.put(row, name, own, value, depth);
            }
            _ => row.extra.push((name, value)),
        }
    }

    /// Whether the fields of an object go their own ways. `output` is the column of its name, if there is one.
    fn is_taken_apart(&self, name: &str, output: Option<&Output>, depth: usize) -> bool {
        // What is deselected must not come out with the whole, and the rest must not stay away with it. The depth is no matter
        // then: it ends with the longest name in the catalog.
        if self.choice.deselects_within(name) {
            return true;
        }
        // Fields of an object with a long name could have no column, and each would carry that name: a megabyte of it, a
        // hundred thousand times over, would be a row that nobody can write.
        if self.unknown_fields == UnknownFields::Extra || depth == 0 || name.len() > NAME_BYTES {
            return false;
        }
        // The catalog may ask for objects to be kept whole, also before the first has come.
        if let Some(output) = output {
            return !output.selected || output.kind != ColumnType::Object;
        }
        let asked = self.choice.schema(name).and_then(ColumnType::from_schema);
        asked != Some(ColumnType::Object) || !self.may_appear(name)
    }

    /// Where objects are not taken apart, neither they nor arrays pretend to be text.
    fn is_for_extra(&self, value: &str) -> bool {
        self.unknown_fields == UnknownFields::Extra && value.starts_with(['{', '['])
    }

    /// Puts a value that does not fit its column into the one for its own type.
    fn split<'a>(&mut self, row: &mut Row<'a>, name: Cow<'a, str>, value: &'a str) {
        let kind = ColumnType::infer(value);
        let split = format!("{name}__{}", kind.split_suffix());
        if !self.choice.selects_field(&split, name.len() + 2) {
            return;
        }
        match self.places.get(&split).copied() {
            Some(place) if !self.is_for_extra(value) && self.outputs[place].takes_split(kind) => {
                let json = self.outputs[place].kind.to_json(value);
                Self::set(row, place, json, name, value);
            }
            None if self.may_appear(&split) => {
                self.appear(row, &split, kind);
                self.split(row, name, value);
            }
            _ => row.extra.push((name, value)),
        }
    }

    fn set<'a>(row: &mut Row<'a>, place: usize, json: Cow<'a, str>, field: Cow<'a, str>, value: &'a str) {
        let json = target_safe_text(json);
        if let Some(earlier) = row.values[place].replace(Placed { json, field, value }) {
            row.extra.push((earlier.field, earlier.value));
        }
    }

    /// Whether a column of this name can be added.
    fn may_appear(&self, name: &str) -> bool {
        let folded = name.to_lowercase();
        let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
        self.unknown_fields == UnknownFields::Columns
            // One place is kept for the extra column.
            && self.outputs.len() + usize::from(!self.places.contains_key(EXTRA_COLUMN)) < MAX_COLUMNS
            && !name.is_empty()
            && name.len() <= NAME_BYTES
            && name.chars().all(|c| is_word(c) || c == ' ')
            && name.starts_with(is_word)
            && name.ends_with(is_word)
            && !ROW_IDS.contains(&folded.as_str())
            && !folded.starts_with("_sdc_")
            && !folded.starts_with("__sdc_")
            && !self.folded.contains(&folded)
            // Its name may be that of a deselected field's, though its value is not.
            && self.choice.selects_field(name, 0)
    }

    fn appear(&mut self, row: &mut Row<'_>, name: &str, kind: ColumnType) {
        self.appeared.push(DiscoveredColumn {
            stream: self.stream.id.name().to_owned(),
            name: name.to_owned(),
            json_type: kind.json_type().to_owned(),
        });
        self.add(discovered_column(name.to_owned(), kind));
        row.values.push(None);
    }

    fn add(&mut self, column: Column) {
        let mut label = serde_json::to_vec(&column.name).expect("text is JSON");
        label.push(b':');
        let schema = self.schema_of(&column);
        let kind = if column.source == ColumnSource::Field && column.kind != ColumnType::Timestamp {
            ColumnType::from_schema(&schema).unwrap_or(column.kind)
        } else {
            column.kind
        };
        self.outputs.push(Output {
            label,
            source: column.source,
            selected: self.choice.selects(&column),
            kind,
            as_text: kind == ColumnType::Text && column.kind != ColumnType::Text,
        });
        self.folded.insert(column.name.to_lowercase());
        self.places.insert(column.name.clone(), self.outputs.len() - 1);
        self.stream.columns.push(column);
    }
}

impl Output {
    /// What becomes of a value in this column.
    #[inline]
    fn fit<'v>(&self, value: &'v str) -> Fit<'v> {
        match self.kind.fit(value) {
            Fit::Json(_) if self.kind == ColumnType::Object => {
                // Its text would do elsewhere, but not in a column of objects.
                if target_safe::is_target_safe(value) {
                    Fit::Json(target_safe::one_line(value))
                } else {
                    Fit::Misfit
                }
            }
            Fit::Misfit if self.as_text => Fit::Json(self.kind.to_json(value)),
            fit => fit,
        }
    }

    /// Whether this column, which has a split column's name, takes values of a type.
    fn takes_split(&self, kind: ColumnType) -> bool {
        self.selected && self.source == ColumnSource::Field && (self.kind == kind || self.as_text)
    }
}

impl Row<'_> {
    /// The JSON text of a field's column.
    pub(in crate::emitter) fn field(&self, place: usize) -> &str {
        self.values.get(place).and_then(Option::as_ref).map_or("null", |placed| &placed.json)
    }

    /// Writes the extra column.
    pub(in crate::emitter) fn write_extra(&self, out: &mut Vec<u8>) {
        if self.extra.is_empty() {
            out.extend_from_slice(b"null");
            return;
        }
        let mut taken: HashSet<Cow<'_, str>> = HashSet::with_capacity(self.extra.len());
        // Where to go on counting, so that a name that comes 10 000 times is not tried 10 000 times over.
        let mut repeats: HashMap<&str, usize> = HashMap::new();
        for (position, (name, value)) in self.extra.iter().enumerate() {
            let mut free = Cow::Borrowed(name.as_ref());
            while !taken.insert(free.clone()) {
                let repeat = repeats.entry(name).and_modify(|repeat| *repeat += 1).or_insert(2);
                free = Cow::Owned(format!("{name}__{repeat}"));
            }
            out.push(if position == 0 { b'{' } else { b',' });
            serde_json::to_writer(&mut *out, &free).expect("text is JSON and memory takes every write");
            out.push(b':');
            let value = if target_safe::is_target_safe(value) {
                target_safe::one_line(value)
            } else {
                Cow::Owned(members::json_string(value))
            };
            out.extend_from_slice(value.as_bytes());
        }
        out.push(b'}');
    }
}

/// `json`, or, if it is a string that there are targets that can't read, that string's JSON text, as text.
fn target_safe_text(json: Cow<'_, str>) -> Cow<'_, str> {
    if target_safe::is_target_safe_text(&json) { json } else { Cow::Owned(members::json_string(&json)) }
}

#[cfg(test)]
mod tests {
    use catalog::selection::Selection;
    use catalog::stream::{DEFAULT_SYSTEM_PREFIX, StreamId};

    use super::*;

    fn table(unknown_fields: UnknownFields) -> Table {
        let stream = Stream::new(StreamId::Data, DEFAULT_SYSTEM_PREFIX);
        let choice = Selection::default().stream(StreamId::Data).expect("selected by default");
        Table::new(&stream, choice, unknown_fields, &[]).expect("no key is given")
    }

    /// What becomes of an event: `column=JSON` for each field that is not null, in order.
    fn placed(table: &mut Table, event: &str) -> String {
        let spans = members::parse_object(event).expect("an object");
        let row = table.place(Members::new(event, &spans), None);
        let columns = table.stream.columns.iter().enumerate();
        let values = columns.filter_map(|(place, column)| match column.source {
            ColumnSource::Field if row.field(place) != "null" => {
                Some(format!("{}={}", column.name, row.field(place)))
            }
            ColumnSource::Extra => {
                let mut json = Vec::new();
                row.write_extra(&mut json);
                Some(format!("{}={}", column.name, String::from_utf8(json).expect("UTF-8")))
            }
            _ => None,
        });
        values.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn each_value_has_its_place() {
        let deep = |levels: usize| format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
        let cases = [
            // Values that fit, that spell the type, and that are as good as null.
            (r#"{"time":"1513975381","blocked":"true"}"#, "time=1513975381 blocked=true"),
            (r#"{"hard_bounce":"","mj_list_id":"","geo":null,"new":null}"#, ""),
            (r#"{"email":""}"#, r#"email="""#),
            (r#"{"\u0065vent":"open"}"#, r#"event="open""#),
            // Values that do not fit.
            (r#"{"hard_bounce":"maybe"}"#, r#"hard_bounce__st="maybe""#),
            (r#"{"hard_bounce":1}"#, "hard_bounce__it=1"),
            (r#"{"time":1.0}"#, "time__fl=1.0"),
            (r#"{"time":false}"#, "time__bl=false"),
            (r#"{"MessageID":18446744073709551616}"#, r#"MessageID__st="18446744073709551616""#),
            (r#"{"time":1e400}"#, r#"time__st="1e400""#),
            (r#"{"email":5}"#, "email__it=5"),
            (r#"{"time":[1]}"#, r#"time__st="[1]""#),
            (r#"{"Payload":["a",1]}"#, r#"Payload="[\"a\",1]""#),
            // Fields that are not documented.
            (r#"{"price":1.10,"n":5,"ok":true,"word":"x"}"#, r#"price=1.10 n=5 ok=true word="x""#),
            (r#"{"big":18446744073709551616}"#, r#"big="18446744073709551616""#),
            (r#"{"pi":3.14159265358979323846}"#, r#"pi="3.14159265358979323846""#),
            (
                r#"{"a":{"b":1,"c":{"d":"x"}},"e":{},"f":[{"g":1.10}]}"#,
                r#"a__b=1 a__c__d="x" e="{}" f="[{\"g\":1.10}]""#,
            ),
            (r#"{"Payload":{"a":1}}"#, "Payload__a=1"),
            (r#"{"a.b":1,"c d":2,"é-1":3}"#, "a.b=1 c d=2 é-1=3"),
            // Names that can have no column.
            (r#"{"Event":"x"}"#, r#"_sdc_extra={"Event":"x"}"#),
            (r#"{"_rowid_":1,"OID":2}"#, r#"_sdc_extra={"_rowid_":1,"OID":2}"#),
            (r#"{"messageid":1,"a":2,"A":3}"#, r#"a=2 _sdc_extra={"messageid":1,"A":3}"#),
            (
                r#"{"":1,"a\"b":2,"😀":3," x":4,"50%":5}"#,
                r#"_sdc_extra={"":1,"a\"b":2,"😀":3," x":4,"50%":5}"#,
            ),
            (r#"{"a\u0000b":"c\u0000d"}"#, r#"_sdc_extra={"\"a\\u0000b\"":"\"c\\u0000d\""}"#),
            (
                r#"{"_sdc_sequence":7,"_SDC_x":8,"__sdc_primary_key":9}"#,
                r#"_sdc_extra={"_sdc_sequence":7,"_SDC_x":8,"__sdc_primary_key":9}"#,
            ),
            (r#"{"_sdc_extra":{"a":7}}"#, r#"_sdc_extra={"_sdc_extra__a":7}"#),
            (
                &format!(r#"{{"{0}":1,"{0}x":2}}"#, "n".repeat(63)),
                &format!(r#"{0}=1 _sdc_extra={{"{0}x":2}}"#, "n".repeat(63)),
            ),
            // Several values for one column.
            (r#"{"event":"a","event":"b"}"#, r#"event="b" _sdc_extra={"event":"a"}"#),
            (r#"{"event":"a","event":null}"#, r#"event="a""#),
            (r#"{"event":1,"event":2,"event":3}"#, r#"event__it=3 _sdc_extra={"event":1,"event__2":2}"#),
            (r#"{"a__b":1,"a":{"b":2}}"#, r#"a__b=2 _sdc_extra={"a__b":1}"#),
            (r#"{"X":1,"x":2,"x":3,"x__2":4,"x":5}"#, r#"X=1 x__2=4 _sdc_extra={"x":2,"x__2":3,"x__3":5}"#),
            // Things that targets stop at.
            (r#"{"Payload":"\ud800"}"#, r#"Payload="\"\\ud800\"""#),
            (r#"{"Payload":"a\u0000b"}"#, r#"Payload="\"a\\u0000b\"""#),
            (r#"{"😀":[1e400]}"#, r#"_sdc_extra={"😀":"[1e400]"}"#),
            (r#"{"😀":[{"a":1,"a":2}]}"#, r#"_sdc_extra={"😀":"[{\"a\":1,\"a\":2}]"}"#),
            (&format!(r#"{{"d":{}}}"#, deep(15)), &format!("d{}=1", "__a".repeat(15))),
            (
                &format!(r#"{{"😀":{}}}"#, deep(17)),
                &format!(r#"_sdc_extra={{"😀{}":{{"a":1}}}}"#, "__a".repeat(16)),
            ),
            (
                &format!(r#"{{"{0}":{{"a":1}},"{0}n":{{"a":1,"b":2}}}}"#, "n".repeat(63)),
                &format!(r#"_sdc_extra={{"{0}__a":1,"{0}n":{{"a":1,"b":2}}}}"#, "n".repeat(63)),
            ),
        ];
        for (event, expected) in cases {
            assert_eq!(placed(&mut table(UnknownFields::Columns), event), expected, "{event}");
        }
    }

    #[test]
    fn a_column_that_appeared_keeps_its_type() {
        let mut table = table(UnknownFields::Columns);
        let events = [
            (r#"{"x":5}"#, "x=5"),
            (r#"{"x":"6"}"#, "x=6"),
            (r#"{"x":""}"#, ""),
            (r#"{"x":"six"}"#, r#"x__st="six""#),
            (r#"{"x":7.5}"#, "x__fl=7.5"),
            (r#"{"x":{"st":"y"},"x__st":1}"#, r#"x__st="y" x__st__it=1"#),
            (r#"{"x__st":true,"x":"z"}"#, r#"x__st="z" x__st__bl=true"#),
        ];
        for (event, expected) in events {
            assert_eq!(placed(&mut table, event), expected, "{event}");
        }
        let appeared: Vec<_> = table.take_appeared().into_iter().map(|column| column.name).collect();
        assert_eq!(appeared, ["x", "x__st", "x__fl", "x__st__it", "x__st__bl"]);
    }

    /// Whether a column has appeared already must not make a difference.
    #[test]
    fn a_field_named_like_the_extra_column_is_like_any_other() {
        let mut table = table(UnknownFields::Columns);
        for _ in 0..2 {
            let event = r#"{"_sdc_extra":{"a":7}}"#;
            assert_eq!(placed(&mut table, event), r#"_sdc_extra={"_sdc_extra__a":7}"#);
        }
    }

    #[test]
    fn with_unknown_fields_extra_the_schema_stands_still() {
        let cases = [
            (r#"{"event":"open","time":"5"}"#, r#"event="open" time=5 _sdc_extra=null"#),
            (
                r#"{"time":"soon","new":{"a": 1.10},"geo":[1]}"#,
                r#"_sdc_extra={"time":"soon","new":{"a": 1.10},"geo":[1]}"#,
            ),
            (r#"{"new":{"a":1,"b":{},"a":2}}"#, r#"_sdc_extra={"new":"{\"a\":1,\"b\":{},\"a\":2}"}"#),
        ];
        for (event, expected) in cases {
            let mut table = table(UnknownFields::Extra);
            let schema = table.json_schema();
            assert_eq!(placed(&mut table, event), expected, "{event}");
            assert_eq!(table.json_schema(), schema);
        }
    }

    #[test]
    fn what_can_not_be_read_is_written_only_where_nothing_is_deselected() {
        let text = r#""{\"email\":\"SECRET\"""#;
        let catalog =
            r#"{"streams":[{"stream":"data","schema":{"properties":{"email":{"selected":false}}}}]}"#;
        for (selection, expected) in [
            (Selection::default(), r#"{"_unreadable":"{\"email\":\"SECRET\""}"#),
            (Selection::parse(catalog.as_bytes()).expect("a catalog"), "null"),
        ] {
            let stream = Stream::new(StreamId::Data, DEFAULT_SYSTEM_PREFIX);
            let choice = selection.stream(StreamId::Data).expect("selected by default");
            let mut table =
                Table::new(&stream, choice, UnknownFields::Columns, &[]).expect("no key is given");
            let mut json = Vec::new();
            table.place(Members::new(text, &[]), Some(text)).write_extra(&mut json);
            assert_eq!(String::from_utf8(json).expect("UTF-8"), expected);
        }
    }

    #[test]
    fn no_event_makes_more_than_500_columns() {
        let fields: Vec<_> = (0..10_000).map(|number| format!(r#""f{number}":{number}"#)).collect();
        let mut table = table(UnknownFields::Columns);
        let placed = placed(&mut table, &format!("{{{}}}", fields.join(",")));
        assert_eq!(table.stream.columns.len(), MAX_COLUMNS);
        // Not shown when it fails: it is 200 KB of text.
        assert!(
            placed.contains(r#" f470=470 _sdc_extra={"f471":471,"#) && placed.ends_with(r#""f9999":9999}"#)
        );
        assert_eq!(placed.matches('=').count() - 1 + placed.matches("\":").count(), 10_000);
    }
}
