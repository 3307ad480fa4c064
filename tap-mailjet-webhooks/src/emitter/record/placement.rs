//! The rules for which column each value of an event goes into. `docs/streams.md` explains each to users.
//!
//! No rule loses a value, and none reprints one. (A line break between the parts of an object or array
//! becomes a space, because a message is one line.) A value goes to the first place that takes it:
//!
//! 1. nowhere, if it is null or comes from a deselected field
//! 2. if it is an object, into the columns of its fields: field `b` of object `a` is the field `a__b`
//! 3. the column of its name, if it fits ([`ColumnType::fit`]); that takes an array as its JSON text
//! 4. the split column for its own type, such as `hard_bounce__st`, if it does not fit
//! 5. a new column, of its own type, if the field has none ([`Table::can_add_column`])
//! 6. the extra column, a JSON object, under the name of its field, with `__2`, `__3`, … if that is taken.
//!
//! If several values belong in one column, it takes the last one, as JSON parsers do. The others go into the
//! extra column.
//!
//! With `unknown_fields` set to `extra`, no column is added; those added earlier are filled like documented
//! ones. Objects and arrays go into the extra column whole instead of being flattened or becoming text.
//!
//! Many targets stop at some of the values that JSON can express ([`target_safe`]). Such a value is replaced
//! by its own JSON text, as a string. In a column of objects, it does not fit.
//!
//! What is deselected is decided by a value's position, not by its column's name: `b` of `a_` and `_b` of `a`
//! both have the name `a___b`. Their column is written only if `a` and `a_` are both selected; if one of them
//! is, its values go into the extra column. An array is a single value: nothing inside it has a name that
//! could be deselected.

use std::borrow::Cow;

use catalog::column::{ColumnType, Fit};
use catalog::members::{self, Member, Members};
use tracing::warn;

use super::Event;
use super::row::Row;
use super::table::{Table, UnknownFields};
use super::target_safe;

/// The levels of objects that are flattened.
const MAX_FLATTEN_DEPTH: usize = 16;

impl Table {
    /// Puts each value of an event into its column. Columns may be added for that.
    pub(super) fn place<'a>(&mut self, event: &Event<'a>) -> Row<'a> {
        let mut row = Row::with_capacity(self.columns.len());
        for member in event.members.iter() {
            self.place_value(&mut row, member.column_name(), 0, member.value, MAX_FLATTEN_DEPTH);
        }
        if let Some(unreadable) = event.unreadable {
            if self.selection.selects_all() {
                row.extra.push((Cow::Borrowed("_unreadable"), unreadable.text));
            } else {
                warn!(
                    "event {}: its text is not a JSON object and is not written, because it may contain \
                     fields that the catalog deselects",
                    event.sequence
                );
            }
        }
        if !row.extra.is_empty() && !self.has_extra_column() {
            self.add_extra_column();
        }
        row
    }

    /// Returns how a member's value is written in a column of its name, if it goes there as it is.
    #[inline]
    pub(super) fn fit_unchanged<'v>(&self, column: usize, member: Member<'v>) -> Option<&'v str> {
        // An object may be flattened, and an array may go into the extra column.
        if !member.is_plain
            && (member.value.starts_with(['{', '[']) || !target_safe::is_target_safe_text(member.value))
        {
            return None;
        }
        match self.columns[column].fit(member.value) {
            Fit::Null => Some("null"),
            Fit::Json(Cow::Borrowed(json)) => Some(json),
            Fit::Json(Cow::Owned(_)) | Fit::Misfit => None,
        }
    }

    /// Puts a value, or all values within it, where they belong.
    ///
    /// `own_start` is where the field's own name starts in `name`, after the names of the objects around it,
    /// which are selected. `max_depth` is how many levels of objects may still be flattened.
    fn place_value<'a>(
        &mut self,
        row: &mut Row<'a>,
        name: Cow<'a, str>,
        own_start: usize,
        value: &'a str,
        max_depth: usize,
    ) {
        if value == "null" || !self.selection.selects_field(&name, own_start) {
            return;
        }
        let column = self.field_column(&name);
        if value.starts_with('{') && self.is_flattened(&name, column, max_depth) {
            let spans = members::parse_object(value).expect("a part of valid JSON is valid");
            if !spans.is_empty() {
                for member in Members::new(value, &spans).iter() {
                    let field = Cow::Owned(format!("{name}__{}", member.column_name()));
                    self.place_value(row, field, name.len() + 2, member.value, max_depth.saturating_sub(1));
                }
                return;
            }
        }
        match column.map(|index| (index, &self.columns[index])) {
            Some((index, column)) if column.is_selected => match column.fit(value) {
                Fit::Null => {}
                Fit::Json(json) if column.column_type == ColumnType::Object || !self.is_for_extra(value) => {
                    row.set(index, json, name, value);
                }
                _ => self.place_in_split_column(row, name, value),
            },
            None if self.can_add_column(&name) => {
                self.add_new_column(&name, ColumnType::infer(value));
                // The catalog may give the new column another type than that of its first value.
                self.place_value(row, name, own_start, value, max_depth);
            }
            _ => row.extra.push((name, value)),
        }
    }

    /// Whether an object is replaced by its fields. `column` is the one of its name.
    fn is_flattened(&self, name: &str, column: Option<usize>, max_depth: usize) -> bool {
        // A deselected field must not be written with the whole, nor the others be lost with it. This takes
        // no account of the depth, which the longest name in the catalog limits.
        if self.selection.deselects_within(name) {
            return true;
        }
        // The fields of an object with such a name could have no column, and each would repeat that name: a
        // megabyte, a hundred thousand times over, would be a row that no target can store.
        let has_columns = || target_safe::is_target_safe_name(&format!("{name}__a"));
        if self.rules.unknown_fields == UnknownFields::Extra || max_depth == 0 || !has_columns() {
            return false;
        }
        let keeps_objects = match column.map(|index| &self.columns[index]) {
            Some(column) => column.is_selected && column.column_type == ColumnType::Object,
            // The catalog may ask for objects before the first one has come.
            None => {
                self.selection.schema(name).and_then(ColumnType::from_schema) == Some(ColumnType::Object)
                    && self.can_add_column(name)
            }
        };
        !keeps_objects
    }

    /// Whether a value is an object or array that must not become text.
    fn is_for_extra(&self, value: &str) -> bool {
        self.rules.unknown_fields == UnknownFields::Extra && value.starts_with(['{', '['])
    }

    /// Puts a value that does not fit its column into the split column for its own type.
    fn place_in_split_column<'a>(&mut self, row: &mut Row<'a>, name: Cow<'a, str>, value: &'a str) {
        let value_type = ColumnType::infer(value);
        let split = format!("{name}__{}", value_type.split_suffix());
        if !self.selection.selects_field(&split, name.len() + 2) {
            return;
        }
        let mut column = self.field_column(&split);
        if column.is_none() && self.can_add_column(&split) {
            self.add_new_column(&split, value_type);
            column = self.field_column(&split);
        }
        match column {
            Some(index)
                if !self.is_for_extra(value) && self.columns[index].takes_split_values(value_type) =>
            {
                row.set(index, self.columns[index].column_type.to_json(value), name, value);
            }
            _ => row.extra.push((name, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use catalog::column::ColumnSource;
    use catalog::selection::Selection;
    use catalog::stream::{DEFAULT_SYSTEM_PREFIX, Stream, StreamId};

    use super::super::target_safe::MAX_NAME_BYTES;
    use super::*;
    use crate::emitter::record::primary_key::PrimaryKey;
    use crate::emitter::record::{ColumnRules, ExtraColumn, Unreadable};
    use crate::os::clock::UnixMillis;
    use crate::spool::Sequence;

    fn table(selection: &Selection, unknown_fields: UnknownFields) -> Table {
        let stream = Stream::new(StreamId::Data, DEFAULT_SYSTEM_PREFIX);
        let selection = selection.stream(StreamId::Data).expect("selected by default");
        let rules = ColumnRules { unknown_fields, max_discovered: 100, extra_column: ExtraColumn::Text };
        Table::new(stream, selection, rules).expect("the selection has no key")
    }

    fn default_table(unknown_fields: UnknownFields) -> Table {
        table(&Selection::default(), unknown_fields)
    }

    fn event<'a>(members: Members<'a, 'a>, unreadable: Option<Unreadable<'a>>) -> Event<'a> {
        Event { sequence: Sequence::new(1), received_at: UnixMillis::new(1), members, unreadable }
    }

    fn extra_json(row: &Row<'_>) -> String {
        let mut json = Vec::new();
        row.write_extra(&mut json);
        String::from_utf8(json).expect("UTF-8")
    }

    /// Returns an event's row as `column=JSON`, for each field that is not null and for the extra column.
    fn placed(table: &mut Table, text: &str) -> String {
        let spans = members::parse_object(text).expect("an object");
        let row = table.place(&event(Members::new(text, &spans), None));
        let values = table.columns.iter().enumerate().filter_map(|(index, column)| match column.source {
            ColumnSource::Field if row.json(index) != "null" => {
                Some(format!("{}={}", column.name, row.json(index)))
            }
            ColumnSource::Extra => Some(format!("{}={}", column.name, extra_json(&row))),
            _ => None,
        });
        values.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn each_value_goes_into_the_column_that_the_rules_say() {
        let longest = "n".repeat(MAX_NAME_BYTES);
        let deep = |levels: usize| format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
        let cases = [
            // Values that fit, text that spells a value of the type, and values that count as null.
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
            (r#"{"a.b":1,"c d":2,"é-1":3}"#, r#"_sdc_extra={"a.b":1,"c d":2,"é-1":3}"#),
            // Names that cannot be those of columns.
            (r#"{"messageid":1,"a":2,"A":3}"#, r#"a=2 _sdc_extra={"messageid":1,"A":3}"#),
            (r#"{"":1,"a\"b":2," x":3}"#, r#"_sdc_extra={"":1,"a\"b":2," x":3}"#),
            (r#"{"😀":1,"50%":2,"Event":3}"#, r#"_sdc_extra={"😀":1,"50%":2,"Event":3}"#),
            (r#"{"_rowid_":1,"OID":2}"#, r#"_sdc_extra={"_rowid_":1,"OID":2}"#),
            (r#"{"_sdc_sequence":7,"_SDC_x":8}"#, r#"_sdc_extra={"_sdc_sequence":7,"_SDC_x":8}"#),
            (r#"{"__sdc_primary_key":9}"#, r#"_sdc_extra={"__sdc_primary_key":9}"#),
            (r#"{"a\u0000b":"c\u0000d"}"#, r#"_sdc_extra={"\"a\\u0000b\"":"\"c\\u0000d\""}"#),
            (r#"{"_sdc_extra":{"a":7}}"#, r#"_sdc_extra={"_sdc_extra":{"a":7}}"#),
            (
                &format!(r#"{{"{longest}":1,"{longest}x":2}}"#),
                &format!(r#"{longest}=1 _sdc_extra={{"{longest}x":2}}"#),
            ),
            // Several values for one column.
            (r#"{"event":"a","event":"b"}"#, r#"event="b" _sdc_extra={"event":"a"}"#),
            (r#"{"event":"a","event":null}"#, r#"event="a""#),
            (r#"{"event":1,"event":2,"event":3}"#, r#"event__it=3 _sdc_extra={"event":1,"event__2":2}"#),
            (r#"{"a__b":1,"a":{"b":2}}"#, r#"a__b=2 _sdc_extra={"a__b":1}"#),
            (r#"{"X":1,"x":2,"x":3,"x__2":4,"x":5}"#, r#"X=1 x__2=4 _sdc_extra={"x":2,"x__2":3,"x__3":5}"#),
            // Values that some targets cannot store.
            (r#"{"Payload":"\ud800"}"#, r#"Payload="\"\\ud800\"""#),
            (r#"{"Payload":"a\u0000b"}"#, r#"Payload="\"a\\u0000b\"""#),
            (r#"{"😀":[1e400]}"#, r#"_sdc_extra={"😀":"[1e400]"}"#),
            (r#"{"😀":[{"a":1,"a":2}]}"#, r#"_sdc_extra={"😀":"[{\"a\":1,\"a\":2}]"}"#),
            (&format!(r#"{{"d":{}}}"#, deep(15)), &format!("d{}=1", "__a".repeat(15))),
            (&format!(r#"{{"d":{}}}"#, deep(17)), &format!(r#"d{}="{{\"a\":1}}""#, "__a".repeat(16))),
            (
                &format!(r#"{{"{longest}":{{"a":1}},"{longest}n":{{"a":1,"b":2}}}}"#),
                &format!(r#"{longest}="{{\"a\":1}}" _sdc_extra={{"{longest}n":{{"a":1,"b":2}}}}"#),
            ),
        ];
        for (event, expected) in cases {
            let mut table = default_table(UnknownFields::Columns);
            assert_eq!(placed(&mut table, event), expected, "{event}");
            // Whether the columns are there already makes no difference.
            assert_eq!(placed(&mut table, event), expected, "{event} again");
        }
    }

    #[test]
    fn a_new_column_keeps_its_type() {
        let mut table = default_table(UnknownFields::Columns);
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
        let added: Vec<_> = table.new_columns.into_iter().map(|column| column.name).collect();
        assert_eq!(added, ["x", "x__st", "x__fl", "x__st__it", "x__st__bl"]);
    }

    #[test]
    fn with_unknown_fields_extra_the_schema_does_not_change() {
        let cases = [
            (r#"{"event":"open","time":"5"}"#, r#"event="open" time=5 _sdc_extra=null"#),
            (
                r#"{"time":"soon","new":{"a": 1.10},"geo":[1]}"#,
                r#"_sdc_extra={"time":"soon","new":{"a": 1.10},"geo":[1]}"#,
            ),
            (r#"{"new":{"a":1,"b":{},"a":2}}"#, r#"_sdc_extra={"new":"{\"a\":1,\"b\":{},\"a\":2}"}"#),
        ];
        for (event, expected) in cases {
            let mut table = default_table(UnknownFields::Extra);
            let schema = table.json_schema();
            assert_eq!(placed(&mut table, event), expected, "{event}");
            assert_eq!(table.json_schema(), schema);
        }
    }

    #[test]
    fn unreadable_text_is_written_only_if_no_field_is_deselected() {
        let text = r#""{\"email\":\"SECRET\"""#;
        let catalog =
            r#"{"streams":[{"stream":"data","schema":{"properties":{"email":{"selected":false}}}}]}"#;
        for (selection, expected) in [
            (Selection::default(), r#"{"_unreadable":"{\"email\":\"SECRET\""}"#),
            (Selection::parse(catalog.as_bytes()).expect("a catalog"), "null"),
        ] {
            let mut table = table(&selection, UnknownFields::Columns);
            let unreadable = Unreadable { key: PrimaryKey::hash(b""), text };
            let row = table.place(&event(Members::new(text, &[]), Some(unreadable)));
            assert_eq!(extra_json(&row), expected);
        }
    }

    #[test]
    fn no_event_adds_more_columns_than_allowed() {
        let fields: Vec<_> = (0..10_000).map(|number| format!(r#""f{number}":{number}"#)).collect();
        let mut table = default_table(UnknownFields::Columns);
        let placed = placed(&mut table, &format!("{{{}}}", fields.join(",")));
        assert_eq!(table.columns.len(), 28 + 100 + 1);
        // The text has 200 KB, so it is not printed on failure.
        assert!(
            placed.contains(r#" f99=99 _sdc_extra={"f100":100,"#) && placed.ends_with(r#""f9999":9999}"#)
        );
        assert_eq!(placed.matches('=').count() - 1 + placed.matches("\":").count(), 10_000);
    }
}
